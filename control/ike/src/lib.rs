//! Sans-IO IKEv1 (RFC 2407, 2408, 2409): inputs are calls, outputs are values, time and randomness are arguments.
//!
//! ```text
//! datagram -> Endpoint::handle_datagram -> header -> admission -> state `open` -> payloads -> state `handle`
//!          -> policy -> keys -> outbox: install inbound, then answer, then use outbound
//! ```
//!
//! [`Endpoint`] owns every negotiation and every ISAKMP SA. Its user calls one of the inputs and then takes
//! outputs with [`Endpoint::poll_output`] until there are none, strictly in their order.

mod admission;
mod certificate;
mod config;
#[cfg(test)]
mod config_transcripts;
mod counters;
mod credentials;
mod crypto;
mod endpoint;
mod entropy;
pub mod limits;
mod notice;
mod output;
mod path;
mod pem;
mod retransmit;
#[cfg(test)]
mod signed_capture;
mod spi;
mod status;
pub mod ted;
#[cfg(test)]
mod testing;
mod timers;
#[cfg(test)]
mod transcripts;
mod v1;
pub mod wire;

pub use config::{
    Authentication, ChildConfig, ConfigMode, Dpd, Mode, NatTraversal, PeerConfig, Remote, RemoteIdentity,
    Retransmit, Xauth,
};
pub use counters::{Counters, Discard};
pub use credentials::{Credentials, CredentialsError, SignatureError};
pub use endpoint::Endpoint;
pub use entropy::Entropy;
pub use notice::Notice;
pub use output::{Asked, ConfigExchange, Down, Failure, Output, Role};
pub use path::Path;
pub use pem::{PemError, certificates_from_pem, private_key_from_pem};
pub use status::{ChildStatus, PeerState, PeerStatus};
