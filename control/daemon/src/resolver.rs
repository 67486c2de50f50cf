//! Neighbours that packets wait for: asked of the kernel beside the control loop, which must not wait for netlink.

use crate::kernel::mirror::{Roles, View};
use crate::kernel::neighbours::Neighbours;
use crate::limits::RESOLUTIONS_WAITING_MAX;
use rtnetlink::Handle;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use warren_seam::PortIndex;

struct Question {
    now: Duration,
    view: Arc<View>,
    /// `None` confirms what is in use.
    neighbour: Option<(PortIndex, IpAddr)>,
}

/// Where to ask. Dropping it ends the task.
pub(crate) struct Resolver {
    questions: mpsc::Sender<Question>,
    task: JoinHandle<()>,
}

impl Resolver {
    pub(crate) fn start(handle: Handle, roles: Roles) -> Self {
        let (questions, receiver) = mpsc::channel(RESOLUTIONS_WAITING_MAX);
        Self { questions, task: tokio::spawn(answer(Neighbours::new(handle), roles, receiver)) }
    }

    /// A packet waits for that next hop.
    pub(crate) fn resolve(&self, now: Duration, view: &Arc<View>, port: PortIndex, address: IpAddr) {
        self.ask(Question { now, view: Arc::clone(view), neighbour: Some((port, address)) });
    }

    /// To be called every few seconds: keeps next hops in use from going stale.
    pub(crate) fn refresh(&self, now: Duration, view: &Arc<View>) {
        self.ask(Question { now, view: Arc::clone(view), neighbour: None });
    }

    fn ask(&self, question: Question) {
        if self.questions.try_send(question).is_err() {
            tracing::debug!("too many unresolved neighbours at once");
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut neighbours: Neighbours, roles: Roles, mut questions: mpsc::Receiver<Question>) {
    while let Some(Question { now, view, neighbour }) = questions.recv().await {
        let asked = match neighbour {
            Some((port, address)) => neighbours.resolve(now, &view, &roles, port, address).await.map(drop),
            None => neighbours.refresh(now, &view, &roles).await.map(drop),
        };
        if let Err(error) = asked {
            tracing::debug!("{error}");
        }
    }
}
