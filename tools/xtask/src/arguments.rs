//! The command line after `cargo xtask NAME`: `--name value`, `--name=value` and bare `--flags`, nothing cleverer.

use crate::Failure;

/// What is left of a command line; every accessor takes what it knows, `finish` refuses the rest.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Takes the words after the subcommand.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut split = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => split.extend([name.into(), value.into()]),
                _ => split.push(word),
            }
        }
        Self(split)
    }

    /// True when the flag was given; giving it twice is the same as once.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() != before
    }

    /// The value after `name`; the last one wins.
    pub fn value(&mut self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.values(name)?.pop())
    }

    /// Every value given for `name`, in order.
    pub fn values(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        while let Some(at) = self.0.iter().position(|word| word == name) {
            if at + 1 >= self.0.len() {
                return Err(Failure::new(format!("{name} wants a value")));
            }
            found.push(self.0.remove(at + 1));
            self.0.remove(at);
        }
        Ok(found)
    }

    /// A whole number after `name`.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.value(name)?
            .map(|text| {
                text.parse().map_err(|_| Failure::new(format!("{name} wants a whole number, not `{text}`")))
            })
            .transpose()
    }

    /// The words that no accessor took, for a subcommand that hands them on.
    pub fn rest(self) -> Vec<String> {
        self.0
    }

    /// Refuses what no accessor took: a misspelt option must not be silently without effect.
    pub fn finish(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(Failure::new(format!("`{word}` is not known here; see cargo xtask --help"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::new(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_taken_with_and_without_an_equals_sign() {
        let mut given = arguments("--seconds 5 --json=a.json --keep");
        assert_eq!(given.number("--seconds").unwrap(), Some(5));
        assert_eq!(given.value("--json").unwrap().as_deref(), Some("a.json"));
        assert!(given.flag("--keep"));
        given.finish().unwrap();
    }

    #[test]
    fn a_misspelt_option_is_an_error_that_names_it() {
        let error = arguments("--secnods 5").finish().unwrap_err();
        assert!(error.to_string().contains("--secnods"));
    }

    #[test]
    fn a_number_that_is_none_is_refused_with_its_text() {
        let error = arguments("--seconds five").number("--seconds").unwrap_err();
        assert!(error.to_string().contains("five"));
    }
}
