//! Sans-IO IKE negotiation.
