//! The mirror of the kernel's links, addresses, routes and neighbours, kept by notifications (DESIGN 4).
//!
//! Subscribe, then dump, then follow: in that order nothing is missed, and what is seen twice does no harm, because
//! the last notification about an entry is always its present state. When notifications were lost, that no longer
//! holds; then the sockets are opened anew and everything is read again.

pub(crate) use super::tables::{Roles, Tables};

use super::limits::{DUMP_PATIENCE, RECEIVE_OCTETS, RECONNECT_AFTER, ROUTE_DUMPS_APART, SETTLE};
use super::notification::Consequence;
use super::{Error, connect, is_overrun};
use futures_util::stream::{Stream, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use warren_seam::ForwardingTable;

/// What the mirror tells of.
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Publishing takes at most this share of a core, however fast the kernel's tables change.
const PUBLISH_SHARE: u32 = 10;

/// The kernel's tables at one moment, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// For the engine.
    pub(crate) forwarding: ForwardingTable,
    /// For the XDP program: what it leaves to the kernel.
    pub(crate) steering: Vec<IpAddr>,
    /// The tables themselves.
    pub(crate) tables: Tables,
    /// How often notifications were lost and everything was read again.
    pub(crate) resyncs: u64,
}

impl View {
    fn new(tables: &Tables, roles: &Roles, resyncs: u64) -> Self {
        let (forwarding, steering) = (tables.forwarding(roles), tables.local_for_steering());
        Self { forwarding, steering, tables: tables.clone(), resyncs }
    }
}

/// A running mirror. Dropping it ends its task.
pub(crate) struct Mirror {
    view: watch::Receiver<Arc<View>>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Reads everything once, then follows. Needs a tokio runtime.
    ///
    /// # Errors
    /// The first reading failed; later failures are logged and tried again.
    pub(crate) async fn start(roles: Roles) -> Result<Self, Error> {
        let (source, tables) = Source::open().await?;
        let (sender, view) = watch::channel(Arc::new(View::new(&tables, &roles, 0)));
        let follower = Follower { roles, sender, source, tables, resyncs: 0, pause: SETTLE };
        Ok(Self { view, task: tokio::spawn(follower.run()) })
    }

    /// What is known now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Waits until the forwarding table or the addresses for steering are other ones. A neighbour that only ages
    /// wakes nobody.
    pub(crate) async fn changed(&mut self) -> Arc<View> {
        if self.view.changed().await.is_err() {
            // The task never ends by itself; when the runtime shuts down there is nothing more to tell.
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.view.borrow_and_update())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Notification = (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr);

/// Two sockets: one hears notifications, the other asks. On one alone, a flood of notifications could push out the
/// answer that is waited for.
struct Source {
    notifications: Pin<Box<dyn Stream<Item = Notification> + Send + Sync>>,
    requests: Handle,
}

impl Source {
    async fn open() -> Result<(Self, Tables), Error> {
        let (mut connection, _, notifications) = new_multicast_connection(&GROUPS)?;
        // The kernel grants what `net.core.rmem_max` allows; less only means reading everything again sooner.
        connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_OCTETS)?;
        tokio::spawn(connection);
        let source = Self { notifications: Box::pin(notifications), requests: connect()? };
        let tables = source.dump().await?;
        Ok((source, tables))
    }

    async fn dump(&self) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        for link in collect("links", self.requests.link().get().execute()).await? {
            tables.accept(RouteNetlinkMessage::NewLink(link));
        }
        for address in collect("addresses", self.requests.address().get().execute()).await? {
            tables.accept(RouteNetlinkMessage::NewAddress(address));
        }
        for neighbour in collect("neighbours", self.requests.neighbours().get().execute()).await? {
            tables.accept(RouteNetlinkMessage::NewNeighbour(neighbour));
        }
        self.read_routes(&mut tables).await?;
        Ok(tables)
    }

    async fn read_routes(&self, tables: &mut Tables) -> Result<(), Error> {
        let v4 = self.requests.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let v6 = self.requests.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
        let mut routes = collect("IPv4 routes", v4).await?;
        routes.extend(collect("IPv6 routes", v6).await?);
        let excess = tables.replace_routes(&routes);
        if excess > 0 {
            tracing::warn!(excess, "more routes than are mirrored; packets to them are dropped");
        }
        Ok(())
    }
}

async fn collect<T>(
    what: &str,
    dump: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, Error> {
    let failed = |reason: String| Error::Request { what: format!("reading {what}"), reason };
    let all = timeout(DUMP_PATIENCE, dump.collect::<Vec<_>>());
    let all = all.await.map_err(|_| failed("no answer".to_owned()))?;
    all.into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| Error::request(format!("reading {what}"), &error))
}

/// Why following ended.
#[derive(Clone, Copy, Debug)]
enum Lost {
    Notifications,
    Connection,
}

struct Follower {
    roles: Roles,
    sender: watch::Sender<Arc<View>>,
    source: Source,
    tables: Tables,
    resyncs: u64,
    pause: Duration,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let lost = self.follow().await;
            tracing::warn!(?lost, "the mirror of the kernel's tables is read anew");
            if matches!(lost, Lost::Connection) {
                sleep(RECONNECT_AFTER).await;
            }
            self.reopen().await;
        }
    }

    /// A queue with a gap is useless as a whole: an entry in it may have been taken back by one that was lost.
    async fn reopen(&mut self) {
        loop {
            match Source::open().await {
                Ok((source, tables)) => {
                    (self.source, self.tables) = (source, tables);
                    self.resyncs += 1;
                    return self.publish();
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel's tables cannot be read");
                    sleep(RECONNECT_AFTER).await;
                }
            }
        }
    }

    async fn follow(&mut self) -> Lost {
        let mut pending = Consequence::default();
        let mut publish_at: Option<Instant> = None;
        let mut routes_read = Instant::now();
        loop {
            let settled = async {
                match publish_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                notification = self.source.notifications.next() => {
                    let Some((message, _)) = notification else { return Lost::Connection };
                    if is_overrun(&message.payload) {
                        return Lost::Notifications;
                    }
                    if let NetlinkPayload::InnerMessage(inner) = message.payload {
                        pending.merge(self.tables.accept(inner));
                    }
                    if pending.changed && publish_at.is_none() {
                        publish_at = Some(Instant::now() + self.pause);
                    }
                }
                () = settled => {
                    publish_at = None;
                    pending.changed = false;
                    if pending.routes_stale && routes_read.elapsed() >= ROUTE_DUMPS_APART {
                        if let Err(error) = self.source.read_routes(&mut self.tables).await {
                            tracing::warn!(%error);
                            return Lost::Connection;
                        }
                        routes_read = Instant::now();
                        pending.routes_stale = false;
                    } else if pending.routes_stale {
                        publish_at = Some(routes_read + ROUTE_DUMPS_APART);
                    }
                    self.publish();
                }
            }
        }
    }

    fn publish(&mut self) {
        let began = Instant::now();
        let view = View::new(&self.tables, &self.roles, self.resyncs);
        self.sender.send_if_modified(|current| {
            let news = current.forwarding != view.forwarding || current.steering != view.steering;
            *current = Arc::new(view);
            news
        });
        self.pause = SETTLE.max(began.elapsed() * PUBLISH_SHARE);
    }
}
