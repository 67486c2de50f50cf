//! The loop of one core.
