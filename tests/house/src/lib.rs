//! Reads the repository as it lies there, for the tests that hold its shape: manifests, the lock file, and sources
//! with comments and literals told apart from code.

mod clauses;
mod code;
mod package;
mod tree;

pub use clauses::{Clause, clauses, comment_of};
pub use code::{code_only, production_lines, words};
pub use package::{Package, locked, packages};
pub use tree::{manifests, root, sources, top_level};
