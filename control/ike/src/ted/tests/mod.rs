//! Discovery on a virtual clock, with honest and other neighbours.

mod asking;
mod lab;
