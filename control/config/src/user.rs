//! `[[user]]`: who may prove to be one with a name and a password, after phase 1.

use crate::authentication::octets;
use crate::field::Field;
use crate::limits::NAME_CHARS_MAX;
use crate::report::{Report, Span};
use crate::secret::{SecretSource, without_line_end};
use crate::section::Section;
use std::fmt;
use warren_policy::Secret;

const NAME_ACCEPTED: &str = "1 to 64 printable characters of ASCII without spaces";
/// What a password is.
pub(crate) const PASSWORD_ACCEPTED: &str =
    "the name of a file with the password that only its owner can read";

/// One user.
#[derive(Clone)]
pub struct User {
    /// What the user says to be.
    pub name: String,
    /// What proves it.
    pub password: Secret,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One `[[user]]` as it was read.
pub(crate) struct ReadUser<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) user: User,
}

impl<'a> ReadUser<'a> {
    /// `None` only after an error.
    pub(crate) fn read(
        mut section: Section<'a>,
        secrets: &dyn SecretSource,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let field = section.required(report, "name", NAME_ACCEPTED);
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let password = section
            .required(report, "password", PASSWORD_ACCEPTED)
            .and_then(|field| password(&field, secrets, report));
        section.finish(report);
        let name = name?;
        Some(Self { name, name_span, user: User { name: name.to_owned(), password: password? } })
    }
}

/// The name of a user, as it travels.
pub(crate) fn name<'a>(field: &Field<'a>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = field.text(report, NAME_ACCEPTED)?;
    let fits =
        (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic());
    if !fits {
        report.error(&field.span, format!("`{text}` is no user's name"), NAME_ACCEPTED);
    }
    fits.then_some(text)
}

/// A password. Its strength is not judged: people choose it, and only an authenticated peer may guess.
pub(crate) fn password(
    field: &Field<'_>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let password = octets(field, report, PASSWORD_ACCEPTED, |name| secrets.secret(name))?;
    let password = without_line_end(&password);
    if password.expose().is_empty() {
        report.error(&field.span, "the password file is empty", PASSWORD_ACCEPTED);
        return None;
    }
    Some(password)
}
