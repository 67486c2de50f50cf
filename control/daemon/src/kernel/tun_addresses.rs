//! Addresses that a server leased to us, on the tun device: what the gateway's own traffic comes from inside a tunnel.
//!
//! Each is alone, without a network around it. They carry our protocol number, so that the next start tells what a
//! killed daemon left on a device that outlived it from what the operator put there. Kernels before 5.18 forget the
//! number; there only the end of the device removes them.

use super::{Error, errno};
use futures_util::stream::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The number of `guard::PROTOCOL`, for addresses.
const PROTOCOL: AddressProtocol = AddressProtocol::Other(87);
/// `EEXIST`, and `EADDRNOTAVAIL`: it is there already, or it is gone already.
const EXISTS: i32 = 17;
const GONE: i32 = 99;

/// What is on the device because of us.
pub(crate) struct TunAddresses {
    handle: Handle,
    link: u32,
    addresses: BTreeSet<IpAddr>,
}

impl TunAddresses {
    /// Takes over the device, and removes what an earlier daemon left on it.
    ///
    /// # Errors
    /// The kernel does not answer, or refuses.
    pub(crate) async fn clean(handle: Handle, link: u32) -> Result<Self, Error> {
        let of_link = handle.address().get().set_link_index_filter(link).execute();
        let found: Vec<AddressMessage> =
            of_link.try_collect().await.map_err(|error| Error::request("reading addresses", &error))?;
        let ours = |message: &&AddressMessage| {
            message.attributes.contains(&AddressAttribute::Protocol(PROTOCOL)) && message.header.index == link
        };
        for message in found.iter().filter(ours) {
            delete(&handle, message.clone()).await?;
        }
        Ok(Self { handle, link, addresses: BTreeSet::new() })
    }

    /// Ours from now on.
    ///
    /// # Errors
    /// The kernel refused it.
    pub(crate) async fn add(&mut self, address: IpAddr) -> Result<(), Error> {
        let mut request = self.handle.address().add(self.link, address, width(address));
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Protocol(PROTOCOL));
        if address.is_ipv6() {
            // Nobody is asked on a tun device, and until nobody answered it could not be used.
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Err(error) if errno(&error) != EXISTS => {
                Err(Error::request(format!("taking the leased address {address}"), &error))
            }
            _ => {
                self.addresses.insert(address);
                Ok(())
            }
        }
    }

    /// Not ours any more. What we did not add stays.
    ///
    /// # Errors
    /// The kernel refused it.
    pub(crate) async fn remove(&mut self, address: IpAddr) -> Result<(), Error> {
        if !self.addresses.remove(&address) {
            return Ok(());
        }
        let message = self.handle.address().add(self.link, address, width(address)).message_mut().clone();
        delete(&self.handle, message).await
    }

    /// What is on the device because of us.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied()
    }
}

async fn delete(handle: &Handle, message: AddressMessage) -> Result<(), Error> {
    match handle.address().del(message).execute().await {
        Err(error) if errno(&error) != GONE => Err(Error::request("removing a leased address", &error)),
        _ => Ok(()),
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}
