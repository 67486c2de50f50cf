//! What informational exchanges carry: Notify and Delete payloads, as chains that still lack their HASH.

use crate::crypto::Cookies;
use crate::wire::{Chain, Delete, Notify, NotifyType, PayloadType};
use warren_seam::Spi;

/// SPIs in one Delete payload: the message stays below the usual MTU.
pub(crate) const SPIS_PER_DELETE: usize = 256;

/// A notify about the ISAKMP SA that has nothing to add.
pub(crate) fn status(kind: NotifyType, cookies: Cookies) -> Chain {
    let notify = Notify::isakmp(kind, cookies.initiator, cookies.responder, &[]);
    Chain::new().with(PayloadType::NOTIFY, &notify.encode())
}

/// R-U-THERE or its answer (RFC 3706 §5.3).
pub(crate) fn dpd(kind: NotifyType, cookies: Cookies, sequence: u32) -> Chain {
    let sequence = sequence.to_be_bytes();
    let notify = Notify::isakmp(kind, cookies.initiator, cookies.responder, &sequence);
    Chain::new().with(PayloadType::NOTIFY, &notify.encode())
}

/// The refusal of a quick mode; names the SPI that its initiator chose, so that it knows which one.
pub(crate) fn refusal(kind: NotifyType, spi: Option<u32>) -> Chain {
    let notify = Notify::esp(kind, spi.unwrap_or(0), &[]);
    Chain::new().with(PayloadType::NOTIFY, &notify.encode())
}

/// ESP SAs of ours are gone.
pub(crate) fn delete_esp(spis: &[Spi]) -> Chain {
    let spis: Vec<u32> = spis.iter().map(|spi| spi.0).collect();
    Chain::new().with(PayloadType::DELETE, &Delete::esp(&spis).encode())
}

/// The ISAKMP SA is gone.
pub(crate) fn delete_isakmp(cookies: Cookies) -> Chain {
    let delete = Delete::isakmp(cookies.initiator, cookies.responder);
    Chain::new().with(PayloadType::DELETE, &delete.encode())
}
