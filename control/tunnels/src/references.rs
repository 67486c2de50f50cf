//! Who uses which level of which stack (REQUIREMENTS NT-29, Q-23).
//!
//! A level is its gateway and its traffic, and all that carries it: the same tunnel to the same gateway, once directly
//! and once through another tunnel, is two. So whoever uses a level also uses everything below it, and a level that
//! nobody uses carries nothing that somebody uses.

use crate::limits::LEVELS_MAX;
use std::collections::HashMap;
use std::net::IpAddr;
use warren_policy::{Action, Selector};

/// What one level is, apart from what carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelKey {
    /// Where its tunnel ends; `None` for a transport action.
    pub gateway: Option<IpAddr>,
    /// What it protects.
    pub selector: Selector,
}

impl From<&Action> for LevelKey {
    fn from(action: &Action) -> Self {
        Self { gateway: action.gateway(), selector: *action.selector() }
    }
}

/// How a level stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One transaction is performing it; whoever else wants it waits.
    Performing,
    /// It is there, for so many users; never 0.
    Up(usize),
    /// It is not there any more, for so many who used it and give it back now; whoever wants it waits.
    Lost(usize),
    /// It, or what a failure left of it, is being taken away; whoever wants it waits.
    Leaving,
}

/// What a transaction that wants a level is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Perform it.
    Perform,
    /// Nothing: it is there and now has one user more.
    Shared,
    /// Ask again later.
    Wait,
    /// Give up: there are [`LEVELS_MAX`].
    Full,
}

/// All levels that are there, coming or going. A path names a level: its key last, what carries it before, the
/// nearest gateway first.
#[derive(Debug, Default)]
pub struct References {
    levels: HashMap<Vec<LevelKey>, Standing>,
}

impl References {
    /// How the level of that path stands; `None`: it is not there.
    #[must_use]
    pub fn standing(&self, path: &[LevelKey]) -> Option<Standing> {
        self.levels.get(path).copied()
    }

    /// How many levels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    pub(crate) fn claim(&mut self, path: &[LevelKey]) -> Claim {
        let is_full = self.levels.len() >= LEVELS_MAX;
        match self.levels.get_mut(path) {
            Some(Standing::Up(users)) => {
                *users += 1;
                Claim::Shared
            }
            Some(Standing::Performing | Standing::Lost(_) | Standing::Leaving) => Claim::Wait,
            None if is_full => Claim::Full,
            None => {
                self.levels.insert(path.to_vec(), Standing::Performing);
                Claim::Perform
            }
        }
    }

    /// What one transaction performed has one user now.
    pub(crate) fn performed(&mut self, path: &[LevelKey]) {
        self.set(path, Standing::Performing, Standing::Up(1));
    }

    /// What could not be performed has left something to clear away.
    pub(crate) fn failed(&mut self, path: &[LevelKey]) {
        self.set(path, Standing::Performing, Standing::Leaving);
    }

    /// It is not there any more (REQUIREMENTS NT-32). Nobody is to take it for there until all who used it have given it
    /// back; nothing else changes.
    pub(crate) fn lost(&mut self, path: &[LevelKey]) {
        if let Some(standing) = self.levels.get_mut(path)
            && let Standing::Up(users) = *standing
        {
            *standing = Standing::Lost(users);
        }
    }

    /// One user less. Whether it was the last, who now has to tear the level down.
    pub(crate) fn give_back(&mut self, path: &[LevelKey]) -> bool {
        let standing = self.levels.get_mut(path).expect("a level is there as long as it has a user");
        match standing {
            Standing::Up(1) | Standing::Lost(1) => {
                *standing = Standing::Leaving;
                true
            }
            Standing::Up(users) | Standing::Lost(users) => {
                *users -= 1;
                false
            }
            other => panic!("a level with a user is {other:?}"),
        }
    }

    /// It is gone.
    pub(crate) fn torn_down(&mut self, path: &[LevelKey]) {
        let standing = self.levels.remove(path);
        assert_eq!(standing, Some(Standing::Leaving), "only what is leaving is torn down");
    }

    fn set(&mut self, path: &[LevelKey], from: Standing, to: Standing) {
        let standing = self.levels.get_mut(path).expect("whoever performs a level has claimed it");
        assert_eq!(*standing, from, "one transaction performs a level at a time");
        *standing = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::AddressRange;

    fn path(octets: &[u8]) -> Vec<LevelKey> {
        let selector = Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap();
        let key = |octet: &u8| LevelKey { gateway: Some([192, 0, 2, *octet].into()), selector };
        octets.iter().map(key).collect()
    }

    #[test] // NT-29, Q-23
    fn a_level_leaves_with_its_last_user_and_not_before() {
        let mut references = References::default();
        assert_eq!(references.claim(&path(&[1])), Claim::Perform);
        assert_eq!(references.claim(&path(&[1])), Claim::Wait);
        references.performed(&path(&[1]));
        assert_eq!(references.claim(&path(&[1])), Claim::Shared);
        assert_eq!(references.standing(&path(&[1])), Some(Standing::Up(2)));
        assert!(!references.give_back(&path(&[1])));
        assert!(references.give_back(&path(&[1])));
        assert_eq!(references.claim(&path(&[1])), Claim::Wait);
        references.torn_down(&path(&[1]));
        assert!(references.is_empty());
    }

    #[test] // NT-29
    fn the_same_tunnel_through_another_one_is_another_level() {
        let mut references = References::default();
        assert_eq!(references.claim(&path(&[1])), Claim::Perform);
        assert_eq!(references.claim(&path(&[2, 1])), Claim::Perform);
        assert_eq!(references.len(), 2);
    }

    #[test] // F-28
    fn a_full_table_takes_no_more_and_forgets_nothing() {
        let mut references = References::default();
        let own = path(&[0]);
        for at in 0..LEVELS_MAX as u32 {
            let gateway = std::net::Ipv4Addr::from(at).into();
            assert_eq!(references.claim(&[LevelKey { gateway: Some(gateway), ..own[0] }]), Claim::Perform);
        }
        assert_eq!(references.claim(&path(&[9])), Claim::Full);
        assert_eq!(references.len(), LEVELS_MAX);
    }
}
