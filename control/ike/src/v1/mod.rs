//! IKE version 1: main mode with pre-shared keys, quick mode, informational exchanges, as typed states.
//!
//! A state holds what it waits for. Messages 1–4 of main mode cannot be authenticated: their handlers borrow, and
//! what they return replaces the state. Everything later is opened by borrowing and handled by consuming.

pub(crate) mod dpd;
pub(crate) mod esp_sa;
pub(crate) mod exchange;
pub(crate) mod informational;
pub(crate) mod initiator;
pub(crate) mod isakmp_sa;
pub(crate) mod life;
pub(crate) mod main_mode;
pub(crate) mod nat;
pub(crate) mod phase_one;
pub(crate) mod protection;
pub(crate) mod quick;
pub(crate) mod responder;
pub(crate) mod transaction;
pub(crate) mod xauth;
