//! Tunnel Endpoint Discovery: what is asked, what rests and what was found, and what a probe would say.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A packet, as far as rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TedPacket {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes, of the same family.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port, for protocols that have some.
    pub source_port: Option<u16>,
    /// Destination port, for protocols that have some.
    pub destination_port: Option<u16>,
}

/// All of discovery at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedStatus {
    /// Discovery messages that pass through are recognised.
    pub is_on: bool,
    /// Names of the ports whose probes may be answered.
    pub answer_on: Vec<String>,
    /// Discoveries under way, oldest first.
    pub in_flight: Vec<TedInFlight>,
    /// Destinations that are left alone for a while, soonest to be asked about again first.
    pub resting: Vec<TedResting>,
    /// Tunnels that discovery brought.
    pub found: Vec<TedFound>,
    /// What was counted, by name.
    pub counters: BTreeMap<String, u64>,
}

/// Where a discovery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TedStage {
    /// No gateway has answered yet.
    Probing {
        /// Probes sent.
        sent: u32,
    },
    /// A gateway answered, and a tunnel is negotiated with it.
    Negotiating {
        /// The gateway's address.
        gateway: String,
        /// What both protect, outbound.
        selector: String,
    },
}

/// One discovery under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedInFlight {
    /// The tunnel rule's name.
    pub rule: String,
    /// The packet that began it, in words.
    pub packet: String,
    /// The probes' initiator cookie, sixteen hexadecimal digits.
    pub cookie: String,
    /// Milliseconds since it began.
    pub since_ms: u64,
    /// Packets that wanted the tunnel so far, all dropped.
    pub waiting: u64,
    /// Where it stands.
    pub stage: TedStage,
}

/// One destination that is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedResting {
    /// The tunnel rule's name.
    pub rule: String,
    /// The packet that the last discovery was for, in words.
    pub packet: String,
    /// Seconds until it may be asked about again.
    pub for_s: u64,
    /// Discoveries without a result in a row.
    pub failures: u32,
    /// Why the last one had none, in words.
    pub why: String,
}

/// One tunnel that discovery brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedFound {
    /// The tunnel's name, as `TunnelList` has it.
    pub tunnel: String,
    /// Name of the tunnel rule that it is a part of.
    pub within: String,
    /// The peer's name.
    pub peer: String,
    /// The gateway's address.
    pub gateway: String,
    /// What it protects, outbound.
    pub selector: String,
    /// Whether traffic passes.
    pub is_up: bool,
    /// We found the gateway; otherwise it found us.
    pub is_ours: bool,
    /// Seconds since it was found.
    pub since_s: u64,
}

/// How it stands with one packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TedFlow {
    /// A discovery for it is under way.
    InFlight(TedInFlight),
    /// The last discovery for it came to nothing.
    Resting(TedResting),
    /// It has a tunnel, which may still be under negotiation.
    Found(TedFound),
    /// Nothing was asked for it, and it would be.
    Unasked {
        /// The tunnel rule's name.
        rule: String,
    },
    /// No gateway is discovered for it.
    Refused {
        /// Why, in words.
        why: String,
    },
}

/// The probe that would be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedPreview {
    /// The tunnel rule's name.
    pub rule: String,
    /// Its fields in the order of its octets.
    pub fields: Vec<TedField>,
    /// The whole IP packet in hexadecimal digits; the cookie of a probe that is sent is random.
    pub octets: String,
}

/// One field of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TedField {
    /// The header or payload that it belongs to.
    pub part: String,
    /// Its name.
    pub name: String,
    /// Its value, in words.
    pub value: String,
}
