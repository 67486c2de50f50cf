//! Discovery as far as only the daemon knows of it: what workers look out for on which port, and where we listen.

use std::net::IpAddr;
use warren_config::{Config, Granularity, ProbeSport, Ted};
use warren_ike::Path;
use warren_ike::ted::{self, TedConfig};
use warren_policy::Gateway;
use warren_seam::{Discovery, PortIndex};

/// Exchange type of a probe, and where it stands in an ISAKMP header (REQUIREMENTS TED-8).
const PROBE: (usize, u8) = (18, 240);

/// `[ted]` in the words of discovery.
pub(crate) fn settings(ted: &Ted) -> TedConfig {
    TedConfig {
        probe_sport: match ted.probe_sport {
            ProbeSport::Packet => ted::ProbeSport::Packet,
            ProbeSport::Isakmp => ted::ProbeSport::Isakmp,
        },
        granularity: match ted.granularity {
            Granularity::Policy => ted::Granularity::Policy,
            Granularity::Packet => ted::Granularity::Packet,
        },
        granule: ted.granule,
        first_wait: ted.first_wait,
        tries: ted.tries,
        rest_min: ted.rest_min,
        rest_max: ted.rest_max,
        in_flight_max: ted.in_flight_max,
        probes_per_second: ted.probes_per_second,
        gateways: ted.gateways.clone(),
        accept_from: ted.accept_from.clone(),
        disclose: ted.disclose.clone(),
        cookie_echo: ted.cookie_echo,
        answers_per_second: ted.answers_per_second,
    }
}

/// What the workers look out for.
pub(crate) fn lookout(config: &Config) -> Discovery {
    let mut rules = config.tunnel_rules();
    Discovery {
        is_on: config.is_ted_on,
        answers: config.ted.answer_on.iter().map(|at| PortIndex(*at as u16)).collect(),
        asks: rules.any(|(rule, tunnel)| rule.gateway == Gateway::Discover && !tunnel.is_concealed),
    }
}

/// Those of our addresses that rules protect which discover, where probes are answered: a probe for one of them is a
/// datagram to us and passes no worker (REQUIREMENTS TED-6).
pub(crate) fn end_host_addresses<'a>(
    config: &'a Config,
    own: &'a [IpAddr],
) -> impl Iterator<Item = IpAddr> + 'a {
    let answers = !config.ted.answer_on.is_empty();
    let protected = move |address: &&IpAddr| {
        let mut rules = config.rules.tunnel.iter().filter(|rule| rule.gateway == Gateway::Discover);
        answers && can_be_asked_for(**address) && rules.any(|rule| rule.selector.source.contains(**address))
    };
    own.iter().filter(protected).copied()
}

/// Loopback and link-local addresses mean nothing to who would ask.
const fn can_be_asked_for(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// Whether a datagram to us is a probe that the file does not want answered: workers see to the ports that it names, and
/// a socket does not know by which port a datagram came (REQUIREMENTS F-8).
pub(crate) fn is_unwanted(config: &Config, path: &Path, octets: &[u8]) -> bool {
    let (at, exchange) = PROBE;
    let is_probe = octets.get(at) == Some(&exchange) && path.local.port() == 500 && ted::is_discovery(octets);
    config.ted.answer_on.is_empty() && is_probe
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use warren_policy::{AddressRange, Secret};

    fn config(ted: &str, conceal: &str) -> Config {
        let key = |_: &std::path::Path| Ok(Secret::new(b"00112233445566778899aabbccddeeff".to_vec()));
        let text = format!(
            "[[port]]\ninterface = \"in\"\nside = \"inside\"\n[[port]]\ninterface = \"out\"\nside = \"outside\"\n\
             [ted]\n{ted}\n[[peer]]\nname = \"p\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"discover\"\n\
             secret = \"x\"\ngroup_secret = true\nauthorised = [{{ networks = \"10.0.0.0/8\" }}]\n\
             [[tunnel]]\nname = \"t\"\nsource = \"10.1.0.0/16\"\ndestination = \"10.0.0.0/8\"\ngateway = \"discover\"\n\
             peer = \"p\"\n{conceal}\n"
        );
        warren_config::parse(&text, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test] // TED-29, F-8, F-10
    fn workers_look_out_only_for_what_the_file_wants() {
        let discovery = |is_on, answers: &[u16], asks| Discovery {
            is_on,
            answers: answers.iter().map(|at| PortIndex(*at)).collect(),
            asks,
        };
        assert_eq!(lookout(&config("answer_on = \"out\"", "")), discovery(true, &[1], true));
        assert_eq!(lookout(&config("", "")), discovery(true, &[], true));
        assert_eq!(lookout(&config("answer_on = \"out\"", "conceal = true")), discovery(true, &[1], false));
        let none =
            warren_config::parse("peer = \"192.0.2.9\"\nsecret = \"x\"\n", "f", &|_: &std::path::Path| {
                Ok(Secret::new(b"00112233445566778899aabbccddeeff".to_vec()))
            });
        assert_eq!(lookout(&none.unwrap_or_else(|errors| panic!("{errors}"))), Discovery::default());
    }

    #[test] // TED-6
    fn we_are_the_end_host_at_our_protected_addresses_where_probes_are_answered() {
        let own: Vec<IpAddr> =
            ["10.1.0.1", "127.0.0.1", "192.0.2.1", "2001:db8::1"].map(|own| own.parse().unwrap()).into();
        let answering = config("answer_on = \"out\"", "");
        assert_eq!(end_host_addresses(&answering, &own).collect::<Vec<_>>(), own[..1]);
        assert_eq!(end_host_addresses(&config("", ""), &own).count(), 0);
    }

    #[test] // F-8, TED-62
    fn a_probe_to_ourselves_is_unwanted_where_none_is_answered_and_other_messages_are_not() {
        let message = |version: u8, exchange: u8| {
            let mut octets = vec![0; 28];
            (octets[17], octets[18]) = (version, exchange);
            octets
        };
        let path = |port: u16| Path {
            local: (IpAddr::from([10, 1, 0, 1]), port).into(),
            remote: (IpAddr::from([10, 2, 0, 1]), 500).into(),
        };
        let (silent, answering) = (config("", ""), config("answer_on = \"out\"", ""));
        assert!(is_unwanted(&silent, &path(500), &message(0x10, 240)));
        assert!(!is_unwanted(&answering, &path(500), &message(0x10, 240)));
        for (port, version, exchange) in
            [(500, 0x10, 241), (500, 0x20, 240), (4500, 0x10, 240), (500, 0x10, 2)]
        {
            assert!(!is_unwanted(&silent, &path(port), &message(version, exchange)));
        }
        assert!(!is_unwanted(&silent, &path(500), &message(0x10, 240)[..20]));
    }

    #[test]
    fn every_setting_arrives_where_it_belongs() {
        let range = |text: &str| AddressRange::single(text.parse().unwrap());
        let wanted = settings(
            &config(
                "accept_from = \"198.51.100.1\"\ndisclose = \"10.1.0.2\"\ngateways = \"198.51.100.3\"\ncookie_echo = true\n\
                 probe_sport = \"500\"\ngranularity = \"packet\"\ngranule = [24, 64]\nfirst_wait = \"2s\"\ntries = 4\n\
                 rest_min = \"5s\"\nrest_max = \"6s\"\nin_flight_max = 7\nprobes_per_second = 8\nanswers_per_second = 9",
                "",
            )
            .ted,
        );
        let expected = TedConfig {
            probe_sport: ted::ProbeSport::Isakmp,
            granularity: ted::Granularity::Packet,
            granule: (24, 64),
            first_wait: Duration::from_secs(2),
            tries: 4,
            rest_min: Duration::from_secs(5),
            rest_max: Duration::from_secs(6),
            in_flight_max: 7,
            probes_per_second: 8,
            gateways: vec![range("198.51.100.3")],
            accept_from: vec![range("198.51.100.1")],
            disclose: vec![range("10.1.0.2")],
            cookie_echo: true,
            answers_per_second: 9,
        };
        assert_eq!(wanted, expected);
        assert_eq!(settings(&Ted::default()), TedConfig::default(), "both crates have the same defaults");
    }
}
