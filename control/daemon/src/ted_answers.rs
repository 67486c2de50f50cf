//! What `dpctl` is told of discovery.

use crate::probe_fields;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use warren_api::{
    Answer, Refusal, RefusalWord, TedFlow, TedFound, TedInFlight, TedPacket, TedPreview, TedResting,
    TedStage, TedStatus,
};
use warren_config::Config;
use warren_ike::ted::{InFlight, Resting, Stage, Unasked};
use warren_policy::{FiveTuple, RuleId, Verdict};
use warren_tunnels::{DiscoveredStatus, ProbeRefused, TunnelStatus, Tunnels};

/// The packet that is asked about.
///
/// # Errors
/// Two families.
pub(crate) fn packet(asked: TedPacket) -> Result<FiveTuple, Refusal> {
    let TedPacket { source, destination, protocol, source_port, destination_port } = asked;
    if source.is_ipv6() != destination.is_ipv6() {
        let message = format!("{source} and {destination} are of two families");
        return Err(Refusal::new(RefusalWord::Malformed, message));
    }
    Ok(FiveTuple { source, destination, protocol, source_port, destination_port })
}

/// Why a probe is not sent, or only seemingly: what is there already is for `flow` to tell.
pub(crate) fn refused(why: &ProbeRefused) -> Option<Refusal> {
    match why {
        ProbeRefused::HasTunnel(_) | ProbeRefused::Unasked(Unasked::UnderWay) => None,
        why => Some(Refusal::new(RefusalWord::Unasked, why.to_string())),
    }
}

/// Everybody who is asked.
pub(crate) struct TedSources<'a> {
    pub(crate) now: Duration,
    pub(crate) config: &'a Config,
    pub(crate) tunnels: &'a Tunnels,
}

impl TedSources<'_> {
    pub(crate) fn status(&self) -> TedStatus {
        let port = |at: &usize| self.config.ports.get(*at).map(|port| port.name.clone());
        TedStatus {
            is_on: self.config.is_ted_on,
            answer_on: self.config.ted.answer_on.iter().filter_map(port).collect(),
            in_flight: self.tunnels.ted_in_flight().iter().map(|own| self.in_flight(own)).collect(),
            resting: self.tunnels.ted_resting().iter().map(|own| self.resting(own)).collect(),
            found: self.found(|_| true),
            counters: self.counters(),
        }
    }

    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        self.tunnels.ted_counters().into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// How it stands with one packet.
    pub(crate) fn flow(&self, packet: &FiveTuple) -> TedFlow {
        let rule = match self.tunnels.discover_rule(packet) {
            Ok(rule) => rule,
            Err(why) => return self.own_tunnel(packet, &why),
        };
        if let Some(own) = self.tunnels.ted_in_flight_for(rule, packet) {
            return TedFlow::InFlight(self.in_flight(&own));
        }
        if let Some(own) = self.tunnels.ted_resting_for(rule, packet) {
            return TedFlow::Resting(self.resting(&own));
        }
        TedFlow::Unasked { rule: self.rule_name(rule) }
    }

    /// What would be sent.
    pub(crate) fn preview(&self, packet: FiveTuple) -> Result<Answer, Refusal> {
        let unasked = |why: ProbeRefused| Refusal::new(RefusalWord::Unasked, why.to_string());
        let (rule, octets) = self.tunnels.ted_preview(self.now, packet).map_err(unasked)?;
        let fields = probe_fields::fields(&octets);
        let garbled = || Refusal::new(RefusalWord::Failed, "the probe would be none");
        Ok(Answer::TedPreview(Box::new(TedPreview {
            rule: self.rule_name(rule),
            fields: fields.ok_or_else(garbled)?,
            octets: probe_fields::hexadecimal(&octets),
        })))
    }

    /// A packet for which nothing is discovered: perhaps because it has its tunnel.
    fn own_tunnel(&self, packet: &FiveTuple, why: &ProbeRefused) -> TedFlow {
        let verdict = warren_policy::evaluate(self.tunnels.rules(), packet);
        if let Some(found) = self.found(|own| verdict == Verdict::Protect(own.rule)).pop() {
            return TedFlow::Found(found);
        }
        TedFlow::Refused { why: why.to_string() }
    }

    fn in_flight(&self, own: &InFlight) -> TedInFlight {
        TedInFlight {
            rule: self.rule_name(own.rule),
            packet: own.packet.to_string(),
            cookie: probe_fields::hexadecimal(&own.cookie),
            since_ms: self.now.saturating_sub(own.since).as_millis() as u64,
            waiting: own.waiting,
            stage: match own.stage {
                Stage::Probing { sent } => TedStage::Probing { sent },
                Stage::Negotiating { gateway, selector } => {
                    TedStage::Negotiating { gateway: gateway.to_string(), selector: selector.to_string() }
                }
            },
        }
    }

    fn resting(&self, own: &Resting) -> TedResting {
        TedResting {
            rule: self.rule_name(own.rule),
            packet: own.packet.to_string(),
            for_s: own.until.saturating_sub(self.now).as_secs(),
            failures: own.failures,
            why: own.why.to_string(),
        }
    }

    /// Tunnels that discovery brought, those that are wanted.
    fn found(&self, is_wanted: impl Fn(&DiscoveredStatus) -> bool) -> Vec<TedFound> {
        let status = self.tunnels.status();
        let carries = |tunnel: &&TunnelStatus| tunnel.pairs.iter().any(|pair| pair.bound);
        let up: BTreeSet<RuleId> = status.iter().filter(carries).map(|tunnel| tunnel.rule).collect();
        let row = |own: DiscoveredStatus| TedFound {
            tunnel: self.rule_name(own.rule),
            within: self.rule_name(own.within),
            peer: self.tunnels.peer_name(own.peer),
            gateway: own.gateway.to_string(),
            selector: own.selector.to_string(),
            is_up: up.contains(&own.rule),
            is_ours: own.is_ours,
            since_s: self.now.saturating_sub(own.since).as_secs(),
        };
        self.tunnels.discovered().into_iter().filter(is_wanted).map(row).collect()
    }

    fn rule_name(&self, rule: RuleId) -> String {
        self.tunnels.rules().tunnel_rule(rule).map_or_else(String::new, |rule| rule.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired;
    use crate::entropy::KernelEntropy;
    use crate::surroundings::Surroundings;
    use warren_policy::Secret;

    const FILE: &str = "[[port]]\ninterface = \"out\"\nside = \"outside\"\n[ted]\nanswer_on = \"out\"\ngranule = [24, 64]\n\
        [[peer]]\nname = \"p\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"discover\"\nsecret = \"x\"\n\
        group_secret = true\nauthorised = [{ networks = \"10.0.0.0/8\" }]\n[[transport]]\nname = \"all\"\n\
        source = \"10.1.0.0/16\"\ndestination = \"10.0.0.0/8\"\naction = \"permit\"\n[[tunnel]]\nname = \"t\"\n\
        source = \"10.1.0.0/16\"\ndestination = \"10.0.0.0/8\"\ngateway = \"discover\"\npeer = \"p\"\n";

    fn started() -> (Config, Tunnels) {
        let key = |_: &std::path::Path| Ok(Secret::new(b"00112233445566778899aabbccddeeff".to_vec()));
        let config = warren_config::parse(FILE, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"));
        let wanted =
            desired::tunnels(&config, &Surroundings::default()).unwrap_or_else(|why| panic!("{why}"));
        let entropy = (Box::new(KernelEntropy) as _, Box::new(KernelEntropy) as _);
        let tunnels = Tunnels::new(Duration::ZERO, wanted, Vec::new(), entropy);
        (config, tunnels)
    }

    fn to(destination: &str) -> FiveTuple {
        packet(TedPacket {
            source: "10.1.0.1".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            source_port: Some(1024),
            destination_port: Some(443),
        })
        .unwrap()
    }

    #[test] // TED-7
    fn a_flow_is_unasked_then_in_flight_then_resting_and_so_is_its_neighbour() {
        let (config, mut tunnels) = started();
        let at = |now, tunnels: &Tunnels, destination: &str| {
            TedSources { now, config: &config, tunnels }.flow(&to(destination))
        };
        let second = Duration::from_secs;
        assert_eq!(at(second(0), &tunnels, "10.2.0.1"), TedFlow::Unasked { rule: "t".to_owned() });
        tunnels.ted_probe(second(0), to("10.2.0.1")).unwrap();
        for destination in ["10.2.0.1", "10.2.0.200"] {
            let TedFlow::InFlight(own) = at(second(1), &tunnels, destination) else { panic!("in flight") };
            assert_eq!(
                (own.rule.as_str(), own.since_ms, own.stage),
                ("t", 1000, TedStage::Probing { sent: 1 })
            );
            assert_eq!((own.cookie.len(), own.packet), (16, to("10.2.0.1").to_string()));
        }
        assert!(matches!(at(second(1), &tunnels, "10.2.1.1"), TedFlow::Unasked { .. }), "another granule");
        let again = tunnels.ted_probe(second(1), to("10.2.0.9")).unwrap_err();
        assert_eq!(refused(&again), None, "what is under way is what was wanted");
        while let Some(due) = tunnels.poll_timeout().filter(|due| *due <= second(8)) {
            tunnels.handle_timeout(due);
        }
        let TedFlow::Resting(own) = at(second(8), &tunnels, "10.2.0.1") else { panic!("resting") };
        assert_eq!((own.failures, own.why.as_str()), (1, "no gateway answered"));
        assert!((20..=40).contains(&own.for_s), "{own:?}");
        let status = TedSources { now: second(8), config: &config, tunnels: &tunnels }.status();
        assert_eq!((status.resting, status.in_flight), (vec![own], Vec::new()));
        assert_eq!((status.is_on, status.answer_on), (true, vec!["out".to_owned()]));
        assert_eq!((status.counters["probes-sent"], status.counters["unanswered"]), (3, 1));
    }

    #[test]
    fn what_is_not_discovered_says_why() {
        let (config, mut tunnels) = started();
        let elsewhere = to("192.0.2.77");
        let flow = TedSources { now: Duration::ZERO, config: &config, tunnels: &tunnels }.flow(&elsewhere);
        let TedFlow::Refused { why } = flow else { panic!("refused") };
        assert!(why.contains("no rule discovers a gateway"), "{why}");
        let refusal = refused(&tunnels.ted_probe(Duration::ZERO, elsewhere).unwrap_err()).unwrap();
        assert_eq!(refusal.word, RefusalWord::Unasked);
        let mixed = TedPacket {
            source: "10.1.0.1".parse().unwrap(),
            destination: "2001:db8::1".parse().unwrap(),
            protocol: 6,
            source_port: None,
            destination_port: None,
        };
        assert!(packet(mixed).unwrap_err().message.contains("two families"));
    }

    #[test] // F-10
    fn a_preview_is_what_would_be_sent_and_sends_nothing() {
        let (config, mut tunnels) = started();
        while tunnels.poll_output().is_some() {}
        let sources = TedSources { now: Duration::ZERO, config: &config, tunnels: &tunnels };
        let Ok(Answer::TedPreview(preview)) = sources.preview(to("10.2.0.1")) else { panic!("a preview") };
        assert_eq!((preview.rule.as_str(), &preview.octets[..2]), ("t", "45"));
        assert!(
            preview.fields.iter().any(|field| field.name == "gateway" && field.value.contains("192.0.2.1"))
        );
        assert!(tunnels.poll_output().is_none());
    }
}
