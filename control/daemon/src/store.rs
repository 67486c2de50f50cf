//! Leased addresses beyond the life of the process: one file, written through to the disk before the client hears of
//! its address.
//!
//! A file that is broken or belongs to another version is an error and stays as it is: an empty one in its place would
//! give addresses away that others believe to be theirs.

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use warren_tunnels::Lease;

/// The file in the state directory.
const FILE: &str = "leases.redb";
/// Pool and holder to address, as it is written, and use. The name carries the version of this form.
const LEASES: TableDefinition<'_, (&str, &str), (&str, u64)> = TableDefinition::new("leases-1");
/// Octets of pages kept in memory: the leases themselves are in memory already.
const CACHE_OCTETS: usize = 1 << 20;

/// Why leases cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}", path = path.display())]
pub(crate) struct StoreError {
    path: PathBuf,
    why: String,
}

/// A change to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Keep(Lease),
    Drop(Lease),
}

/// The open file. No other process can open it meanwhile.
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens the store in `directory`, which is made when it is not there, and reads all leases.
    ///
    /// # Errors
    /// The file is broken, is open elsewhere, or cannot be made.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Lease>), StoreError> {
        let path = directory.join(FILE);
        let refuse = |why: String| StoreError { path: path.clone(), why };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| refuse(error.to_string()))?;
        make_file(&path).map_err(|error| refuse(error.to_string()))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_OCTETS);
        let database = builder.create(&path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                refuse("another warrend has it open; end it, or give this one its own `state`".to_owned())
            }
            error => refuse(format!(
                "is no store of leases that can be used ({error}); move it away to start without leases"
            )),
        })?;
        let store = Self { path, database };
        let leases = store.read().map_err(|why| store.error(why))?;
        Ok((store, leases))
    }

    fn read(&self) -> Result<Vec<Lease>, String> {
        // Makes the table where the file is new, so that reading needs no exception for it.
        let begun = self.database.begin_write().map_err(said)?;
        begun.open_table(LEASES).map_err(said)?;
        begun.commit().map_err(said)?;
        let reading = self.database.begin_read().map_err(said)?;
        let table = reading.open_table(LEASES).map_err(said)?;
        let mut leases = Vec::new();
        for row in table.iter().map_err(said)? {
            let (key, value) = row.map_err(said)?;
            let ((pool, holder), (address, used)) = (key.value(), value.value());
            let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is no address"))?;
            leases.push(Lease { pool: pool.to_owned(), holder: holder.to_owned(), address, used });
        }
        Ok(leases)
    }

    /// Makes the changes, all or none; they are on the disk when this returns.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing was changed.
    pub(crate) fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(changes).map_err(|why| self.error(why))
    }

    fn write(&self, changes: &[Change]) -> Result<(), String> {
        let writing = self.database.begin_write().map_err(said)?;
        {
            let mut table = writing.open_table(LEASES).map_err(said)?;
            for change in changes {
                match change {
                    Change::Keep(lease) => {
                        let address = lease.address.to_string();
                        let (key, value) =
                            ((lease.pool.as_str(), lease.holder.as_str()), (address.as_str(), lease.used));
                        table.insert(key, value).map_err(said)?;
                    }
                    Change::Drop(lease) => {
                        table.remove((lease.pool.as_str(), lease.holder.as_str())).map_err(said)?;
                    }
                }
            }
        }
        writing.commit().map_err(said)
    }

    fn error(&self, why: String) -> StoreError {
        StoreError { path: self.path.clone(), why }
    }
}

/// Changes on their way to the disk. Where leases cannot be kept, clients are served all the same, and the changes wait.
#[derive(Default)]
pub(crate) struct Keeper {
    store: Option<Store>,
    /// The last change of each lease.
    waiting: BTreeMap<(String, String), Change>,
    /// The last writing failed.
    broken: bool,
}

impl Keeper {
    /// Opens the store where it is needed: there are pools, or an earlier start had some.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open(directory: &Path, has_pools: bool) -> Result<(Self, Vec<Lease>), StoreError> {
        if !has_pools && !directory.join(FILE).exists() {
            return Ok((Self::default(), Vec::new()));
        }
        let (store, leases) = Store::open(directory)?;
        Ok((Self { store: Some(store), ..Self::default() }, leases))
    }

    /// Pools came with a reload.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_late(&mut self, directory: &Path) -> Result<(), StoreError> {
        if self.store.is_none() {
            self.store = Some(Store::open(directory)?.0);
        }
        Ok(())
    }

    /// Notes a change for [`Keeper::flush`].
    pub(crate) fn note(&mut self, change: Change) {
        let (Change::Keep(lease) | Change::Drop(lease)) = &change;
        self.waiting.insert((lease.pool.clone(), lease.holder.clone()), change);
    }

    /// Brings what waits to the disk. After a failure only [`Keeper::retry`] does: a disk that is full must not be
    /// waited for at every message.
    pub(crate) fn flush(&mut self) {
        if !self.waiting.is_empty() && !self.broken {
            self.retry();
        }
    }

    /// Tries again what could not be written.
    pub(crate) fn retry(&mut self) {
        let Some(store) = self.store.as_ref().filter(|_| !self.waiting.is_empty()) else { return };
        let changes: Vec<_> = self.waiting.values().cloned().collect();
        match store.apply(&changes) {
            Ok(()) => {
                if std::mem::take(&mut self.broken) {
                    tracing::info!("leases are kept again");
                }
                self.waiting.clear();
            }
            Err(error) => {
                if !std::mem::replace(&mut self.broken, true) {
                    tracing::error!(
                        "leases are not kept: after a restart clients may get other addresses: {error}"
                    );
                }
            }
        }
    }
}

/// For the owner alone: it says who connects.
fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lease(holder: &str, address: &str, used: u64) -> Lease {
        let address = address.parse().unwrap();
        Lease { pool: "visitors".to_owned(), holder: holder.to_owned(), address, used }
    }

    #[test] // DC-24: a client finds its address again after the server was restarted
    fn leases_outlive_the_process_and_what_was_dropped_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("below").join("state");
        let (one, two) = (lease("alice@left.test", "10.99.0.1", 1), lease("user:bob", "2001:db8::7", 2));
        {
            let (store, leases) = Store::open(&directory).unwrap();
            assert_eq!(leases, []);
            store.apply(&[Change::Keep(one.clone()), Change::Keep(two.clone())]).unwrap();
        }
        {
            let (store, leases) = Store::open(&directory).unwrap();
            assert_eq!(leases, [one.clone(), two.clone()]);
            let renewed = Lease { used: 9, ..two.clone() };
            store.apply(&[Change::Drop(one), Change::Keep(renewed)]).unwrap();
        }
        let (_, leases) = Store::open(&directory).unwrap();
        assert_eq!(leases, [Lease { used: 9, ..two }]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_broken_store_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let garbage = vec![b'x'; 10_000];
        std::fs::write(&path, &garbage).unwrap();
        let refused = Store::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("leases.redb") && refused.contains("move it away"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }

    #[test]
    fn a_store_that_is_open_elsewhere_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let _open = Store::open(folder.path()).unwrap();
        let refused = Store::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("another warrend"), "{refused}");
    }
}
