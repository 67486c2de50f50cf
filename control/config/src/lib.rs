//! Configuration file to validated policy values.
