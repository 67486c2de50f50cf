//! Attributes of the configuration exchange (draft-dukes-ike-mode-cfg, draft-beaulieu-ike-xauth, Cisco Unity,
//! REQUIREMENTS W2), by meaning. An attribute without a value asks for one, or acknowledges one.

use std::net::{Ipv4Addr, Ipv6Addr};
use warren_policy::PolicySet;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigAttribute {
    /// INTERNAL_IP4_ADDRESS (1).
    Ip4Address(Option<Ipv4Addr>),
    /// INTERNAL_IP4_NETMASK (2).
    Ip4Netmask(Option<Ipv4Addr>),
    /// INTERNAL_IP4_DNS (3).
    Ip4Dns(Option<Ipv4Addr>),
    /// APPLICATION_VERSION (7).
    ApplicationVersion(Option<String>),
    /// INTERNAL_IP6_ADDRESS (8), with the prefix length where the sender said one.
    Ip6Address(Option<(Ipv6Addr, Option<u8>)>),
    /// INTERNAL_IP6_DNS (10).
    Ip6Dns(Option<Ipv6Addr>),
    /// INTERNAL_IP4_SUBNET (13): address and mask.
    Ip4Subnet(Option<(Ipv4Addr, Ipv4Addr)>),
    /// SUPPORTED_ATTRIBUTES (14).
    SupportedAttributes(Option<Vec<u16>>),
    /// INTERNAL_IP6_SUBNET (15): address and prefix length.
    Ip6Subnet(Option<(Ipv6Addr, u8)>),
    /// UNITY_BANNER (28672).
    Banner(Option<String>),
    /// UNITY_DEF_DOMAIN (28674).
    DefaultDomain(Option<String>),
    /// UNITY_SPLITDNS_NAME (28675).
    SplitDns(Option<Vec<String>>),
    /// UNITY_SPLIT_INCLUDE (28676): the networks of the far side; entries of 8 or of 14 octets.
    SplitInclude(Option<Vec<SplitNetwork>>),
    /// WARREN_POLICY_VERSION (24576).
    PolicyVersion(Option<u16>),
    /// WARREN_POLICY_SET (24577).
    PolicySet(SetMessage),
    /// WARREN_POLICY_ERROR (24578): why the server has less to give than it should, in words.
    PolicyError(Option<String>),
    /// What we have no word for: answered with nothing, reported in counters.
    Unknown {
        /// Attribute type, without the format bit.
        class: u16,
        /// Its value.
        value: Vec<u8>,
    },
}

/// A network of UNITY_SPLIT_INCLUDE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitNetwork {
    /// Network address.
    pub address: Ipv4Addr,
    /// Its mask.
    pub mask: Ipv4Addr,
    /// Protocol, 0 for any.
    pub protocol: u8,
    /// Source port (of the receiver), 0 for any.
    pub source_port: u16,
    /// Destination port, 0 for any.
    pub destination_port: u16,
}

/// The value of a WARREN_POLICY_SET, by the message it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetMessage {
    /// In a reply or a SET: understood as a whole.
    Offered(Box<PolicySet>),
    /// In a reply or a SET: not understood as a whole, so not taken (REQUIREMENTS DC-3).
    Refused {
        /// Its number, where that could be read.
        id: Option<u16>,
        /// Why, in words for the log and for the ACK.
        reason: String,
    },
    /// In an ACK: what became of the set.
    Acknowledged {
        /// Its number.
        id: u16,
        /// Why it was refused; `None` for a set that was taken.
        refusal: Option<String>,
    },
}
