//! Discovery on a virtual clock, with honest and other neighbours.

mod answering;
mod answers;
mod asking;
mod conversation;
mod lab;
mod page;
mod storm;
mod strays;
