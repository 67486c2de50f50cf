//! What the fuzz targets do with their bytes, one module for each crate under test. The properties are the ones
//! of that crate's own tests; a target adds only the way in.

pub mod api;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod ike;
pub mod port;
