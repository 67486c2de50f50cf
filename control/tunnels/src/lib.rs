//! Desired state of every tunnel, sans IO.
