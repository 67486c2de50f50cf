//! What an operator may want to read of tunnels.

use std::fmt;
use std::time::Duration;
use warren_ike::{Down, Failure, Role};

/// One remark. Names are the operator's; never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// From the negotiation itself.
    Ike(warren_ike::Notice),
    /// Traffic wants the tunnel, or its configuration does.
    Opening {
        /// The tunnel rule's name.
        tunnel: String,
    },
    /// The first pair is up: traffic passes from now on.
    Up {
        /// The tunnel rule's name.
        tunnel: String,
        /// Who began.
        role: Role,
    },
    /// A successor took over.
    Rekeyed {
        /// The tunnel rule's name.
        tunnel: String,
        /// Who began.
        role: Role,
    },
    /// The last pair is gone: traffic is dropped from now on.
    Down {
        /// The tunnel rule's name.
        tunnel: String,
        /// Why.
        reason: Down,
    },
    /// A negotiation failed.
    Failed {
        /// The tunnel rule's name.
        tunnel: String,
        /// Why.
        reason: Failure,
        /// The pause before the next one.
        pause: Duration,
        /// Whether traffic still passes through an older pair.
        up: bool,
    },
    /// A pair reached its hard limit.
    Expired {
        /// The tunnel rule's name.
        tunnel: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ike(notice) => notice.fmt(f),
            Self::Opening { tunnel } => write!(f, "tunnel {tunnel}: negotiating"),
            Self::Up { tunnel, role } => write!(f, "tunnel {tunnel}: up, as {role}"),
            Self::Rekeyed { tunnel, role } => write!(f, "tunnel {tunnel}: rekeyed, as {role}"),
            Self::Down { tunnel, reason } => write!(f, "tunnel {tunnel}: down: {reason}"),
            Self::Failed { tunnel, reason, pause, up } => {
                let state = if *up { "still up" } else { "its traffic is dropped" };
                let pause = pause.as_secs_f32();
                write!(f, "tunnel {tunnel}: negotiation failed: {reason}; {state}, next try in {pause:.1} s")
            }
            Self::Expired { tunnel } => write!(f, "tunnel {tunnel}: SAs reached the end of their lifetime"),
        }
    }
}
