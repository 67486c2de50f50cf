//! `[[port]]`: an interface that the workers take over.

use crate::limits::QUEUES_MAX;
use crate::name::{interface, name};
use crate::report::{Report, Span};
use crate::section::Section;
use std::num::NonZeroU16;
use toml::de::DeValue;

/// On which side of the IPsec boundary (RFC 4301 §3.1) a port lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Protected networks.
    Inside,
    /// Unprotected networks.
    Outside,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Native if the driver can, else generic.
    Auto,
    /// In the driver, or the daemon refuses to start.
    Native,
    /// In the kernel's generic hook.
    Generic,
}

/// Whether frames are shared with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// If the driver can.
    Auto,
    /// Or the daemon refuses to start.
    On,
    /// The kernel copies every frame.
    Off,
}

/// Which receive queues of the interface get a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// All that the interface has.
    All,
    /// The first so many; what comes on the others and is not for the kernel is dropped and counted.
    First(NonZeroU16),
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The operator's name for it.
    pub name: String,
    /// The kernel's name of the interface.
    pub interface: String,
    /// Which way it faces.
    pub side: Side,
    /// Its receive queues.
    pub queues: Queues,
    /// How the XDP program is attached.
    pub mode: PortMode,
    /// Whether frames are shared with the driver.
    pub zero_copy: ZeroCopy,
}

/// Where the two names of a port stand in the file.
pub(crate) struct PortSpans {
    pub(crate) name: Span,
    pub(crate) interface: Span,
}

impl PortConfig {
    /// Reads one `[[port]]`. `None` only after an error.
    pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> Option<(Self, PortSpans)> {
        let field = section.required(report, "interface", "the kernel's name of a network interface");
        let interface_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let interface = field.and_then(|field| interface(&field, report));
        let mut name_span = interface_span.clone();
        let name = section.or("name", interface, |field| {
            name_span = field.span.clone();
            name(&field, report).map(Some)
        });
        let side = section
            .required(report, "side", "`inside` or `outside`")
            .and_then(|field| field.word(report, &[("inside", Side::Inside), ("outside", Side::Outside)]));
        let queues = section.or("queues", Queues::All, |field| match field.value {
            DeValue::String(_) => field.word(report, &[("all", Queues::All)]),
            _ => field
                .integer(report, 1..=u64::from(QUEUES_MAX))
                .and_then(|queues| NonZeroU16::new(queues as u16))
                .map(Queues::First),
        });
        let modes = [("auto", PortMode::Auto), ("native", PortMode::Native), ("generic", PortMode::Generic)];
        let mode = section.or("mode", PortMode::Auto, |field| field.word(report, &modes));
        let copies = [("auto", ZeroCopy::Auto), ("on", ZeroCopy::On), ("off", ZeroCopy::Off)];
        let zero_copy = section.or("zero_copy", ZeroCopy::Auto, |field| {
            let zero_copy = field.word(report, &copies)?;
            if zero_copy == ZeroCopy::On && mode == Some(PortMode::Generic) {
                let message = "`zero_copy = \"on\"` cannot be had with `mode = \"generic\"`";
                report.error(&field.span, message, "`auto` or `off`, or another `mode`");
            }
            Some(zero_copy)
        });
        section.finish(report);
        let port = Self {
            name: name??.to_owned(),
            interface: interface?.to_owned(),
            side: side?,
            queues: queues?,
            mode: mode?,
            zero_copy: zero_copy?,
        };
        Some((port, PortSpans { name: name_span, interface: interface_span }))
    }
}
