//! Sans-IO IKE negotiation.

pub mod wire;
