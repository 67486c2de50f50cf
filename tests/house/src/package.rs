//! Packages as their manifests and the lock file describe them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::tree::{manifests, root};

/// One manifest with a `[package]`.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the root.
    pub folder: PathBuf,
    /// What it needs to run.
    pub dependencies: BTreeSet<String>,
    /// What its tests need besides.
    pub dev_dependencies: BTreeSet<String>,
    /// The whole manifest.
    pub manifest: Table,
}

/// All packages, the one outside the workspace too.
pub fn packages() -> Vec<Package> {
    manifests().iter().filter_map(|path| package(path)).collect()
}

fn package(path: &Path) -> Option<Package> {
    let manifest = read(path);
    let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
    let names = |section: &str| -> BTreeSet<String> {
        manifest
            .get(section)
            .and_then(Value::as_table)
            .map(|table| table.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut dependencies = names("dependencies");
    dependencies.extend(names("build-dependencies"));
    // A dependency for one platform only is a dependency.
    for (_, target) in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        let table = target.get("dependencies").and_then(Value::as_table);
        dependencies.extend(table.into_iter().flat_map(|table| table.keys().cloned()));
    }
    let dev_dependencies = names("dev-dependencies");
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Some(Package { name, folder, dependencies, dev_dependencies, manifest })
}

/// The lock file: every package's name, and the names of what it depends on in any way.
pub fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let lock = read(Path::new("Cargo.lock"));
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = package.get("name").and_then(Value::as_str) else { continue };
        let needs = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        let names = needs.filter_map(|need| need.as_str()?.split_whitespace().next().map(str::to_owned));
        all.entry(name.to_owned()).or_default().extend(names);
    }
    all
}

fn read(path: &Path) -> Table {
    let whole = root().join(path);
    let text = fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{}: {error}", whole.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
