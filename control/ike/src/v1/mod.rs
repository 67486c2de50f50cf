//! IKE version 1: main, aggressive and base mode, quick mode, informational exchanges, as typed states.
//!
//! A state holds what it waits for. Messages 1–4 of main mode and 1–2 of base mode cannot be authenticated: their
//! handlers borrow, and what they return replaces the state. Everything else is opened by borrowing and handled by
//! consuming.
//!
//! ```text
//! responder, initiator  main mode      method   the number of the authentication method
//! aggressive_mode       both roles     proof    HASH or SIG, and who believes it
//! base_mode             both roles     secured  what all three share: keys, IV, NAT, the way to the ISAKMP SA
//! ```

pub(crate) mod aggressive_mode;
pub(crate) mod base_mode;
pub(crate) mod dpd;
pub(crate) mod esp_sa;
pub(crate) mod exchange;
pub(crate) mod fragment;
pub(crate) mod informational;
pub(crate) mod initiator;
pub(crate) mod isakmp_sa;
pub(crate) mod life;
pub(crate) mod main_mode;
pub(crate) mod method;
pub(crate) mod nat;
pub(crate) mod phase_one;
pub(crate) mod proof;
pub(crate) mod protection;
pub(crate) mod quick;
pub(crate) mod responder;
pub(crate) mod secured;
pub(crate) mod transaction;
pub(crate) mod vendors;
pub(crate) mod xauth;
