//! The list of cases.

use xtask::Failure;
use xtask::packages::Purpose;

use crate::{alone, config_mode, kernel, lanes, nested, strongswan, vpnc};

/// Which peer a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// None.
    Alone,
    StrongSwan,
    Vpnc,
    Kernel,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Alone, Self::StrongSwan, Self::Vpnc, Self::Kernel];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Alone => "warren",
            Self::StrongSwan => "strongswan",
            Self::Vpnc => "vpnc",
            Self::Kernel => "linux",
        }
    }

    pub(crate) const fn purpose(self) -> Purpose {
        match self {
            Self::Alone => Purpose::Lab,
            Self::StrongSwan => Purpose::StrongSwan,
            Self::Vpnc => Purpose::Vpnc,
            Self::Kernel => Purpose::Kernel,
        }
    }
}

/// Who starts the negotiation, through Warren's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        }
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    /// Two Warren gateways, one of which dies.
    Killed,
    /// Several pairs of SAs for one tunnel, between two Warren gateways.
    Parallel,
    /// The same with strongSwan as responder.
    ParallelStrongSwan,
    /// Negotiated with strongSwan, ESP inside UDP.
    StrongSwan(&'static strongswan::Scene, Role),
    /// Config mode with strongSwan on the other side.
    ConfigMode(&'static config_mode::Scene, config_mode::Side),
    /// Config mode with vpnc as client.
    Vpnc,
    /// Negotiated with the charon of a Linux kernel, raw ESP.
    KernelIke(Role),
    /// strongSwan behind the tunnel to a Warren: its ESP in UDP inside ESP.
    BehindWarren(Role),
    /// The kernel at the end of a transport mode SA, whatever is between.
    KernelTransport(nested::Between, Role),
    /// Manual keys on both sides, raw ESP.
    KernelManual(kernel::Manual),
}

impl Case {
    pub(crate) fn group(self) -> Group {
        match self {
            Self::Killed | Self::Parallel => Group::Alone,
            Self::StrongSwan(..)
            | Self::ParallelStrongSwan
            | Self::ConfigMode(..)
            | Self::BehindWarren(_) => Group::StrongSwan,
            Self::Vpnc => Group::Vpnc,
            Self::KernelIke(_) | Self::KernelTransport(..) | Self::KernelManual(_) => Group::Kernel,
        }
    }

    pub(crate) fn name(self) -> String {
        let group = self.group().word();
        match self {
            Self::Killed => format!("{group}/killed-and-started-again"),
            Self::Parallel => format!("{group}/parallel"),
            Self::ParallelStrongSwan => format!("{group}/ikev1-main-parallel/initiator"),
            Self::StrongSwan(scene, role) => format!("{group}/{}/{}", scene.name, role.word()),
            Self::ConfigMode(scene, side) => format!("{group}/{}/{}", scene.name, side.word()),
            Self::Vpnc => format!("{group}/ikev1-aggressive-xauth/server"),
            Self::KernelIke(role) => format!("{group}/ikev1-main-raw-esp/{}", role.word()),
            Self::BehindWarren(role) => format!("{group}/ikev1-main-behind-warren/{}", role.word()),
            Self::KernelTransport(between, role) => {
                format!("{group}/ikev1-main-{}/{}", between.word(), role.word())
            }
            Self::KernelManual(manual) => format!("{group}/manual/{manual}"),
        }
    }

    /// A remark about what was measured, or what went wrong.
    pub(crate) fn run(self) -> Result<String, Failure> {
        match self {
            Self::Killed => alone::killed(),
            Self::Parallel => lanes::between_two(),
            Self::ParallelStrongSwan => lanes::with_strongswan(),
            Self::StrongSwan(scene, role) => strongswan::run(scene, role),
            Self::ConfigMode(scene, side) => config_mode::run(scene, side),
            Self::Vpnc => vpnc::served(),
            Self::KernelIke(role) => kernel::negotiated(role),
            Self::BehindWarren(role) => nested::behind_warren(role),
            Self::KernelTransport(between, role) => nested::transport_mode(between, role),
            Self::KernelManual(manual) => kernel::manual(manual),
        }
    }
}

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Case> {
    let roles = [Role::Initiator, Role::Responder];
    let mut cases = vec![Case::Killed, Case::Parallel];
    for scene in strongswan::SCENES {
        cases.extend(roles.map(|role| Case::StrongSwan(scene, role)));
    }
    cases.push(Case::ParallelStrongSwan);
    for scene in config_mode::SCENES {
        let sides = [config_mode::Side::Client, config_mode::Side::Server];
        cases.extend(sides.map(|side| Case::ConfigMode(scene, side)));
    }
    cases.extend(roles.map(Case::BehindWarren));
    cases.push(Case::Vpnc);
    cases.extend(roles.map(Case::KernelIke));
    for between in [nested::Between::Nothing, nested::Between::Tunnel] {
        cases.extend(roles.map(|role| Case::KernelTransport(between, role)));
    }
    for bits in [128, 256] {
        cases.extend([false, true].map(|esn| Case::KernelManual(kernel::Manual { bits, esn })));
    }
    cases
}
