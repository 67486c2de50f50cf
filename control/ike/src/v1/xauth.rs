//! Extended authentication (draft-beaulieu-ike-xauth), the generic kind: a user name and a password, asked for by
//! the server when phase 1 is over.
//!
//! ```text
//! server  { REQUEST: user?, password? }   -->
//!                                        <--  { REPLY: user, password }  client
//!         { SET: status }                 -->
//!                                        <--  { ACK: status }
//! ```

use super::transaction::Tally;
use crate::crypto::digest;
use crate::limits::{GUESSERS_MAX, GUESSES_PER_SOURCE_MAX, GUESSES_PER_USER_MAX, GUESSES_WINDOW};
use crate::wire::iana::xauth_class as class;
use crate::wire::{Attribute, Transaction, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use subtle::{Choice, ConstantTimeEq};
use warren_policy::{Hash, Secret};

/// How far it is under one ISAKMP SA.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Phase 1 is hardly over.
    Pending,
    /// As client: not asked yet. A server that asks nobody is answered with patience only until then.
    Expecting(Duration),
    /// As client: we answered, and the server has until then to say what it thinks of it.
    Answered(Duration),
    /// As server: the question, or our judgement, is out.
    Asking,
    /// Over, or never wanted.
    Over,
}

impl Progress {
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    pub(crate) const fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Expecting(until) | Self::Answered(until) => Some(*until),
            Self::Pending | Self::Asking | Self::Over => None,
        }
    }
}

/// Whether the message belongs to extended authentication.
pub(crate) fn is_in(transaction: &Transaction<'_>) -> bool {
    let classes = class::TYPE..=class::ANSWER;
    transaction.attributes.iter().any(|attribute| classes.contains(&attribute.class))
}

const fn empty(class: u16) -> Attribute<'static> {
    Attribute { class, value: Value::Long(Cow::Borrowed(&[])) }
}

/// The server's question.
pub(crate) fn question() -> Vec<Attribute<'static>> {
    vec![empty(class::USER_NAME), empty(class::USER_PASSWORD)]
}

/// The server's judgement.
pub(crate) fn judgement(is_ok: bool) -> Vec<Attribute<'static>> {
    vec![Attribute::short(class::STATUS, if is_ok { class::OK } else { class::FAIL })]
}

/// The judgement in a SET; `None` for a message without one.
pub(crate) fn judged(transaction: &Transaction<'_>) -> Option<bool> {
    let status = transaction.attribute(class::STATUS)?;
    Some(status.as_number() == Some(u64::from(class::OK)))
}

/// What a client says to a judgement.
pub(crate) fn acknowledgement() -> Vec<Attribute<'static>> {
    vec![empty(class::STATUS)]
}

/// The client's answer: what it is asked for and has. For another kind of authentication than the generic one it
/// says that it failed (§4.1).
pub(crate) fn answer<'a>(
    question: &Transaction<'_>,
    user: &'a str,
    password: &'a Secret,
) -> Vec<Attribute<'a>> {
    let kind = question.attribute(class::TYPE);
    if kind.is_some_and(|kind| kind.as_number().unwrap_or(0) != u64::from(class::GENERIC)) {
        return judgement(false);
    }
    let long = |class, octets| Attribute { class, value: Value::Long(Cow::Borrowed(octets)) };
    let said = question.attributes.iter().filter_map(|asked| match asked.class {
        class::TYPE => Some(Attribute::short(class::TYPE, class::GENERIC)),
        class::USER_NAME => Some(long(class::USER_NAME, user.as_bytes())),
        class::USER_PASSWORD | class::PASSCODE => Some(long(asked.class, password.expose())),
        _ => None,
    });
    said.collect()
}

/// The user who proved to be one. Takes the same time for a wrong password and for an unknown user: it compares
/// with every user, and digests, so that lengths do not show either.
pub(crate) fn judge(users: &BTreeMap<String, Secret>, reply: &Transaction<'_>) -> Option<String> {
    let kind = reply.attribute(class::TYPE);
    let is_generic = kind.is_none_or(|kind| kind.as_number() == Some(u64::from(class::GENERIC)));
    let name = user_name(reply);
    let password = reply.attribute(class::USER_PASSWORD).or_else(|| reply.attribute(class::PASSCODE));
    let of = |octets: &[u8]| digest(Hash::Sha256, &[octets]);
    let said_name = of(name.as_bytes());
    let said_password = of(password.and_then(long).unwrap_or_default());
    let known = users.iter().fold(Choice::from(0), |known, (user, password)| {
        known | (of(user.as_bytes()).ct_eq(&said_name) & of(password.expose()).ct_eq(&said_password))
    });
    // Whoever says no password proves nothing, whatever the file of users says.
    let is_said = password.and_then(long).is_some_and(|password| !password.is_empty());
    (bool::from(known) && is_generic && is_said).then(|| name.into_owned())
}

fn long<'a>(attribute: &'a Attribute<'_>) -> Option<&'a [u8]> {
    match &attribute.value {
        Value::Long(octets) => Some(octets),
        // A password of two octets is no password.
        Value::Short(_) => None,
    }
}

fn user_name<'a>(reply: &'a Transaction<'_>) -> Cow<'a, str> {
    let octets = reply.attribute(class::USER_NAME).and_then(long).unwrap_or_default();
    String::from_utf8_lossy(octets)
}

/// Whoever guesses.
#[derive(PartialEq, Eq, Hash)]
enum Guesser {
    /// By digest, so that names of any length cost the same.
    User([u8; 32]),
    /// IPv6 sources by the prefix of their link.
    Source(IpAddr),
}

/// Passwords that were wrong, by user and by source, for as long as they count.
#[derive(Default)]
pub(crate) struct Guesses {
    failures: HashMap<Guesser, Tally>,
}

impl Guesses {
    /// Whether one more reply from there may be judged. A full table judges nobody who is not in it.
    pub(crate) fn may_guess(&mut self, now: Duration, reply: &Transaction<'_>, source: IpAddr) -> bool {
        self.failures.retain(|_, tally| tally.count(now, GUESSES_WINDOW) > 0);
        let most = [GUESSES_PER_USER_MAX, GUESSES_PER_SOURCE_MAX];
        let [user, source] = guessers(reply, source).map(|guesser| self.failures.get(&guesser));
        let strangers = [user, source].iter().filter(|known| known.is_none()).count();
        let count = |tally: Option<&Tally>| tally.map_or(0, |tally| tally.count(now, GUESSES_WINDOW));
        self.failures.len() + strangers <= GUESSERS_MAX
            && [user, source].into_iter().zip(most).all(|(tally, most)| count(tally) < most)
    }

    pub(crate) fn failed(&mut self, now: Duration, reply: &Transaction<'_>, source: IpAddr) {
        for guesser in guessers(reply, source) {
            self.failures.entry(guesser).or_default().add(now, GUESSES_WINDOW);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.failures.len()
    }
}

fn guessers(reply: &Transaction<'_>, source: IpAddr) -> [Guesser; 2] {
    let user = digest(Hash::Sha256, &[user_name(reply).as_bytes()]);
    let source = match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
    };
    [Guesser::User(user.try_into().expect("SHA2-256 has 32 octets")), Guesser::Source(source)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ConfigType;

    fn users() -> BTreeMap<String, Secret> {
        let user = |name: &str, password: &str| (name.to_owned(), Secret::new(password.into()));
        [user("alice", "wonderland"), user("bob", "builder"), user("nobody", "")].into()
    }

    fn reply(name: &str, password: &str) -> Transaction<'static> {
        let long =
            |class, text: &str| Attribute { class, value: Value::Long(text.as_bytes().to_vec().into()) };
        let attributes = vec![long(class::USER_NAME, name), long(class::USER_PASSWORD, password)];
        Transaction { kind: ConfigType::REPLY, identifier: 0, attributes }
    }

    #[test]
    fn only_a_users_own_password_is_right() {
        let users = users();
        let judge = |name, password| judge(&users, &reply(name, password));
        assert_eq!(judge("alice", "wonderland").as_deref(), Some("alice"));
        assert_eq!(judge("bob", "builder").as_deref(), Some("bob"));
        for (name, password) in [
            ("alice", "builder"),
            ("alice", "wonderlan"),
            ("alice", ""),
            ("carol", "wonderland"),
            ("", "wonderland"),
            ("nobody", ""),
        ] {
            assert_eq!(judge(name, password), None, "{name}");
        }
    }

    #[test]
    fn a_reply_of_another_kind_or_without_password_is_wrong() {
        let mut otp = reply("alice", "wonderland");
        otp.attributes.push(Attribute::short(class::TYPE, 2));
        assert_eq!(judge(&users(), &otp), None);
        let mut generic = reply("alice", "wonderland");
        generic.attributes.push(Attribute::short(class::TYPE, class::GENERIC));
        assert_eq!(judge(&users(), &generic).as_deref(), Some("alice"));
        let failed = Transaction { attributes: judgement(false), ..reply("", "") };
        assert_eq!(judge(&users(), &failed), None);
    }

    #[test]
    fn a_client_says_only_what_it_is_asked_for() {
        let password = Secret::new(b"wonderland".to_vec());
        let ask = |attributes| {
            let question = Transaction { kind: ConfigType::REQUEST, identifier: 0, attributes };
            let said = answer(&question, "alice", &password);
            said.iter().map(|one| (one.class, one.octets().to_vec())).collect::<Vec<_>>()
        };
        let (user, secret) = (b"alice".to_vec(), b"wonderland".to_vec());
        assert_eq!(
            ask(question()),
            [(class::USER_NAME, user.clone()), (class::USER_PASSWORD, secret.clone())]
        );
        let generic = Attribute::short(class::TYPE, class::GENERIC);
        let asked = vec![generic, empty(class::USER_NAME), empty(class::PASSCODE), empty(class::MESSAGE)];
        let said = [(class::TYPE, vec![0, 0]), (class::USER_NAME, user), (class::PASSCODE, secret)];
        assert_eq!(ask(asked), said);
        // A challenge for another kind must not get the password.
        let chap = vec![Attribute::short(class::TYPE, 1), empty(class::USER_PASSWORD)];
        assert_eq!(ask(chap), [(class::STATUS, vec![0, 0])]);
    }

    #[test]
    fn guesses_are_counted_by_user_and_by_source_and_forgotten() {
        let mut guesses = Guesses::default();
        let (s, source) = (Duration::from_secs, |last| IpAddr::from([192, 0, 2, last]));
        for _ in 0..GUESSES_PER_USER_MAX {
            assert!(guesses.may_guess(s(1), &reply("alice", "x"), source(1)));
            guesses.failed(s(1), &reply("alice", "x"), source(1));
        }
        // From nowhere, whatever the password; another user from there still may.
        assert!(!guesses.may_guess(s(2), &reply("alice", "wonderland"), source(2)));
        assert!(guesses.may_guess(s(2), &reply("bob", "x"), source(1)));
        for number in 0..GUESSES_PER_SOURCE_MAX - GUESSES_PER_USER_MAX {
            guesses.failed(s(2), &reply(&number.to_string(), "x"), source(1));
        }
        assert!(!guesses.may_guess(s(3), &reply("bob", "builder"), source(1)));
        assert!(guesses.may_guess(s(3), &reply("bob", "builder"), source(2)));
        assert!(guesses.may_guess(s(2) + GUESSES_WINDOW, &reply("alice", "x"), source(1)));
    }

    #[test]
    fn a_flood_of_guesses_keeps_memory_flat() {
        let mut guesses = Guesses::default();
        let mut judged = 0;
        for number in 0..3 * GUESSERS_MAX as u32 {
            let (reply, source) = (reply(&number.to_string(), "x"), IpAddr::from(number.to_be_bytes()));
            if guesses.may_guess(Duration::from_secs(1), &reply, source) {
                guesses.failed(Duration::from_secs(1), &reply, source);
                judged += 1;
            }
        }
        assert_eq!((judged, guesses.len()), (GUESSERS_MAX / 2, GUESSERS_MAX));
        assert!(guesses.may_guess(
            Duration::from_secs(1) + GUESSES_WINDOW,
            &reply("alice", ""),
            [9; 4].into()
        ));
    }
}
