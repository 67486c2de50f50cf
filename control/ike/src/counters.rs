//! What was thrown away, counted by reason. Reason, counter and word are one list.

macro_rules! discard_reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a datagram, or a payload of one, had no effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Discard { $($(#[$doc])* $name,)* }

        impl Discard {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that `dpctl` prints.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

discard_reasons! {
    /// Not an ISAKMP message, or one whose payloads do not add up.
    Malformed = "malformed",
    /// A single 0xFF on port 4500: a NAT keepalive.
    Keepalive = "keepalive",
    /// Too short for the marker, or ESP where IKE is expected.
    NoMarker = "no-marker",
    /// Major version other than 1.
    UnsupportedVersion = "unsupported-version",
    /// An exchange type that we do not speak, or that does not fit the state.
    UnexpectedExchange = "unexpected-exchange",
    /// From an address that no peer is configured for.
    UnknownPeer = "unknown-peer",
    /// Cookies of no negotiation and no ISAKMP SA of ours.
    UnknownCookies = "unknown-cookies",
    /// For an SA of another pair of addresses.
    WrongPath = "wrong-path",
    /// Too many first messages in a short time.
    RateLimited = "rate-limited",
    /// More negotiations were begun than we remember; the oldest, of that source or of all, was forgotten.
    HalfOpenReplaced = "half-open-replaced",
    /// A half-open negotiation that was never continued.
    HalfOpenExpired = "half-open-expired",
    /// A quick mode of the peer's whose third message never came.
    Unconfirmed = "unconfirmed",
    /// Too many negotiations that proved their address and did not finish.
    NegotiationsFull = "negotiations-full",
    /// A fragment that cannot be one: of a message that is too long, or that is a fragment again, or of somebody
    /// with whom fragmentation was not agreed.
    BadFragment = "bad-fragment",
    /// Fragments of a message whose others never came.
    FragmentsAbandoned = "fragments-abandoned",
    /// More messages in fragments than we put together at a time.
    FragmentsFull = "fragments-full",
    /// More peers under templates than we hold.
    PeersFull = "peers-full",
    /// Seen before; the stored response was sent again.
    Retransmitted = "retransmitted",
    /// Seen before, and there is nothing to answer.
    Duplicate = "duplicate",
    /// An authentic message under a message ID that was used before.
    MessageIdReused = "message-id-reused",
    /// A message of our own that came back.
    Reflected = "reflected",
    /// More exchanges under one ISAKMP SA than we keep state for.
    ExchangesFull = "exchanges-full",
    /// Encrypted under a key that is not ours (a wrong pre-shared key looks like this), or damaged.
    Undecryptable = "undecryptable",
    /// Clear text where only encryption is acceptable.
    NotEncrypted = "not-encrypted",
    /// Encryption where there is no key yet.
    UnexpectedEncryption = "unexpected-encryption",
    /// A HASH payload that does not verify.
    BadHash = "bad-hash",
    /// A signature that does not verify.
    BadSignature = "bad-signature",
    /// A proof without a certificate, or with one that cannot be read or is for something else.
    CertificateUnusable = "certificate-unusable",
    /// A certificate that does not name the identity that the peer claims.
    CertificateName = "certificate-name",
    /// A certificate, or one above it, that has expired or is not valid yet.
    CertificateDate = "certificate-date",
    /// A certificate that no authority of ours issued.
    CertificateAuthority = "certificate-authority",
    /// Our own key does not sign.
    CannotSign = "cannot-sign",
    /// A payload that the message must have is missing or appears twice.
    MissingPayload = "missing-payload",
    /// A public value outside of its group (RFC 6989).
    BadPublicValue = "bad-public-value",
    /// An answer that chose something we did not offer.
    BadChoice = "bad-choice",
    /// The peer authenticated, but as somebody else.
    IdentityMismatch = "identity-mismatch",
    /// None of the offered proposals is acceptable.
    NoProposalChosen = "no-proposal-chosen",
    /// Selectors that no rule asks for.
    InvalidIdInformation = "invalid-id-information",
    /// Transport mode for others than the two hosts themselves, or for hosts whose addresses a NAT changes.
    NotBetweenHosts = "not-between-hosts",
    /// Networks that the peer's identity is not authorised for, whichever side asked for them (REQUIREMENTS F-7).
    Unauthorised = "unauthorised",
    /// An answer of the transaction exchange that nobody asked for.
    Unsolicited = "unsolicited",
    /// Quick mode or configuration before extended authentication is over.
    XauthPending = "xauth-pending",
    /// A user who is none, or whose password is wrong.
    XauthRefused = "xauth-refused",
    /// A password that was not even looked at, because there were too many wrong ones before.
    XauthGuessing = "xauth-guessing",
    /// A Notify or Delete that no ISAKMP SA protects (REQUIREMENTS F-3).
    UnprotectedInformational = "unprotected-informational",
    /// A protected Notify that we have no use for.
    UnknownNotify = "unknown-notify",
    /// A Delete for SAs that do not exist.
    UnknownDelete = "unknown-delete",
    /// An R-U-THERE or its answer with a sequence number that is not the next (RFC 3706 §6.2).
    BadDpdSequence = "bad-dpd-sequence",
}

/// Counters of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    discards: [u64; Discard::ALL.len()],
    /// Datagrams given to us.
    pub received: u64,
    /// Datagrams that we asked to send, repetitions and keepalives included.
    pub transmitted: u64,
    /// Messages repeated because no answer came.
    pub retransmissions: u64,
    /// Phase 1 exchanges completed.
    pub peers_established: u64,
    /// Quick modes completed.
    pub children_established: u64,
    /// Diffie-Hellman exchanges computed.
    pub key_exchanges: u64,
    /// Attributes of configuration messages that we have no word for, or whose value makes no sense.
    pub unknown_attributes: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            discards: [0; Discard::ALL.len()],
            received: 0,
            transmitted: 0,
            retransmissions: 0,
            peers_established: 0,
            children_established: 0,
            key_exchanges: 0,
            unknown_attributes: 0,
        }
    }
}

impl Counters {
    /// How often something was thrown away for that reason.
    #[must_use]
    pub const fn discarded(&self, reason: Discard) -> u64 {
        self.discards[reason as usize]
    }

    /// Every reason with its count.
    pub fn discards(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.iter().map(|reason| (*reason, self.discarded(*reason)))
    }

    pub(crate) const fn discard(&mut self, reason: Discard) {
        self.discards[reason as usize] += 1;
    }
}
