//! One table of the file. Each key is taken once; what is left at the end is unknown, and unknown keys are errors.

use crate::field::{Field, listed, with_suggestion};
use crate::nearest::nearest;
use crate::report::{Report, Span};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) struct Section<'a> {
    /// As it is written in the file: `[[peer]]`.
    title: &'static str,
    pub(crate) span: Span,
    entries: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(title: &'static str, span: Span, entries: &'a DeTable<'a>) -> Self {
        Self { title, span, entries, asked: Vec::new() }
    }

    /// The key's value, if it is there.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let value: &'a Spanned<DeValue<'a>> = self.entries.get(key)?;
        Some(Field { key, span: value.span(), value: value.get_ref() })
    }

    /// The key's value; its absence is reported.
    pub(crate) fn required(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        accepted: &str,
    ) -> Option<Field<'a>> {
        let field = self.optional(key);
        if field.is_none() {
            report.error(&self.span, format!("{} has no `{key}`", self.title), accepted);
        }
        field
    }

    /// The key's value as `read` understands it, or `default` when the key is absent. `None` only after an error.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Field<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.optional(key) {
            Some(field) => read(field),
            None => Some(default),
        }
    }

    /// Subtables: `[[key]]`, however often. A single `[key]` is one of them.
    pub(crate) fn tables(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        title: &'static str,
    ) -> Vec<Self> {
        let Some(field) = self.optional(key) else { return Vec::new() };
        let Some(items) = field.items(report, title) else { return Vec::new() };
        let mut tables = Vec::with_capacity(items.len());
        for item in items {
            match item.value {
                DeValue::Table(entries) => tables.push(Self::new(title, item.span, entries)),
                _ => report.error(&item.span, format!("`{key}` is not a table here"), title),
            }
        }
        tables
    }

    /// Refuses the keys that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        for key in self.entries.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let message = with_suggestion(
                format!("unknown key `{name}` in {}", self.title),
                nearest(name, self.asked.iter().copied()),
            );
            report.error(&key.span(), message, listed(self.asked.iter().copied()));
        }
    }
}
