//! The threads of the workers: one for each, pinned to a core. When one of them dies, everybody hears of it.

use crate::limits::STOP_WAIT_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::mpsc;
use warren_engine::Worker;

/// The running workers. Dropping it stops them.
pub(crate) struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// The core of each worker.
    pub(crate) cores: Vec<Option<u16>>,
    alarm: mpsc::UnboundedReceiver<usize>,
}

/// Rings when its thread ends, whatever ends it.
struct Alarm {
    worker: usize,
    bell: mpsc::UnboundedSender<usize>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // Refused only when nobody listens any more.
        let _ = self.bell.send(self.worker);
    }
}

impl Crew {
    /// Starts them. With fewer cores than workers, some share.
    pub(crate) fn start(workers: Vec<Worker>, started: Instant) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (bell, alarm) = mpsc::unbounded_channel();
        let cores = cores_for(&core_affinity::get_core_ids().unwrap_or_default(), workers.len());
        let mut threads = Vec::new();
        for (index, (mut worker, core)) in workers.into_iter().zip(cores.clone()).enumerate() {
            let (stop, alarm) = (Arc::clone(&stop), Alarm { worker: index, bell: bell.clone() });
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let _alarm = alarm;
                if let Some(core) = core
                    && !core_affinity::set_for_current(core)
                {
                    tracing::warn!("worker {index} could not be pinned to core {}", core.id);
                }
                worker.run(&stop, started);
            })?);
        }
        let cores = cores.into_iter().map(|core| core.and_then(|core| u16::try_from(core.id).ok())).collect();
        Ok(Self { stop, threads, cores, alarm })
    }

    /// Waits until a worker ends, which none does by itself.
    pub(crate) async fn casualty(&mut self) -> usize {
        match self.alarm.recv().await {
            Some(worker) => worker,
            None => std::future::pending().await,
        }
    }

    /// Ends them, with their last packets sent.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let deadline = Instant::now() + STOP_WAIT_MAX;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if !thread.is_finished() {
                tracing::warn!("a worker does not stop; the process ends with it");
            } else if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Workers take the last cores first: interrupts and everything else tend to live on the first.
fn cores_for(cores: &[core_affinity::CoreId], workers: usize) -> Vec<Option<core_affinity::CoreId>> {
    if cores.is_empty() {
        return vec![None; workers];
    }
    (0..workers).map(|worker| Some(cores[cores.len() - 1 - worker % cores.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core_affinity::CoreId;
    use std::os::fd::BorrowedFd;
    use warren_engine::{Settings, WorkerParts};
    use warren_port::{Frame, Link, Port, PortCounters, PortMode, Umem, UmemConfig};

    #[test]
    fn workers_get_a_core_each_while_there_are_any() {
        let cores: Vec<_> = (0..4).map(|id| CoreId { id }).collect();
        let ids = |workers| -> Vec<_> {
            cores_for(&cores, workers).into_iter().map(|core| core.map(|core| core.id)).collect()
        };
        assert_eq!(ids(3), [Some(3), Some(2), Some(1)]);
        assert_eq!(ids(5), [Some(3), Some(2), Some(1), Some(0), Some(3)]);
        assert_eq!(cores_for(&[], 2), [None, None]);
    }

    /// A driver gone mad.
    struct Panicking;

    impl Port for Panicking {
        fn link(&self) -> Link {
            Link::Ip
        }

        fn name(&self) -> &str {
            "panicking"
        }

        fn receive(&mut self, _: &mut Umem, _: &mut Vec<Frame>, _: usize) -> usize {
            panic!("the port does what no port does")
        }

        fn transmit(&mut self, _: &mut Umem, _: &mut Vec<Frame>) -> usize {
            0
        }

        fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn counters(&self) -> PortCounters {
            PortCounters::default()
        }

        fn mode(&self) -> PortMode {
            PortMode::Memory
        }
    }

    fn crew(ports: Vec<Option<Box<dyn Port>>>) -> Crew {
        let memory =
            || Umem::new(&UmemConfig { frames: 64, huge_pages: false, ..UmemConfig::default() }).unwrap();
        let parts = |tun| WorkerParts { umem: memory(), ports: Vec::new(), tun };
        let (_, workers) =
            warren_engine::build(ports.into_iter().map(parts).collect(), &Settings::default()).unwrap();
        Crew::start(workers, Instant::now()).unwrap()
    }

    #[test] // F-24: with a dead worker the gateway must stop, not run on half blind
    fn a_worker_that_panics_is_noticed_at_once() {
        let mut crew = crew(vec![None, Some(Box::new(Panicking))]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let casualty = runtime.block_on(async {
            tokio::time::timeout(std::time::Duration::from_secs(5), crew.casualty()).await.unwrap()
        });
        assert_eq!(casualty, 1);
    }

    #[test]
    fn workers_stop_when_they_are_told_to() {
        let mut crew = crew(vec![None, None]);
        let asked = Instant::now();
        crew.stop();
        assert!(asked.elapsed() < STOP_WAIT_MAX);
    }
}
