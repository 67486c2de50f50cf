//! The SA payload of phase 1: our proposals as transforms of one proposal, and the choice among theirs.

use super::life::{self, Life};
use crate::Discard;
use crate::limits::LIFETIME_S_MIN;
use crate::wire::iana::{TRANSFORM_KEY_IKE, ike_attribute as ike};
use crate::wire::{Attribute, Proposal, ProtocolId, Sa, Transform};
use warren_policy::{Group, Hash, IkeProposal, KeyBits};

const LIFE: (u16, u16) = (ike::LIFE_TYPE, ike::LIFE_DURATION);

/// What both sides agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) proposal: IkeProposal,
    pub(crate) lifetime_s: u32,
}

const fn hash_number(hash: Hash) -> u16 {
    match hash {
        Hash::Sha1 => ike::SHA1,
        Hash::Sha256 => ike::SHA2_256,
        Hash::Sha384 => ike::SHA2_384,
        Hash::Sha512 => ike::SHA2_512,
    }
}

fn encode(number: usize, proposal: &IkeProposal, (method, lifetime_s): (u16, u32)) -> Transform<'static> {
    let mut attributes = vec![
        Attribute::short(ike::ENCRYPTION, ike::AES_CBC),
        Attribute::short(ike::KEY_LENGTH, proposal.encryption.bits()),
        Attribute::short(ike::HASH, hash_number(proposal.hash)),
        Attribute::short(ike::GROUP, proposal.group.number()),
        Attribute::short(ike::AUTHENTICATION, method),
    ];
    attributes.extend(life::attributes(LIFE, lifetime_s, None));
    Transform { number: number as u8, id: TRANSFORM_KEY_IKE, attributes }
}

/// What the transform means; `None` for what we do not speak, however much of it.
fn decode(transform: &Transform<'_>, method: u16) -> Option<IkeProposal> {
    let number = |class| transform.attribute(class)?.as_number();
    let is = |class, value: u16| number(class) == Some(u64::from(value));
    // A PRF attribute would replace HMAC everywhere.
    if transform.id != TRANSFORM_KEY_IKE || transform.attribute(ike::PRF).is_some() {
        return None;
    }
    if !is(ike::ENCRYPTION, ike::AES_CBC) || !is(ike::AUTHENTICATION, method) {
        return None;
    }
    let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    Some(IkeProposal {
        encryption: KeyBits::from_bits(number(ike::KEY_LENGTH)?.try_into().ok()?)?,
        hash: hashes.into_iter().find(|hash| is(ike::HASH, hash_number(*hash)))?,
        group: Group::from_number(number(ike::GROUP)?.try_into().ok()?)?,
    })
}

/// The shorter of both lifetimes; `None` where it would keep us busy renewing.
fn bounded(transform: &Transform<'_>, ours_s: u32) -> Option<u32> {
    let lifetime_s = Life::of(&transform.attributes, LIFE).bounded_seconds(ours_s);
    (lifetime_s >= ours_s.min(LIFETIME_S_MIN)).then_some(lifetime_s)
}

/// The proposals that one aggressive mode can carry: its first message has one KE payload, so all share the group
/// of the first (RFC 2409 §5.2).
pub(crate) fn of_one_group(proposals: &[IkeProposal]) -> Vec<IkeProposal> {
    let group = proposals.first().map(|proposal| proposal.group);
    proposals.iter().filter(|proposal| Some(proposal.group) == group).copied().collect()
}

/// The body of our SA payload: strongest first, as the configuration has it (REQUIREMENTS DC-18).
pub(crate) fn offer(proposals: &[IkeProposal], method: u16, lifetime_s: u32) -> Vec<u8> {
    let transforms = (1..)
        .zip(proposals)
        .map(|(number, proposal)| encode(number, proposal, (method, lifetime_s)))
        .collect();
    let proposal = Proposal { number: 1, protocol: ProtocolId::ISAKMP, spi: (&[][..]).into(), transforms };
    Sa { proposals: vec![proposal] }.encode()
}

/// Chooses among offered transforms. Our order wins: a peer that lists its weakest first must not get it.
/// Gives what was agreed and the body of the answering SA payload, which repeats the transform as it came.
pub(crate) fn choose(
    ours: &[IkeProposal],
    method: u16,
    lifetime_s: u32,
    offered: &[u8],
) -> Result<(Agreed, Vec<u8>), Discard> {
    let sa = Sa::decode(offered).map_err(|_| Discard::Malformed)?;
    let candidates: Vec<_> = (sa.proposals.iter())
        .filter(|proposal| proposal.protocol == ProtocolId::ISAKMP)
        .flat_map(|proposal| proposal.transforms.iter().map(move |transform| (proposal, transform)))
        .filter_map(|(proposal, transform)| Some((decode(transform, method)?, proposal, transform)))
        .collect();
    let (chosen, proposal, transform) = ours
        .iter()
        .find_map(|own| candidates.iter().find(|(offer, _, _)| offer == own))
        .ok_or(Discard::NoProposalChosen)?;
    let lifetime_s = bounded(transform, lifetime_s).ok_or(Discard::NoProposalChosen)?;
    let answer = Proposal { transforms: vec![(*transform).clone()], ..(*proposal).clone() };
    Ok((Agreed { proposal: *chosen, lifetime_s }, Sa { proposals: vec![answer] }.encode()))
}

/// What the responder chose, if it is something that we offered.
pub(crate) fn accept(
    ours: &[IkeProposal],
    method: u16,
    lifetime_s: u32,
    answer: &[u8],
) -> Result<Agreed, Discard> {
    let sa = Sa::decode(answer).map_err(|_| Discard::Malformed)?;
    let [proposal] = &sa.proposals[..] else { return Err(Discard::BadChoice) };
    let [transform] = &proposal.transforms[..] else { return Err(Discard::BadChoice) };
    let chosen =
        decode(transform, method).filter(|chosen| ours.contains(chosen)).ok_or(Discard::BadChoice)?;
    if proposal.protocol != ProtocolId::ISAKMP {
        return Err(Discard::BadChoice);
    }
    let lifetime_s = bounded(transform, lifetime_s).ok_or(Discard::BadChoice)?;
    Ok(Agreed { proposal: chosen, lifetime_s })
}

/// The seconds that a RESPONDER-LIFETIME notify for the ISAKMP SA carries.
pub(crate) fn notified_seconds(attributes: &[Attribute<'_>]) -> Option<u64> {
    // RFC 2407 §4.6.3.1 speaks of phase 2 attributes whatever the SA; some peers send those of phase 1.
    let phase_two =
        (crate::wire::iana::esp_attribute::LIFE_TYPE, crate::wire::iana::esp_attribute::LIFE_DURATION);
    Life::of(attributes, LIFE).seconds.or_else(|| Life::of(attributes, phase_two).seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PSK: u16 = ike::PRE_SHARED_KEY;

    fn proposals(texts: &[&str]) -> Vec<IkeProposal> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn every_proposal_survives_the_offer_and_the_choice() {
        for bits in [128, 192, 256] {
            for hash in ["sha1", "sha256", "sha384", "sha512"] {
                for group in Group::ALL {
                    let ours = proposals(&[&format!("aes{bits}-{hash}-{group}")]);
                    let (agreed, answer) = choose(&ours, PSK, 3600, &offer(&ours, PSK, 7200)).unwrap();
                    assert_eq!(agreed, Agreed { proposal: ours[0], lifetime_s: 3600 });
                    let accepted = accept(&ours, PSK, 7200, &answer).unwrap();
                    assert_eq!(accepted, Agreed { proposal: ours[0], lifetime_s: 7200 });
                }
            }
        }
    }

    #[test] // DC-18
    fn our_order_wins_over_the_peers() {
        let ours = proposals(&["aes256-sha384-ecp384", "aes128-sha256-modp2048"]);
        let theirs = proposals(&["aes128-sha1-modp2048", "aes128-sha256-modp2048", "aes256-sha384-ecp384"]);
        let (agreed, answer) = choose(&ours, PSK, 3600, &offer(&theirs, PSK, 3600)).unwrap();
        assert_eq!(agreed.proposal, ours[0]);
        // The transform keeps the number that the peer gave it.
        assert_eq!(Sa::decode(&answer).unwrap().proposals[0].transforms[0].number, 3);
    }

    #[test]
    fn nothing_in_common_is_no_choice_and_a_choice_that_was_not_offered_is_refused() {
        let (one, other) = (proposals(&["aes128-sha256-modp2048"]), proposals(&["aes256-sha256-modp2048"]));
        assert_eq!(choose(&one, PSK, 60, &offer(&other, PSK, 60)).unwrap_err(), Discard::NoProposalChosen);
        assert_eq!(accept(&one, PSK, 60, &offer(&other, PSK, 60)).unwrap_err(), Discard::BadChoice);
        let both = [one.clone(), other].concat();
        assert_eq!(accept(&both, PSK, 60, &offer(&both, PSK, 60)).unwrap_err(), Discard::BadChoice);
    }

    #[test]
    fn a_transform_with_a_prf_of_its_own_is_not_ours() {
        let ours = proposals(&["aes128-sha256-modp2048"]);
        let mut transform = encode(1, &ours[0], (PSK, 60));
        assert_eq!(decode(&transform, PSK), Some(ours[0]));
        transform.attributes.push(Attribute::short(ike::PRF, 1));
        assert_eq!(decode(&transform, PSK), None);
    }

    #[test]
    fn order_form_and_numbers_are_the_peers_to_choose() {
        let ours = proposals(&["aes128-sha256-modp2048"]);
        let mut transform = encode(0, &ours[0], (PSK, 86_400));
        transform.attributes.reverse();
        transform.attributes.push(Attribute::short(9999, 1));
        let bits =
            transform.attributes.iter_mut().find(|attribute| attribute.class == ike::KEY_LENGTH).unwrap();
        bits.value = crate::wire::Value::Long((&[0, 0, 0, 128][..]).into());
        let cookie = [7; 8];
        let proposal = Proposal {
            number: 0,
            protocol: ProtocolId::ISAKMP,
            spi: (&cookie[..]).into(),
            transforms: vec![transform],
        };
        let body = Sa { proposals: vec![proposal] }.encode();
        let (agreed, answer) = choose(&ours, PSK, 3600, &body).unwrap();
        assert_eq!(agreed, Agreed { proposal: ours[0], lifetime_s: 3600 });
        assert_eq!(answer, body, "octet for octet");
    }

    #[test]
    fn a_lifetime_of_a_second_is_no_lifetime() {
        let ours = proposals(&["aes128-sha256-modp2048"]);
        assert_eq!(choose(&ours, PSK, 3600, &offer(&ours, PSK, 1)).unwrap_err(), Discard::NoProposalChosen);
        assert_eq!(accept(&ours, PSK, 3600, &offer(&ours, PSK, 1)).unwrap_err(), Discard::BadChoice);
    }
}
