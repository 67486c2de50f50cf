//! Puts an engine together: the workers, the rings between them, and control's handle.

use crate::core::{Berth, Colleagues, Core, EventOutlet};
use crate::handle::{Handle, Line};
use crate::handoff::{Post, way};
use crate::limits::WORKERS_MAX;
use crate::port_board::PortBoard;
use crate::sad::WorkerIndex;
use crate::settings::Settings;
use crate::wake::Bell;
use crate::worker::{Link, Worker};
use rtrb::RingBuffer;
use std::io;
use std::sync::Arc;
use warren_port::{Port, Umem};
use warren_seam::PortIndex;
use warren_seam::limits::{COMMANDS_MAX, EVENTS_MAX};

/// A port, and its place in the configuration.
pub struct EnginePort {
    /// Its place.
    pub index: PortIndex,
    /// The port.
    pub port: Box<dyn Port>,
}

/// What one worker works with.
pub struct WorkerParts {
    /// Its frames. All its ports use the same memory.
    pub umem: Umem,
    /// Its ports.
    pub ports: Vec<EnginePort>,
    /// The way to the gateway's own kernel. A worker without one hands such packets to one that has.
    pub tun: Option<Box<dyn Port>>,
}

/// Makes an engine. Nothing passes before rules and a forwarding table have been submitted.
///
/// # Errors
/// More workers than there may be, or none, or no descriptor left for an eventfd.
pub fn build(workers: Vec<WorkerParts>, settings: &Settings) -> io::Result<(Handle, Vec<Worker>)> {
    if workers.is_empty() || workers.len() > WORKERS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an engine has between 1 and 64 workers"));
    }
    let control = Arc::new(Bell::new()?);
    let bells = workers.iter().map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let mut posts = posts(&workers, &bells);
    let colleagues = colleagues(&workers);
    let (mut lines, mut made) = (Vec::new(), Vec::new());
    for (own, parts) in workers.into_iter().enumerate() {
        let colleagues = Colleagues { own: own as WorkerIndex, ..colleagues.clone() };
        let post = std::mem::take(&mut posts[own]);
        let (line, worker) = join(parts, settings, colleagues, post, Arc::clone(&bells[own]), &control);
        lines.push(line);
        made.push(worker);
    }
    Ok((Handle::new(lines, settings.backend, control), made))
}

fn join(
    parts: WorkerParts,
    settings: &Settings,
    colleagues: Colleagues,
    post: Post,
    bell: Arc<Bell>,
    control: &Arc<Bell>,
) -> (Line, Worker) {
    let (orders_in, orders) = RingBuffer::new(COMMANDS_MAX);
    // A command sets free at most two things.
    let (retired, retired_out) = RingBuffer::new(2 * COMMANDS_MAX);
    let (reports, reports_out) = RingBuffer::new(EVENTS_MAX);
    let applied = Arc::default();
    let events = EventOutlet::new(reports, Arc::clone(control));
    let mut core = Core::new(parts.umem, settings.clone(), colleagues, events);
    core.post = post;
    core.berths = parts.ports.into_iter().map(|port| Berth::new(Some(port.index), port.port)).collect();
    core.tun = parts.tun.map(|port| Berth::new(None, port));
    let board = PortBoard::new(
        core.berths.iter().chain(&core.tun).map(|berth| (berth.index, &*berth.port as &dyn Port)),
    );
    let line = Line {
        orders: orders_in,
        retired: retired_out,
        reports: reports_out,
        applied: Arc::clone(&applied),
        bell: Arc::clone(&bell),
        counters: Arc::clone(&core.counters),
        accounts: core.accounts.shared(),
        board: board.clone(),
    };
    (line, Worker::new(core, Link { orders, retired, applied, bell }, board))
}

/// For each port the first worker that has it, and the first that has a tun.
fn colleagues(workers: &[WorkerParts]) -> Colleagues {
    let mut found = Colleagues::default();
    for (at, worker) in workers.iter().enumerate() {
        let own = at as WorkerIndex;
        for port in &worker.ports {
            let place = usize::from(port.index.0);
            if found.port_owners.len() <= place {
                found.port_owners.resize(place + 1, None);
            }
            found.port_owners[place].get_or_insert(own);
        }
        if worker.tun.is_some() {
            found.tun_owner.get_or_insert(own);
        }
    }
    found
}

/// A way from each worker to each other one.
fn posts(workers: &[WorkerParts], bells: &[Arc<Bell>]) -> Vec<Post> {
    let count = workers.len();
    let mut posts: Vec<Post> = workers.iter().map(|_| Post::default()).collect();
    for post in &mut posts {
        post.outboxes.resize_with(count, || None);
        post.inboxes.resize_with(count, || None);
    }
    for from in 0..count {
        for to in (0..count).filter(|&to| to != from) {
            let octets = workers[from].umem.frame_octets() as usize;
            let (outbox, inbox) = way(octets, Arc::clone(&bells[to]));
            posts[from].outboxes[to] = Some(outbox);
            posts[to].inboxes[from] = Some(inbox);
        }
    }
    posts
}
