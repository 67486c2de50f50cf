//! `[[transport]]`: whether a flow may pass at all.

use crate::name::{name, part_name};
use crate::report::{Report, Span};
use crate::section::Section;
use crate::traffic::Traffic;
use warren_policy::{Selector, TransportAction, TransportRule};

/// One `[[transport]]` as it was read.
pub(crate) struct ReadTransport<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) source_span: Span,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) action: TransportAction,
}

impl<'a> ReadTransport<'a> {
    /// `None` only after an error.
    pub(crate) fn read(mut section: Section<'a>, report: &mut Report<'_>) -> Option<Self> {
        let field = section.required(report, "name", "a name for `dpctl rule` to show");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let traffic = Traffic::read(&mut section, report);
        let actions = [
            ("permit", TransportAction::Permit),
            ("bypass", TransportAction::Bypass),
            ("discard", TransportAction::Discard),
        ];
        let action = section
            .required(report, "action", "`permit`, `bypass` or `discard`")
            .and_then(|field| field.word(report, &actions));
        section.finish(report);
        let traffic = traffic?;
        Some(Self {
            name: name?,
            name_span,
            source_span: traffic.source_span,
            selectors: traffic.selectors,
            action: action?,
        })
    }

    /// The rules it stands for.
    pub(crate) fn rules(&self) -> impl Iterator<Item = TransportRule> {
        let several = self.selectors.len() > 1;
        self.selectors.iter().enumerate().map(move |(at, selector)| TransportRule {
            name: part_name(self.name, at, several),
            selector: *selector,
            action: self.action,
        })
    }
}
