//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Every Rust file that belongs to the repository, as a path from its root.
pub fn sources() -> Vec<PathBuf> {
    walk(Path::new(""), &|path| path.extension().is_some_and(|extension| extension == "rs"))
}

/// Every manifest, as a path from the root.
pub fn manifests() -> Vec<PathBuf> {
    walk(Path::new(""), &|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
}

/// Names at the top, without dot files and without what cargo builds.
pub fn top_level() -> Vec<String> {
    let mut names: Vec<_> =
        entries(&root()).into_iter().filter(|name| !name.starts_with('.') && name != "target").collect();
    names.sort();
    names
}

fn walk(below: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in entries(&root().join(below)) {
        let path = below.join(&name);
        let whole = root().join(&path);
        // Build output, and what fuzzing leaves behind, is not ours to judge.
        if name.starts_with('.') || name == "target" || name == "artifacts" || whole.is_symlink() {
            continue;
        }
        if whole.is_dir() {
            found.extend(walk(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<String> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
