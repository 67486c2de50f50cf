//! Interfaces into stations, and what a workload needs to know of them.

use std::net::IpAddr;

use warren_bpf::{Attach, XdpAttach};
use warren_pktgen::next_hop::{Interface, interface, neighbour, next_hop};
use warren_pktgen::{
    AddressSet, Endpoints, Ethernet, Opening as StationOpening, Ports, Sizes, Station, Workload,
    WorkloadConfig, frame_octets_min, monotonic_ns,
};

use crate::arguments::{self, AttachMode, Opening, Out};
use crate::output::remark;

/// Entries of the ring that packets leave by, if none come back by that interface: a long one would make packets wait, with
/// their stamps on, for a device that is full.
const OUT_RING: u32 = 512;

/// The interfaces of one command.
pub(crate) struct Interfaces {
    pub(crate) ports: Ports,
    /// How the ports work.
    pub(crate) modes: Vec<String>,
    out: Interface,
    /// That packets come by, unless its addresses are taken, too.
    kept: Vec<IpAddr>,
}

impl Interfaces {
    /// Opens one interface, two, or one for both ways.
    pub(crate) fn open(out: &str, into: Option<&str>, opening: &Opening) -> Result<Self, String> {
        let known = known(out)?;
        let (ports, modes) = match into {
            None => {
                let station = station(&sender(out, opening), &known)?;
                let modes = vec![mode(&station)];
                (Ports::Out(station), modes)
            }
            Some(into) if into == out => {
                let queues = first(opening.out_queue, queues(&known, opening));
                let station = station(&receiver(out, queues, opening), &known)?;
                let modes = vec![mode(&station)];
                (Ports::Both(station), modes)
            }
            Some(into) => {
                let far = self::known(into)?;
                let near_station = station(&sender(out, opening), &known)?;
                let far_station = station(&receiver(into, queues(&far, opening), opening), &far)?;
                let modes = vec![mode(&near_station), mode(&far_station)];
                (Ports::Apart(near_station, far_station), modes)
            }
        };
        let kept = match into {
            Some(into) if !opening.take_local => self::known(into)?.addresses,
            _ => Vec::new(),
        };
        Ok(Self { ports, modes, out: known, kept })
    }

    /// What `arguments` describe, sent by the interface that was opened.
    pub(crate) fn workload(
        &self,
        out: &Out,
        arguments: &arguments::Workload,
        sizes: &Sizes,
        stream: u16,
    ) -> Result<Workload, String> {
        let from = match &arguments.from {
            Some(from) => from.clone(),
            None => own_address(&self.out, &arguments.to, &out.interface)?,
        };
        let first = arguments.to.nth(0).ok_or("there is no destination")?;
        let ethernet = self.ethernet(out, first)?;
        // A mixture says how sizes relate; a single size is meant as it is and refused where it cannot be.
        let least = frame_octets_min(arguments.to.is_ipv6());
        let sizes = if sizes.is_single() { sizes.clone() } else { sizes.clone().at_least(least) };
        let endpoints = Endpoints {
            from,
            to: arguments.to.clone(),
            source_ports: arguments.source_ports,
            destination_ports: arguments.destination_ports,
        };
        let config = WorkloadConfig {
            endpoints,
            flows: arguments.flows,
            sizes,
            rules: arguments.rules.clone(),
            miss_percent: arguments.miss,
            ethernet,
            stream,
        };
        let workload = Workload::new(&config).map_err(|error| error.to_string())?;
        if let Some(flow) = workload.flows().find(|flow| self.kept.contains(&flow.destination)) {
            return Err(format!(
                "{} is the receiving interface's own address: the kernel gets packets to it (--take-local takes them)",
                flow.destination
            ));
        }
        Ok(workload)
    }

    /// The Ethernet addresses of packets to `destination`.
    fn ethernet(&self, out: &Out, destination: IpAddr) -> Result<Ethernet, String> {
        if let Some(said) = self.ethernet_if_said(out)? {
            return Ok(said);
        }
        let destination = next_hop(&out.interface, destination).map_err(|error| error.to_string())?;
        Ok(Ethernet { source: self.out.mac, destination })
    }

    /// Ethernet addresses where the next hop was said.
    pub(crate) fn ethernet_if_said(&self, out: &Out) -> Result<Option<Ethernet>, String> {
        let via = |hop| neighbour(&out.interface, hop).map_err(|error| error.to_string());
        let destination = match out.mac {
            Some(mac) => Some(mac),
            None => out.via.map(via).transpose()?,
        };
        Ok(destination.map(|destination| Ethernet { source: self.out.mac, destination }))
    }
}

/// Opens the interface of a sink alone.
pub(crate) fn open_sink(name: &str, opening: &Opening) -> Result<(Station, Vec<String>), String> {
    let known = known(name)?;
    let station = station(&receiver(name, queues(&known, opening), opening), &known)?;
    let modes = vec![mode(&station)];
    Ok((station, modes))
}

/// A number for this run that the last one hardly had.
pub(crate) fn fresh_stream() -> u16 {
    let now = monotonic_ns();
    // Every millisecond another one, and another for each process.
    (now / 1_000_000) as u16 ^ std::process::id() as u16
}

fn known(name: &str) -> Result<Interface, String> {
    interface(name).map_err(|error| error.to_string())
}

fn mode(station: &Station) -> String {
    format!("{}: {}", station.port.name(), station.port.mode())
}

fn queues(known: &Interface, opening: &Opening) -> Vec<u32> {
    if opening.queues.is_empty() { (0..known.receive_queues).collect() } else { opening.queues.clone() }
}

/// `queue` in front of the others: packets leave by the first.
fn first(queue: u32, queues: Vec<u32>) -> Vec<u32> {
    std::iter::once(queue).chain(queues.into_iter().filter(|other| *other != queue)).collect()
}

fn receiver(name: &str, queues: Vec<u32>, opening: &Opening) -> StationOpening {
    let attach = match opening.attach {
        AttachMode::Best => Attach::Best,
        AttachMode::Native => Attach::Only(XdpAttach::Native),
        AttachMode::Generic => Attach::Only(XdpAttach::Generic),
    };
    let (interface, takes_local, ring_entries) = (name.to_owned(), opening.take_local, opening.ring);
    StationOpening { interface, queues, attach, takes_local, ring_entries, sends_only: false }
}

fn sender(name: &str, opening: &Opening) -> StationOpening {
    let wanted = receiver(name, vec![opening.out_queue], opening);
    // Only who receives may take what is the kernel's.
    StationOpening { takes_local: false, ring_entries: OUT_RING, sends_only: true, ..wanted }
}

fn station(wanted: &StationOpening, known: &Interface) -> Result<Station, String> {
    let station = Station::open(wanted, known).map_err(|error| format!("{}: {error}", wanted.interface))?;
    remark(&mode(&station));
    Ok(station)
}

fn own_address(known: &Interface, to: &AddressSet, name: &str) -> Result<AddressSet, String> {
    let is_usable = |address: &&IpAddr| {
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        address.is_ipv6() == to.is_ipv6() && !is_link_local
    };
    let own = known.addresses.iter().find(is_usable);
    let own = own.ok_or_else(|| format!("{name} has no address to send from; say one with --from"))?;
    own.to_string().parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_without_said_sources_uses_its_own_address_of_the_right_family() {
        let addresses = ["fe80::1", "10.1.0.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        let known = Interface { mac: [2; 6], addresses: addresses.into(), receive_queues: 1 };
        let own = |to: &str| {
            own_address(&known, &to.parse().unwrap(), "v0").map(|set| set.nth(0).unwrap().to_string())
        };
        assert_eq!(own("10.2.0.0/16"), Ok("10.1.0.1".to_owned()));
        assert_eq!(own("2001:db8:2::/64"), Ok("2001:db8::1".to_owned()));
        let none = Interface { addresses: vec!["fe80::1".parse().unwrap()], ..known };
        assert!(own_address(&none, &"2001:db8::2".parse().unwrap(), "v0").unwrap_err().contains("--from"));
    }

    #[test]
    fn packets_leave_by_the_queue_that_was_said() {
        assert_eq!(first(2, vec![0, 1, 2, 3]), [2, 0, 1, 3]);
        assert_eq!(first(0, vec![0]), [0]);
    }
}
