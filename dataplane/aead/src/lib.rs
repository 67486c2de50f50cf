//! Batched ESP transforms.
