//! Where frames come from and go.
//!
//! A [`Frame`] is one chunk of a [`Umem`]. A [`Port`] fills frames with packets and takes frames with packets away:
//! over `AF_XDP` sockets, over a queue in memory, out of a capture file, or over a tun device. The engine sees only
//! the trait, so everything it does to a packet on a wire can be done to the same packet in a test.
//!
//! ```text
//!           allocate / release
//!   Umem <---------------------> engine --- frames ---> Port::transmit --> kernel, queue, file
//!    ^                              ^                        |
//!    |                              +------- frames ---- Port::receive <-- kernel, queue, file
//!    +------- fill ring, completion ring (frames that the kernel holds) ------+
//! ```
//!
//! This crate and `warren-aead` are the only ones that may contain `unsafe`: memory shared with the kernel cannot be
//! described in safe Rust. Every block says what makes it sound.
#![allow(unsafe_code)]

pub mod af_xdp;
pub mod cycles;
mod flow_rules;
mod frame;
pub mod limits;
mod memory;
mod pcap;
mod port;
mod prefetch;
mod tun;
mod umem;
mod xdp_link;

pub use flow_rules::{
    EthtoolFlows, FlowMatch, FlowRule, FlowTable, HASH_ADDRESSES, HASH_SPI, Places, is_unsupported,
};
pub use frame::Frame;
pub use memory::{MemoryLink, MemoryPort};
pub use pcap::{CaptureError, CaptureReader, CaptureWriter, CapturedPacket, PcapPort};
pub use port::{BusyPoll, Link, Port, PortCounters, PortMode, XdpAttach};
pub use prefetch::{prefetch, prefetch_whole};
pub use tun::TunPort;
pub use umem::{Umem, UmemConfig};
pub use xdp_link::attach_xdp;
