//! The command line.

use clap::Parser;
use std::path::PathBuf;

/// The Warren gateway daemon: negotiates tunnels and moves packets until it is told to stop.
#[derive(Debug, Parser)]
#[command(name = "warrend", version, about)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration file, by name.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only read the file and say what is wrong with it.
    #[arg(long)]
    pub(crate) check: bool,
}

impl Arguments {
    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone().or_else(|| self.config.clone()).expect("clap demands one of the two")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_be_named_in_either_way_but_only_once() {
        let parse = |words: &[&str]| Arguments::try_parse_from(words);
        for words in [["warrend", "--check", "a.toml"], ["warrend", "a.toml", "--check"]] {
            let arguments = parse(&words).unwrap();
            assert!(arguments.check);
            assert_eq!(arguments.file(), PathBuf::from("a.toml"));
        }
        assert_eq!(parse(&["warrend", "--config", "b.toml"]).unwrap().file(), PathBuf::from("b.toml"));
        assert!(parse(&["warrend", "--config", "b.toml", "a.toml"]).is_err());
        assert!(parse(&["warrend"]).is_err());
    }
}
