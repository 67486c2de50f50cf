//! One value of the file, read as what it should be. A reader that fails has reported why.

use crate::nearest::nearest;
use crate::report::{Report, Span};
use std::fmt::Display;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// A key's value and where it stands.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub(crate) key: &'static str,
    pub(crate) span: Span,
    pub(crate) value: &'a DeValue<'a>,
}

impl<'a> Field<'a> {
    /// Text of any kind.
    pub(crate) fn text(&self, report: &mut Report<'_>, accepted: &str) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            other => self.refuse_kind(report, other, accepted),
        }
    }

    /// Text that `parse` understands.
    pub(crate) fn parsed<T, E: Display>(
        &self,
        report: &mut Report<'_>,
        accepted: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.text(report, accepted)?) {
            Ok(value) => Some(value),
            Err(why) => {
                report.error(&self.span, why.to_string(), accepted);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, report: &mut Report<'_>, words: &[(&str, T)]) -> Option<T> {
        let accepted = listed(words.iter().map(|(word, _)| *word));
        let text = self.text(report, &accepted)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let message = with_suggestion(
                format!("`{text}` is not known for `{}`", self.key),
                nearest(text, words.iter().map(|(word, _)| *word)),
            );
            report.error(&self.span, message, accepted);
        }
        found
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, report: &mut Report<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else {
            return self.refuse_kind(report, self.value, &accepted);
        };
        let number =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        if number.is_none() {
            report.error(&self.span, format!("{integer} is out of range for `{}`", self.key), accepted);
        }
        number
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, report: &mut Report<'_>) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            other => self.refuse_kind(report, other, "`true` or `false`"),
        }
    }

    /// The values of a list, or the one value that stands for a list of one. An empty list is refused.
    pub(crate) fn items(&self, report: &mut Report<'_>, accepted: &str) -> Option<Vec<Self>> {
        let DeValue::Array(array) = self.value else {
            return Some(vec![self.clone()]);
        };
        if array.is_empty() {
            report.error(&self.span, format!("`{}` is empty", self.key), accepted);
            return None;
        }
        let item = |item: &'a toml::Spanned<DeValue<'a>>| Self {
            key: self.key,
            span: item.span(),
            value: item.get_ref(),
        };
        Some(array.iter().map(item).collect())
    }

    fn refuse_kind<T>(&self, report: &mut Report<'_>, value: &DeValue<'_>, accepted: &str) -> Option<T> {
        let kind = match value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        report.error(&self.span, format!("`{}` is {kind} here", self.key), accepted);
        None
    }
}

/// `a`, `b` or `c`, each in quotation marks.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// The message, and what was probably meant.
pub(crate) fn with_suggestion(message: String, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message,
    }
}
