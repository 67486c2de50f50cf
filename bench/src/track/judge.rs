//! Opens what a gateway sealed, with a library and nothing of the gateway's: outer headers, ESP with AES-GCM (RFC 4303,
//! RFC 4106), level by level.

use std::collections::HashMap;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use warren_seam::Spi;

use super::site::{self, OUTSIDE, Own, Site};

const LINK_OCTETS: usize = 14;
const IPV4_OCTETS: usize = 20;
const ESP: u8 = 50;
const IPV4_IN_IP: u8 = 4;
const SALT_OCTETS: usize = 4;
const IV_OCTETS: usize = 8;
const ICV_OCTETS: usize = 16;

/// Who opens the packets of one gateway.
pub(crate) struct Judge {
    site: Site,
    from: Own,
    keys: HashMap<u32, (LessSafeKey, [u8; SALT_OCTETS])>,
}

impl Judge {
    /// Of the packets that `from` seals.
    pub(crate) fn new(site: Site, from: Own) -> Self {
        Self { site, from, keys: HashMap::new() }
    }

    /// The innermost packet of a frame, when it is sealed as many times as agreed, for the peer, and authentic every time.
    pub(crate) fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, String> {
        let (link, packet) =
            frame.split_at_checked(LINK_OCTETS).ok_or("a frame without an Ethernet header")?;
        if link[..6] != site::mac(self.from.peer(), OUTSIDE).0 || link[12..] != [0x08, 0] {
            return Err("a frame that is not for the peer".to_owned());
        }
        let mut packet = packet.to_vec();
        for level in (1..=self.site.levels).rev() {
            packet = self.open_level(level, &packet)?;
        }
        Ok(packet)
    }

    fn open_level(&mut self, level: u8, packet: &[u8]) -> Result<Vec<u8>, String> {
        let (ip, esp) = packet.split_at_checked(IPV4_OCTETS).ok_or("no IP header")?;
        let addresses = [site::outer(self.from).octets(), site::outer(self.from.peer()).octets()].concat();
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip[0] != 0x45 || ip[9] != ESP || ip[12..] != addresses || total != packet.len() {
            return Err(format!("level {level} is not ESP between the gateways"));
        }
        let spi = esp.first_chunk::<4>().ok_or("ESP without a header")?;
        let (key, salt) = self.key(level, u32::from_be_bytes(*spi))?;
        open_esp(key, *salt, None, esp).map_err(|why| format!("level {level}: {why}"))
    }

    fn key(&mut self, level: u8, spi: u32) -> Result<&(LessSafeKey, [u8; SALT_OCTETS]), String> {
        if !self.keys.contains_key(&spi) {
            let (of_level, index) = site::of_spi(Spi(spi));
            let is_known = site::spi(self.from, of_level, index) == Spi(spi) && of_level == level;
            if !is_known || index >= self.site.sas {
                return Err(format!("an SPI that level {level} does not have"));
            }
            let keymat = self.site.keymat(self.from, level, index);
            let (key, salt) = keymat.split_at(keymat.len() - SALT_OCTETS);
            let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
            let key = UnboundKey::new(algorithm, key).map_err(|_| "the judge has no such cipher")?;
            let salt = salt.try_into().map_err(|_| "a salt of another length")?;
            self.keys.insert(spi, (LessSafeKey::new(key), salt));
        }
        self.keys.get(&spi).ok_or_else(|| "a key that was just made is gone".to_owned())
    }
}

/// What is inside an ESP packet in tunnel mode, from its SPI on, when it is authentic; `esn_high` is the upper half of an
/// extended sequence number.
pub(crate) fn open_esp(
    key: &LessSafeKey,
    salt: [u8; SALT_OCTETS],
    esn_high: Option<u32>,
    esp: &[u8],
) -> Result<Vec<u8>, String> {
    let at_least = 8 + IV_OCTETS + ICV_OCTETS + 2;
    let head = esp.first_chunk::<8>().filter(|_| esp.len() >= at_least).ok_or("ESP without a payload")?;
    let mut nonce = [0; 12];
    nonce[..SALT_OCTETS].copy_from_slice(&salt);
    nonce[SALT_OCTETS..].copy_from_slice(&esp[8..8 + IV_OCTETS]);
    // RFC 4106 §5: the upper half stands between the two that are sent.
    let high = esn_high.map(u32::to_be_bytes);
    let associated = [&head[..4], high.as_ref().map_or(&[], |high| &high[..]), &head[4..]].concat();
    let mut text = esp[8 + IV_OCTETS..].to_vec();
    let clear = key
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&associated), &mut text)
        .map_err(|_| "a packet is not authentic")?;
    let [text @ .., padding, next] = &*clear else { return Err("a text without a trailer".to_owned()) };
    let octets = text.len().checked_sub((*padding).into()).filter(|_| *next == IPV4_IN_IP);
    octets.map(|octets| text[..octets].to_vec()).ok_or_else(|| "a trailer of something else".to_owned())
}
