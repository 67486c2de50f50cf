//! The XDP steering program and its loader.
