//! Rows of the lists: SAs, tunnels, rules, drops. Addresses, selectors and transforms are text, as policy prints them.

use serde::{Deserialize, Serialize};

/// Through the gateway's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaDirection {
    /// Protects what comes to us.
    Inbound,
    /// Protects what we send.
    Outbound,
}

/// One SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sa {
    /// Control's name for it, unique in the daemon's life.
    pub id: u64,
    /// Eight hexadecimal digits.
    pub spi: String,
    /// Inbound or outbound.
    pub direction: SaDirection,
    /// The peer's name.
    pub peer: String,
    /// The tunnel rule's name, or that of the base rule; of a tunnel around others also what it is around.
    pub rule: String,
    /// Whether it is in transport mode: only what follows the packet's own IP header is inside.
    #[serde(default)]
    pub is_transport: bool,
    /// For example `aes256gcm16`.
    pub transform: String,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// `raw`, or `udp LOCAL:REMOTE` with the two ports.
    pub encapsulation: String,
    /// Our outer address.
    pub local: String,
    /// The peer's outer address.
    pub remote: String,
    /// What may travel in it, in the direction of travel.
    pub selector: String,
    /// Which of the tunnel's parallel pairs it is of, 0 where there is one.
    #[serde(default)]
    pub lane: u16,
    /// Packets sealed or opened.
    pub packets: u64,
    /// Octets of inner packets in them.
    pub octets: u64,
    /// Last sequence number used, or highest accepted.
    pub sequence: u64,
    /// Seconds since it was installed.
    pub age_s: u64,
    /// Seconds to its hard limit.
    pub expires_in_s: u64,
    /// Seconds since its last packet; none when it had no packet.
    pub last_used_s: Option<u64>,
    /// Anti-replay window in packets; none for outbound SAs.
    pub window_packets: Option<u32>,
}

/// How a tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelState {
    /// No SA, nobody asked for one: its traffic is dropped and starts a negotiation.
    Down,
    /// Taken down by the operator: its traffic is dropped and starts nothing until `TunnelUp`.
    Closed,
    /// Being negotiated; its traffic is dropped.
    Negotiating,
    /// Traffic passes.
    Up,
    /// Traffic passes and a successor is being negotiated.
    Rekeying,
    /// The last negotiation failed; a pause before the next.
    HeldDown,
    /// Never up itself: its traffic looks for a gateway, and what is found becomes tunnels of their own.
    Discovers,
}

impl TunnelState {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Closed => "closed",
            Self::Negotiating => "negotiating",
            Self::Up => "up",
            Self::Rekeying => "rekeying",
            Self::HeldDown => "held-down",
            Self::Discovers => "discovers",
        }
    }
}

/// One of the pairs of SAs that a tunnel has side by side, each for a worker of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its number, counted from 0. The peer may count otherwise.
    pub lane: u16,
    /// SPI of the inbound SA, eight hexadecimal digits.
    pub spi_in: String,
    /// SPI of the outbound SA.
    pub spi_out: String,
    /// The worker that has both.
    pub worker: u16,
}

const fn one() -> u16 {
    1
}

/// One tunnel rule and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The rule's name; of a tunnel around others also what it is around.
    pub name: String,
    /// The peer's name.
    pub peer: String,
    /// How it stands.
    pub state: TunnelState,
    /// Whether its SAs are in transport mode.
    #[serde(default)]
    pub is_transport: bool,
    /// What it protects, outbound.
    pub selector: String,
    /// Our outer address.
    pub local: String,
    /// The peer's outer address.
    pub remote: String,
    /// Seconds in this state.
    pub since_s: u64,
    /// SPI of the inbound SA, eight hexadecimal digits; of several parallel pairs the first one's.
    pub spi_in: Option<String>,
    /// SPI of the outbound SA.
    pub spi_out: Option<String>,
    /// Pairs of SAs that it is to have side by side.
    #[serde(default = "one")]
    pub parallel: u16,
    /// The pairs that its traffic goes through.
    #[serde(default)]
    pub lanes: Vec<Lane>,
    /// For example `aes256gcm16`, when up.
    pub transform: Option<String>,
    /// Why the last negotiation failed, in words.
    pub last_error: Option<String>,
}

/// Both classes of rules, each in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Base rules.
    pub transport: Vec<Rule>,
    /// Tunnel rules.
    pub tunnel: Vec<Rule>,
}

/// Which class a rule belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleClass {
    /// Whether a flow may pass.
    Transport,
    /// Through which gateway it must.
    Tunnel,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: RuleClass,
    /// What it speaks of, outbound.
    pub selector: String,
    /// `permit`, `bypass`, `discard`, or `protect`.
    pub action: String,
    /// The peer, for rules that protect.
    pub peer: Option<String>,
    /// Packets it decided, where the engine counts them.
    pub hits: Option<u64>,
}

/// One reason for dropping packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The word, for example `replayed`.
    pub reason: String,
    /// A sentence that says what it means.
    pub explanation: String,
    /// How often.
    pub count: u64,
}
