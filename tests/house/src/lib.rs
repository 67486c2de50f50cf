//! Holds the shape of the repository.
