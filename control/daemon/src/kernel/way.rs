//! How the kernel would reach a peer: by which interface, and from which of our addresses. What carries our mark never
//! enters a tunnel, so the answer is the way of IKE itself.

use super::{Error, errno};
use futures_util::stream::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::{Handle, RouteMessageBuilder};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

/// Any port will do: nothing is sent.
const ISAKMP: u16 = 500;
/// `ENETUNREACH`, `EHOSTUNREACH`.
const NO_ROUTE: [i32; 2] = [101, 113];

/// Our address towards `remote`.
///
/// # Errors
/// There is no route.
pub(crate) fn source_towards(remote: IpAddr, mark: u32) -> io::Result<IpAddr> {
    let remote = SocketAddr::new(remote, ISAKMP);
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_mark(mark)?;
    socket.connect(&remote.into())?;
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// The name of the interface by which `remote` is reached; `None` when there is no route.
///
/// # Errors
/// The kernel does not answer.
pub(crate) async fn interface_towards(
    handle: &Handle,
    remote: IpAddr,
    mark: u32,
) -> Result<Option<String>, Error> {
    let asking = || format!("asking for the route to {remote}");
    let width = if remote.is_ipv6() { 128 } else { 32 };
    let mut question = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(remote, width)
        .map_err(|error| Error::Request { what: asking(), reason: error.to_string() })?
        .build();
    question.attributes.push(RouteAttribute::Mark(mark));
    let mut answers = pin!(handle.route().get(question).execute());
    let route = match answers.try_next().await {
        Ok(route) => route,
        Err(error) if NO_ROUTE.contains(&errno(&error)) => None,
        Err(error) => return Err(Error::request(asking(), &error)),
    };
    let link = route.and_then(|route| {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(link) => Some(*link),
            _ => None,
        })
    });
    let Some(link) = link else { return Ok(None) };
    let mut links = pin!(handle.link().get().match_index(link).execute());
    let message = links.try_next().await.map_err(|error| Error::request(asking(), &error))?;
    Ok(message.and_then(|message| {
        message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })
    }))
}
