//! What the peer's vendor IDs promise, and which ones we send.

use crate::wire::vendor::{self, Vendor};
use crate::wire::{Body, Chain, PayloadType};
use crate::{ConfigMode, NatTraversal, PeerConfig, Xauth};

/// What the peer speaks besides the RFCs of phase 1. Peers send vendor IDs in any message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vendors {
    pub(crate) nat_traversal: bool,
    pub(crate) dpd: bool,
    pub(crate) fragmentation: bool,
    pub(crate) xauth: bool,
    /// Our private attributes in the configuration exchange.
    pub(crate) policy: bool,
    /// Cisco's attributes there.
    pub(crate) unity: bool,
}

impl Vendors {
    pub(crate) fn of(body: &Body<'_>) -> Self {
        body.all(PayloadType::VENDOR_ID).fold(Self::default(), |mut vendors, payload| {
            match Vendor::of(payload.body) {
                Vendor::NatTRfc3947 => vendors.nat_traversal = true,
                Vendor::Dpd => vendors.dpd = true,
                Vendor::Fragmentation => vendors.fragmentation = true,
                Vendor::XAuth => vendors.xauth = true,
                Vendor::Policy => vendors.policy = true,
                Vendor::Unity => vendors.unity = true,
                _ => {}
            }
            vendors
        })
    }

    /// The same with NAT traversal and fragmentation only where we want them too.
    pub(crate) fn for_config(mut self, config: &PeerConfig) -> Self {
        self.fragmentation &= config.fragmentation;
        self.nat_traversal &= config.nat_traversal != NatTraversal::Off;
        self
    }

    /// With what a later message added. NAT traversal is settled by the first two: NAT-D payloads follow at once.
    pub(crate) const fn and(self, later: Self) -> Self {
        Self {
            nat_traversal: self.nat_traversal,
            dpd: self.dpd || later.dpd,
            fragmentation: self.fragmentation || later.fragmentation,
            xauth: self.xauth || later.xauth,
            policy: self.policy || later.policy,
            unity: self.unity || later.unity,
        }
    }
}

/// Ours, at the end of our first message.
pub(crate) fn push(chain: &mut Chain, config: &PeerConfig, nat_traversal: bool) {
    if nat_traversal {
        chain.push(PayloadType::VENDOR_ID, &vendor::NAT_T_RFC_3947);
    }
    chain.push(PayloadType::VENDOR_ID, &vendor::DPD);
    if config.fragmentation {
        chain.push(PayloadType::VENDOR_ID, &vendor::FRAGMENTATION);
    }
    if !matches!(config.xauth, Xauth::Off) {
        chain.push(PayloadType::VENDOR_ID, &vendor::XAUTH);
    }
    if config.config_mode != ConfigMode::Off {
        chain.push(PayloadType::VENDOR_ID, &vendor::UNITY);
        chain.push(PayloadType::VENDOR_ID, &vendor::POLICY);
    }
}
