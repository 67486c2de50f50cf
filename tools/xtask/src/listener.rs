//! The other end of `xtask capture`: starts it in a namespace, keeps its latest counts, ends it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::capture::Wire;
use crate::failure::Context;
use crate::lab::Namespace;
use crate::topology::{CROSSING_PORTS, Site, WIDE_AREA_PORTS};
use crate::{Failure, limits};

/// A listener in the wide area. Dropping it ends it.
pub struct Listener {
    child: Child,
    /// Closing this is how the child learns that it is time to go.
    stdin: Option<ChildStdin>,
    latest: Arc<Mutex<Option<Wire>>>,
    reader: Option<JoinHandle<()>>,
}

impl Listener {
    /// `program` is one that knows `capture`. Starts listening on both ports of the wide area and returns when it really does.
    pub fn start(
        program: &Path,
        wide_area: &Namespace,
        marker: &str,
        pcap: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut words = vec!["--marker".to_owned(), marker.to_owned()];
        words.extend(pcap.iter().flat_map(|path| ["--pcap".to_owned(), path.display().to_string()]));
        Self::hear(program, wide_area, &WIDE_AREA_PORTS, &Site::inside(), &words)
    }

    /// The same on ports of two wires, where probes may pass and are kept.
    pub fn start_for_discovery(
        program: &Path,
        wires: &Namespace,
        inside: &[String],
        marker: &str,
    ) -> Result<Self, Failure> {
        let words = ["--may-probe", "--marker", marker].map(str::to_owned);
        Self::hear(program, wires, &CROSSING_PORTS, inside, &words)
    }

    /// The same on every wire of a row of gateways, where each wire shows something else: the inside may be seen only by
    /// the ports in `open`, and who speaks with whom is counted for each port.
    pub fn start_for_hops(
        program: &Path,
        wires: &Namespace,
        ports: &[&str],
        open: &[&str],
        inside: &[String],
        marker: &str,
    ) -> Result<Self, Failure> {
        let mut words = ["--flows", "--marker", marker].map(str::to_owned).to_vec();
        words.extend(open.iter().flat_map(|port| ["--open".to_owned(), (*port).to_owned()]));
        Self::hear(program, wires, ports, inside, &words)
    }

    fn hear(
        program: &Path,
        namespace: &Namespace,
        ports: &[&str],
        inside: &[String],
        words: &[String],
    ) -> Result<Self, Failure> {
        let mut command = namespace.command(program);
        command.arg("capture").args(words);
        for port in ports {
            command.args(["--interface", port]);
        }
        for prefix in inside {
            command.args(["--inside", prefix]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the listener")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("the listener has no output"))?;
        let latest = Arc::new(Mutex::new(None));
        let told = Arc::clone(&latest);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(wire) = serde_json::from_str(&line) {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
                }
            }
        });
        let listener = Self { child, stdin, latest, reader: Some(reader) };
        let asked = Instant::now();
        while listener.seen().is_none() {
            if asked.elapsed() > limits::READY {
                return Err(Failure::new("the listener on the wire does not start"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(listener)
    }

    /// The counts of about half a second ago.
    pub fn latest(&self) -> Wire {
        self.seen().unwrap_or_default()
    }

    /// Ends it and returns the final counts.
    pub fn finish(mut self) -> Result<Wire, Failure> {
        if !self.stop() {
            return Err(Failure::new("the listener came to no end: not all that it heard is counted"));
        }
        self.seen().ok_or_else(|| Failure::new("the listener said nothing"))
    }

    fn seen(&self) -> Option<Wire> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True when it ended by itself, as it should, after it had told everything.
    fn stop(&mut self) -> bool {
        self.stdin = None;
        let asked = Instant::now();
        let ended = loop {
            match self.child.try_wait() {
                Ok(None) if asked.elapsed() < limits::READY => std::thread::sleep(Duration::from_millis(10)),
                ended => break matches!(ended, Ok(Some(status)) if status.success()),
            }
        };
        crate::lab::end(&mut self.child);
        if let Some(reader) = self.reader.take() {
            // It ends with the pipe and has nothing to say about it.
            let _ = reader.join();
        }
        ended
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}
