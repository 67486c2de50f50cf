//! IKEv1 on the wire: ISAKMP (RFC 2408), the IPsec DOI (RFC 2407), IKE (RFC 2409).
//!
//! ```text
//! datagram ── Header::decode ──► header, body ── Body::decode ──► payloads ──► Sa, Identification, Notify, Delete …
//! datagram ◄── Header::encode ── header, Chain ◄── push(kind, body) ◄───────── the same values, encoded
//! ```
//!
//! Decoding borrows from the datagram, cannot panic and decides nothing: unknown numbers stay numbers, and what
//! comes out says nothing about who sent it. Wire order exists only in here.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

pub mod attribute;
pub mod body;
pub mod chain;
pub mod config_attribute;
pub mod delete;
pub mod fragment;
pub mod header;
pub mod iana;
pub mod id;
pub mod limits;
pub mod malformed;
pub mod nat;
pub mod notify;
pub mod payload;
mod policy_set;
mod reader;
pub mod sa;
pub mod ted;
pub mod transaction;
pub mod vendor;

pub use attribute::{Attribute, Value};
pub use body::Body;
pub use chain::Chain;
pub use config_attribute::{ConfigAttribute, SetMessage, SplitForm, SplitNetwork};
pub use delete::Delete;
pub use fragment::Fragment;
pub use header::{Cookie, HEADER_OCTETS, Header};
pub use iana::{ConfigType, ExchangeType, IdType, NotifyType, PayloadType, ProtocolId};
pub use id::{Identification, Traffic};
pub use malformed::Malformed;
pub use notify::Notify;
pub use payload::{Payload, Payloads};
pub use sa::{Proposal, Sa, Transform};
pub use transaction::Transaction;
