//! The program and the sockets, judged by the kernel. Without root everything here says why it is skipped.
#![allow(clippy::print_stdout)] // Whoever runs the tests must see what was skipped, and why.
#![allow(clippy::unwrap_used)] // Everything here is a test, also what is called by one.

mod lab;
mod packets;
mod steering;
mod veth;
