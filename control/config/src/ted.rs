//! `[ted]`: Tunnel Endpoint Discovery, both roles (REQUIREMENTS A2, F2).

use crate::amount::{DURATION_ACCEPTED, duration};
use crate::field::{Field, listed, with_suggestion};
use crate::limits::{
    ANSWERS_PER_SECOND_MAX, DISCOVERIES_MAX, FIRST_WAIT_MAX, FIRST_WAIT_MIN, GRANULE_IPV4_MIN,
    GRANULE_IPV6_MIN, IDLE_MAX, IDLE_MIN, PROBE_TRIES_MAX, PROBES_PER_SECOND_MAX, REST_MAX, REST_MIN,
};
use crate::nearest::nearest;
use crate::port::{PortConfig, Side};
use crate::report::{Report, Span};
use crate::role::ranges;
use crate::section::Section;
use crate::traffic::{PREFIXES_ACCEPTED, list};
use std::ops::RangeInclusive;
use std::time::Duration;
use warren_policy::AddressRange;

/// The UDP source port of a probe (REQUIREMENTS Q-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeSport {
    /// That of the packet which wants the tunnel.
    Packet,
    /// 500.
    Isakmp,
}

/// What a probe tells of the packet (REQUIREMENTS Q-7, F-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// Protocol and ports only as far as the rule names them.
    Policy,
    /// All of it: a tunnel for each flow.
    Packet,
}

/// How tunnel endpoints are discovered, and who may discover us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ted {
    /// Places of the ports whose probes may be answered; outside ports only.
    pub answer_on: Vec<usize>,
    /// Gateways that are answered; empty is any public address.
    pub accept_from: Vec<AddressRange>,
    /// What an answer may tell of our side, prefixes only; empty is all of the matching rule.
    pub disclose: Vec<AddressRange>,
    /// Where gateways may live; empty is anywhere.
    pub gateways: Vec<AddressRange>,
    /// Whether a probe is only answered when its sender has shown that it hears us.
    pub cookie_echo: bool,
    /// Source port of our probes.
    pub probe_sport: ProbeSport,
    /// What they tell.
    pub granularity: Granularity,
    /// Prefix lengths, IPv4 and IPv6, of the destinations that are one to discovery.
    pub granule: (u8, u8),
    /// Wait for the answer to the first probe; it doubles with each further one.
    pub first_wait: Duration,
    /// Probes in all.
    pub tries: u32,
    /// Pause after a discovery that found nothing; it doubles each time.
    pub rest_min: Duration,
    /// The longest pause; not shorter than `rest_min`.
    pub rest_max: Duration,
    /// Discoveries under way at a time.
    pub in_flight_max: usize,
    /// Probes in a second.
    pub probes_per_second: u32,
    /// Answers in a second.
    pub answers_per_second: u32,
    /// A discovered tunnel without traffic for that long is not renewed.
    pub idle: Duration,
}

impl Default for Ted {
    fn default() -> Self {
        Self {
            answer_on: Vec::new(),
            accept_from: Vec::new(),
            disclose: Vec::new(),
            gateways: Vec::new(),
            cookie_echo: false,
            probe_sport: ProbeSport::Packet,
            granularity: Granularity::Policy,
            granule: (32, 128),
            first_wait: Duration::from_secs(1),
            tries: 3,
            rest_min: Duration::from_secs(30),
            rest_max: Duration::from_secs(600),
            in_flight_max: 10_000,
            probes_per_second: 200,
            answers_per_second: 200,
            idle: Duration::from_secs(600),
        }
    }
}

/// `[ted]` as it was read.
pub(crate) struct ReadTed {
    /// Of `answer_on`, where it is given.
    pub(crate) answer_on_span: Option<Span>,
    /// Of `disclose`, the same.
    pub(crate) disclose_span: Option<Span>,
    pub(crate) ted: Ted,
}

impl ReadTed {
    /// `None` only after an error.
    pub(crate) fn read(
        mut section: Section<'_>,
        ports: &[PortConfig],
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let default = Ted::default();
        let answer_on_field = section.optional("answer_on");
        let answer_on_span = answer_on_field.as_ref().map(|field| field.span.clone());
        let answer_on = answer_on_field.map_or(Some(Vec::new()), |field| answer_on(&field, ports, report));
        let [accept_from, gateways] = ["accept_from", "gateways"]
            .map(|key| section.or(key, Vec::new(), |field| ranges(&field, report)));
        let disclose_field = section.optional("disclose");
        let disclose_span = disclose_field.as_ref().map(|field| field.span.clone());
        let disclose = disclose_field.map_or(Some(Vec::new()), |field| prefixes(&field, report));
        let cookie_echo = section.or("cookie_echo", default.cookie_echo, |field| field.boolean(report));
        let ports = [("packet", ProbeSport::Packet), ("500", ProbeSport::Isakmp)];
        let probe_sport = section.or("probe_sport", default.probe_sport, |field| field.word(report, &ports));
        let words = [("policy", Granularity::Policy), ("packet", Granularity::Packet)];
        let granularity = section.or("granularity", default.granularity, |field| field.word(report, &words));
        let granule = section.or("granule", default.granule, |field| granule(&field, report));
        let first_wait = section.or("first_wait", default.first_wait, |field| {
            within(&field, FIRST_WAIT_MIN..=FIRST_WAIT_MAX, report)
        });
        let mut number = |key, default: u32, max: u32| {
            section.or(key, default, |field| {
                field.integer(report, 1..=u64::from(max)).map(|number| number as u32)
            })
        };
        let tries = number("tries", default.tries, PROBE_TRIES_MAX);
        let in_flight_max = number("in_flight_max", default.in_flight_max as u32, DISCOVERIES_MAX);
        let probes_per_second = number("probes_per_second", default.probes_per_second, PROBES_PER_SECOND_MAX);
        let answers_per_second =
            number("answers_per_second", default.answers_per_second, ANSWERS_PER_SECOND_MAX);
        let rests = rests(&mut section, &default, report);
        let idle = section.or("idle", default.idle, |field| within(&field, IDLE_MIN..=IDLE_MAX, report));
        section.finish(report);
        let (rest_min, rest_max) = rests?;
        let ted = Ted {
            answer_on: answer_on?,
            accept_from: accept_from?,
            disclose: disclose?,
            gateways: gateways?,
            cookie_echo: cookie_echo?,
            probe_sport: probe_sport?,
            granularity: granularity?,
            granule: granule?,
            first_wait: first_wait?,
            tries: tries?,
            rest_min,
            rest_max,
            in_flight_max: in_flight_max? as usize,
            probes_per_second: probes_per_second?,
            answers_per_second: answers_per_second?,
            idle: idle?,
        };
        Some(Self { answer_on_span, disclose_span, ted })
    }
}

/// Places of the ports with these names. Probes from the inside are never answered: whoever sits there is protected by
/// us already (REQUIREMENTS F-8).
fn answer_on(field: &Field<'_>, ports: &[PortConfig], report: &mut Report<'_>) -> Option<Vec<usize>> {
    let outside = || ports.iter().filter(|port| port.side == Side::Outside).map(|port| port.name.as_str());
    let accepted = match outside().count() {
        0 => "the name of a `[[port]]` with `side = \"outside\"`; there is none in this file".to_owned(),
        1..=8 => listed(outside()),
        count => format!("the names of some of {count} `[[port]]`s with `side = \"outside\"`"),
    };
    let named = list(field, report, &accepted, |item, report| {
        let name = item.text(report, &accepted)?;
        let at = ports.iter().position(|port| port.name == name);
        let Some(at) = at else {
            let message = with_suggestion(format!("`{name}` is no port"), nearest(name, outside()));
            report.error(&item.span, message, accepted.as_str());
            return None;
        };
        if ports[at].side == Side::Inside {
            let message = format!("`{name}` is inside, and probes are only answered on the outside");
            report.error(&item.span, message, accepted.as_str());
            return None;
        }
        Some(at)
    })?;
    let mut places: Vec<usize> = named.into_iter().map(|(at, _)| at).collect();
    places.sort_unstable();
    places.dedup();
    Some(places)
}

/// Networks as an answer can tell them: in mask form (REQUIREMENTS TED-42).
fn prefixes(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vec<AddressRange>> {
    let read = ranges(field, report)?;
    if let Some(range) = read.iter().find(|range| range.prefix_length().is_none()) {
        let message = format!("`{range}` is no prefix, and an answer tells prefixes only");
        report.error(&field.span, message, PREFIXES_ACCEPTED);
        return None;
    }
    Some(read)
}

/// Two prefix lengths.
fn granule(field: &Field<'_>, report: &mut Report<'_>) -> Option<(u8, u8)> {
    let accepted = format!(
        "two prefix lengths, IPv4 from {GRANULE_IPV4_MIN} to 32 and IPv6 from {GRANULE_IPV6_MIN} to 128, such as `[32, 128]`"
    );
    let items = field.items(report, &accepted)?;
    let [v4, v6] = &items[..] else {
        report.error(&field.span, format!("`granule` has {} prefix lengths", items.len()), accepted);
        return None;
    };
    let mut length = |item: &Field<'_>, range: RangeInclusive<u8>| {
        let (least, most) = (u64::from(*range.start()), u64::from(*range.end()));
        item.integer(report, least..=most).map(|length| length as u8)
    };
    let (v4, v6) = (length(v4, GRANULE_IPV4_MIN..=32), length(v6, GRANULE_IPV6_MIN..=128));
    Some((v4?, v6?))
}

fn rests(section: &mut Section<'_>, default: &Ted, report: &mut Report<'_>) -> Option<(Duration, Duration)> {
    let least = section.or("rest_min", default.rest_min, |field| within(&field, REST_MIN..=REST_MAX, report));
    let field = section.optional("rest_max");
    let (Some(field), Some(least)) = (field, least) else {
        // A long first rest raises the longest one, unless the file names both.
        return least.map(|least| (least, default.rest_max.max(least)));
    };
    let most = within(&field, REST_MIN..=REST_MAX, report)?;
    if most < least {
        let message = format!("`rest_max` is shorter than `rest_min`, {}", written(least));
        report.error(&field.span, message, format!("`{}` to `{}`", written(least), written(REST_MAX)));
        return None;
    }
    Some((least, most))
}

/// A duration in a range.
pub(crate) fn within(
    field: &Field<'_>,
    range: RangeInclusive<Duration>,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let length = field.parsed(report, DURATION_ACCEPTED, duration)?;
    let fits = range.contains(&length);
    if !fits {
        let message = format!("`{}` is out of range for `{}`", field.value.as_str().unwrap_or(""), field.key);
        let accepted = format!("`{}` to `{}`", written(*range.start()), written(*range.end()));
        report.error(&field.span, message, accepted);
    }
    fits.then_some(length)
}

/// As it would be written in the file.
fn written(length: Duration) -> String {
    let (seconds, millis) = (length.as_secs(), length.subsec_millis());
    match (seconds, millis) {
        (_, 1..) => format!("{}ms", length.as_millis()),
        (1.., 0) if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        (1.., 0) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (1.., 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
