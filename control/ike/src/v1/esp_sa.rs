//! The SA payload of phase 2: ESP proposals as transforms of one proposal, and the choice among theirs.

use super::life::{self, Life};
use crate::Discard;
use crate::limits::{LIFETIME_KB_MIN, LIFETIME_S_MIN};
use crate::wire::iana::{esp_attribute as esp, esp_transform};
use crate::wire::{Attribute, NotifyType, Proposal, ProtocolId, Sa, Transform};
use warren_policy::{EspProposal, EspTransform, Group, Hash, KeyBits, Lifetime, SaMode};
use warren_seam::Spi;

const LIFE: (u16, u16) = (esp::LIFE_TYPE, esp::LIFE_DURATION);

/// What both sides agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) proposal: EspProposal,
    pub(crate) lifetime: Lifetime,
    /// What the peer has set the lifetime to is longer than ours: it should be told.
    pub(crate) is_shortened: bool,
    /// The peer's inbound SPI: our outbound one.
    pub(crate) spi: Spi,
}

/// How the offered SAs travel (RFC 2407 §4.5, RFC 3947 §5.1). The numbers of the drafts before are never agreed to: the
/// NAT detection of those drafts is not ours either.
pub(crate) const fn encapsulation_mode(mode: SaMode, in_udp: bool) -> u16 {
    match (mode, in_udp) {
        (SaMode::Tunnel, false) => esp::TUNNEL,
        (SaMode::Transport, false) => esp::TRANSPORT,
        (SaMode::Tunnel, true) => esp::UDP_TUNNEL,
        (SaMode::Transport, true) => esp::UDP_TRANSPORT,
    }
}

const fn authentication(hash: Hash) -> u16 {
    match hash {
        Hash::Sha1 => esp::HMAC_SHA1,
        Hash::Sha256 => esp::HMAC_SHA2_256,
        Hash::Sha384 => esp::HMAC_SHA2_384,
        Hash::Sha512 => esp::HMAC_SHA2_512,
    }
}

fn encode(number: usize, proposal: &EspProposal, lifetime: Lifetime, mode: u16) -> Transform<'static> {
    let (id, bits, hash) = match proposal.transform {
        EspTransform::AesGcm16(bits) => (esp_transform::AES_GCM_16, bits, None),
        EspTransform::AesCbcHmac(bits, hash) => (esp_transform::AES_CBC, bits, Some(hash)),
    };
    let mut attributes = life::attributes(LIFE, lifetime.seconds, lifetime.kilobytes);
    attributes.push(Attribute::short(esp::ENCAPSULATION, mode));
    attributes.push(Attribute::short(esp::KEY_LENGTH, bits.bits()));
    attributes.extend(hash.map(|hash| Attribute::short(esp::AUTHENTICATION, authentication(hash))));
    attributes.extend(proposal.pfs.map(|group| Attribute::short(esp::GROUP, group.number())));
    if proposal.esn {
        attributes.push(Attribute::short(esp::EXTENDED_SEQUENCE_NUMBER, esp::SEQUENCE_64_BITS));
    }
    Transform { number: number as u8, id, attributes }
}

/// What the transform means and how it travels; `None` for what we do not speak.
fn decode(transform: &Transform<'_>) -> Option<(EspProposal, u16)> {
    let number = |class| -> Option<Option<u16>> {
        match transform.attribute(class) {
            None => Some(None),
            Some(attribute) => Some(Some(attribute.as_number()?.try_into().ok()?)),
        }
    };
    let bits = KeyBits::from_bits(number(esp::KEY_LENGTH)??)?;
    let hash = match number(esp::AUTHENTICATION)? {
        None => None,
        Some(algorithm) => Some(
            [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]
                .into_iter()
                .find(|hash| authentication(*hash) == algorithm)?,
        ),
    };
    let transform = match (transform.id, hash) {
        (esp_transform::AES_GCM_16, None) => EspTransform::AesGcm16(bits),
        (esp_transform::AES_CBC, Some(hash)) => EspTransform::AesCbcHmac(bits, hash),
        _ => return None,
    };
    let pfs = match number(esp::GROUP)? {
        None => None,
        Some(group) => Some(Group::from_number(group)?),
    };
    let esn = number(esp::EXTENDED_SEQUENCE_NUMBER)? == Some(esp::SEQUENCE_64_BITS);
    let mode = number(esp::ENCAPSULATION)?.unwrap_or(esp::TUNNEL);
    Some((EspProposal { transform, pfs, esn }, mode))
}

/// The proposals that one quick mode can carry: there is one KE payload, so all share the group of the first
/// (RFC 2409 §5.5).
pub(crate) fn offerable(proposals: &[EspProposal]) -> Vec<EspProposal> {
    let group = proposals.first().and_then(|proposal| proposal.pfs);
    proposals.iter().filter(|proposal| proposal.pfs == group).copied().collect()
}

/// The body of our SA payload. `mode` is that of [`encapsulation_mode`].
pub(crate) fn offer(proposals: &[EspProposal], lifetime: Lifetime, spi: Spi, mode: u16) -> Vec<u8> {
    let transforms =
        (1..).zip(proposals).map(|(number, proposal)| encode(number, proposal, lifetime, mode)).collect();
    let spi = spi.0.to_be_bytes().to_vec().into();
    Sa { proposals: vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms }] }.encode()
}

/// The peer's offer, decoded once, so that a refusal can name its SPI.
pub(crate) struct Offer<'a> {
    sa: Sa<'a>,
}

impl<'a> Offer<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, NotifyType> {
        Sa::decode(body).map(|sa| Self { sa }).map_err(|_| NotifyType::BAD_PROPOSAL_SYNTAX)
    }

    /// The SPI of the first ESP proposal.
    pub(crate) fn spi(&self) -> Option<u32> {
        self.esp().find_map(Proposal::spi_u32)
    }

    /// ESP proposals that stand alone: those that share their number with another belong to a bundle.
    fn esp(&self) -> impl Iterator<Item = &Proposal<'a>> {
        let alone =
            |number| self.sa.proposals.iter().filter(|proposal| proposal.number == number).count() == 1;
        (self.sa.proposals.iter())
            .filter(move |proposal| proposal.protocol == ProtocolId::ESP && alone(proposal.number))
    }

    /// Chooses one transform; our order wins. Gives what was agreed and the body of the answering SA payload with our SPI in it.
    pub(crate) fn choose(
        &self,
        ours: &[EspProposal],
        lifetime: Lifetime,
        mode: u16,
        own_spi: Spi,
    ) -> Option<(Agreed, Vec<u8>)> {
        let candidates: Vec<_> = self
            .esp()
            .filter(|proposal| proposal.spi_u32().is_some_and(|spi| spi > 255))
            .flat_map(|proposal| proposal.transforms.iter().map(move |transform| (proposal, transform)))
            .filter_map(|(proposal, transform)| Some((decode(transform)?, proposal, transform)))
            .filter(|((_, offered), _, _)| *offered == mode)
            .collect();
        let ((chosen, _), proposal, transform) =
            ours.iter().find_map(|own| candidates.iter().find(|((offer, _), _, _)| offer == own))?;
        let agreed = agreed(*chosen, proposal, transform, lifetime)?;
        let answer = Proposal {
            spi: own_spi.0.to_be_bytes().to_vec().into(),
            transforms: vec![(*transform).clone()],
            ..(*proposal).clone()
        };
        Some((agreed, Sa { proposals: vec![answer] }.encode()))
    }
}

fn agreed(
    chosen: EspProposal,
    proposal: &Proposal<'_>,
    transform: &Transform<'_>,
    ours: Lifetime,
) -> Option<Agreed> {
    let life = Life::of(&transform.attributes, LIFE);
    let lifetime = life.bounded(ours);
    if lifetime != lengthened(lifetime, ours) {
        return None;
    }
    let theirs = life.seconds.unwrap_or(u64::from(life::DEFAULT_SECONDS));
    let is_shortened = u64::from(lifetime.seconds) < theirs || lifetime.kilobytes != life.kilobytes;
    Some(Agreed { proposal: chosen, lifetime, is_shortened, spi: Spi(proposal.spi_u32()?) })
}

/// What the responder chose, if it is something that we offered.
pub(crate) fn accept(
    ours: &[EspProposal],
    lifetime: Lifetime,
    mode: u16,
    answer: &[u8],
) -> Result<Agreed, Discard> {
    let sa = Sa::decode(answer).map_err(|_| Discard::Malformed)?;
    let [proposal] = &sa.proposals[..] else { return Err(Discard::BadChoice) };
    let [transform] = &proposal.transforms[..] else { return Err(Discard::BadChoice) };
    let chosen = decode(transform)
        .filter(|(chosen, offered)| ours.contains(chosen) && *offered == mode)
        .ok_or(Discard::BadChoice)?
        .0;
    if proposal.protocol != ProtocolId::ESP || proposal.spi_u32().is_none_or(|spi| spi <= 255) {
        return Err(Discard::BadChoice);
    }
    agreed(chosen, proposal, transform, lifetime).ok_or(Discard::BadChoice)
}

/// The attributes of a RESPONDER-LIFETIME notify, encoded.
pub(crate) fn responder_lifetime(lifetime: Lifetime) -> Vec<u8> {
    let mut octets = Vec::new();
    for attribute in life::attributes(LIFE, lifetime.seconds, lifetime.kilobytes) {
        attribute.encode(&mut octets);
    }
    octets
}

/// The lifetime after the peer said that its own is shorter.
pub(crate) fn shortened(lifetime: Lifetime, attributes: &[Attribute<'_>]) -> Lifetime {
    let life = Life::of(attributes, LIFE);
    let seconds = Some(life.seconds.unwrap_or(u64::from(lifetime.seconds)));
    lengthened(Life { seconds, ..life }.bounded(lifetime), lifetime)
}

/// The lifetime, or the least that would not keep us busy renewing; never more than ours.
fn lengthened(lifetime: Lifetime, ours: Lifetime) -> Lifetime {
    let least = ours.kilobytes.map_or(LIFETIME_KB_MIN, |kilobytes| kilobytes.min(LIFETIME_KB_MIN));
    Lifetime {
        seconds: lifetime.seconds.max(ours.seconds.min(LIFETIME_S_MIN)),
        kilobytes: lifetime.kilobytes.map(|kilobytes| kilobytes.max(least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Lifetime = Lifetime { seconds: 3600, kilobytes: None };

    fn proposals(texts: &[&str]) -> Vec<EspProposal> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn choose(ours: &[EspProposal], offered: &[u8]) -> Option<(Agreed, Vec<u8>)> {
        Offer::decode(offered).unwrap().choose(ours, LIFETIME, esp::TUNNEL, Spi(0x2000))
    }

    #[test] // RFC 4106 §8, RFC 4868, RFC 4304
    fn every_proposal_survives_the_offer_and_the_choice() {
        for transform in [
            "aes128gcm16",
            "aes192gcm16",
            "aes256gcm16",
            "aes128-sha256",
            "aes256-sha384",
            "aes256-sha512",
            "aes128-sha1",
        ] {
            for pfs in ["", "-modp2048", "-ecp256"] {
                for esn in ["", "-esn"] {
                    let ours = proposals(&[&format!("{transform}{pfs}{esn}")]);
                    let (agreed, answer) =
                        choose(&ours, &offer(&ours, LIFETIME, Spi(0x1000), esp::TUNNEL)).unwrap();
                    assert_eq!(
                        (agreed.proposal, agreed.spi, agreed.is_shortened),
                        (ours[0], Spi(0x1000), false)
                    );
                    let accepted = accept(&ours, LIFETIME, esp::TUNNEL, &answer).unwrap();
                    assert_eq!((accepted.proposal, accepted.spi), (ours[0], Spi(0x2000)));
                }
            }
        }
    }

    #[test] // DC-18
    fn our_order_wins_over_the_peers() {
        let ours = proposals(&["aes256gcm16", "aes128gcm16"]);
        let theirs = proposals(&["aes128-sha256", "aes128gcm16", "aes256gcm16"]);
        let (agreed, _) = choose(&ours, &offer(&theirs, LIFETIME, Spi(0x1000), esp::TUNNEL)).unwrap();
        assert_eq!(agreed.proposal, ours[0]);
    }

    #[test] // RFC 2409 §5.5
    fn only_the_first_group_is_offered() {
        let ours = proposals(&["aes256gcm16-ecp384", "aes128gcm16-ecp384", "aes256gcm16"]);
        assert_eq!(offerable(&ours), ours[..2]);
    }

    #[test] // RFC 3947 §5.1, RFC 4304, F-20
    fn another_mode_or_sequence_size_or_a_reserved_spi_is_another_proposal() {
        let plain = proposals(&["aes128gcm16"]);
        let extended = proposals(&["aes128gcm16-esn"]);
        assert!(choose(&plain, &offer(&plain, LIFETIME, Spi(0x1000), esp::UDP_TUNNEL)).is_none());
        assert!(choose(&plain, &offer(&extended, LIFETIME, Spi(0x1000), esp::TUNNEL)).is_none());
        assert!(choose(&extended, &offer(&plain, LIFETIME, Spi(0x1000), esp::TUNNEL)).is_none());
        assert!(choose(&plain, &offer(&plain, LIFETIME, Spi(255), esp::TUNNEL)).is_none());
        assert_eq!(
            accept(&plain, LIFETIME, esp::UDP_TUNNEL, &offer(&plain, LIFETIME, Spi(0x1000), esp::TUNNEL)),
            Err(Discard::BadChoice)
        );
    }

    #[test] // RFC 2407 §4.5, RFC 3947 §5.1
    fn every_mode_is_itself_and_no_other() {
        let numbers = [SaMode::Tunnel, SaMode::Transport]
            .map(|mode| [false, true].map(|in_udp| encapsulation_mode(mode, in_udp)));
        assert_eq!(numbers, [[1, 3], [2, 4]]);
        let ours = proposals(&["aes128gcm16"]);
        let all = [1, 2, 3, 4, esp::UDP_TUNNEL_DRAFT, esp::UDP_TRANSPORT_DRAFT, 0];
        for mode in numbers.into_iter().flatten() {
            for offered in all {
                let body = offer(&ours, LIFETIME, Spi(0x1000), offered);
                let chosen = Offer::decode(&body).unwrap().choose(&ours, LIFETIME, mode, Spi(0x2000));
                assert_eq!(chosen.is_some(), mode == offered, "{offered} offered, {mode} ours");
                assert_eq!(accept(&ours, LIFETIME, mode, &body).is_ok(), mode == offered);
            }
        }
    }

    #[test] // RFC 2407 §4.5
    fn without_a_mode_a_tunnel_is_meant() {
        let ours = proposals(&["aes128gcm16"]);
        let body = offer(&ours, LIFETIME, Spi(0x1000), esp::TUNNEL);
        let mut sa = Sa::decode(&body).unwrap();
        sa.proposals[0].transforms[0].attributes.retain(|attribute| attribute.class != esp::ENCAPSULATION);
        for (mode, is_taken) in [(esp::TUNNEL, true), (esp::TRANSPORT, false)] {
            let body = sa.encode();
            let chosen = Offer::decode(&body).unwrap().choose(&ours, LIFETIME, mode, Spi(0x2000));
            assert_eq!(chosen.is_some(), is_taken);
        }
    }

    #[test]
    fn proposals_that_share_a_number_are_a_bundle_and_not_taken() {
        let ours = proposals(&["aes128gcm16"]);
        let body = offer(&ours, LIFETIME, Spi(0x1000), esp::TUNNEL);
        let mut sa = Sa::decode(&body).unwrap();
        sa.proposals.push(Proposal { protocol: ProtocolId::AH, ..sa.proposals[0].clone() });
        assert!(choose(&ours, &sa.encode()).is_none());
    }

    #[test] // RFC 2407 §4.6.3.1
    fn a_longer_offer_is_shortened_and_the_notify_says_by_how_much() {
        let ours = proposals(&["aes128gcm16"]);
        let long = Lifetime { seconds: 86_400, kilobytes: Some(1 << 40) };
        let (agreed, _) = choose(&ours, &offer(&ours, long, Spi(0x1000), esp::TUNNEL)).unwrap();
        assert_eq!(agreed.lifetime, Lifetime { seconds: 3600, kilobytes: Some(1 << 40) });
        assert!(agreed.is_shortened);
        let octets = responder_lifetime(Lifetime { seconds: 60, kilobytes: Some(1000) });
        let attributes = Attribute::decode_all(&octets).unwrap();
        assert_eq!(shortened(long, &attributes), Lifetime { seconds: 60, kilobytes: Some(1000) });
        assert_eq!(shortened(LIFETIME, &[]), LIFETIME);
    }

    #[test] // RFC 2407 §4.5
    fn a_lifetime_of_nothing_is_refused_in_an_offer_and_lengthened_in_a_notify() {
        let ours = proposals(&["aes128gcm16"]);
        for (seconds, kilobytes) in [(0, None), (3600, Some(0)), (3600, Some(LIFETIME_KB_MIN - 1))] {
            let short = Lifetime { seconds, kilobytes };
            assert!(choose(&ours, &offer(&ours, short, Spi(0x1000), esp::TUNNEL)).is_none());
            let answer = offer(&ours, short, Spi(0x1000), esp::TUNNEL);
            assert_eq!(accept(&ours, LIFETIME, esp::TUNNEL, &answer), Err(Discard::BadChoice));
        }
        let octets = responder_lifetime(Lifetime { seconds: 0, kilobytes: Some(0) });
        let attributes = Attribute::decode_all(&octets).unwrap();
        let least = Lifetime { seconds: LIFETIME_S_MIN, kilobytes: Some(LIFETIME_KB_MIN) };
        assert_eq!(shortened(LIFETIME, &attributes), least);
        let ours = Lifetime { seconds: 5, kilobytes: Some(7) };
        assert_eq!(shortened(ours, &attributes), ours);
    }
}
