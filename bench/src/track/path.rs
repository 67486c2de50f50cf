//! One direction through one gateway: endless traffic that is ready before the clock runs, and the proof that it arrives.

use warren_engine::{Settings, StageSnapshot};

use warren_engine::limits::BATCH_MAX;
use warren_engine::packet::ethernet;
use warren_seam::Command;

use super::gateway::Gateway;
use super::judge::Judge;
use super::limits::POOL_PACKETS;
use super::site::{self, Own, Site};
use super::traffic::Traffic;
use crate::rows::{Direction, Size};

/// The gateway under test is always the first one.
const TESTED: Own = Own::First;

/// The gateway and its traffic.
pub(crate) struct Path {
    site: Site,
    dir: Direction,
    traffic: Traffic,
    gateway: Gateway,
    sealed: Option<Sealed>,
    /// The number of the next packet.
    next: u64,
}

/// What the other gateway has sealed for ours to open. Every packet is given out once, so that none is a replay.
struct Sealed {
    peer: Gateway,
    octets: Vec<u8>,
    ends: Vec<usize>,
    /// The number of the next packet to be sealed, and how many of the pool have been given out.
    next: u64,
    given: usize,
}

impl Path {
    pub(crate) fn new(site: Site, dir: Direction, size: Size) -> Result<Self, String> {
        Self::with(site, dir, size, &Settings::default())
    }

    /// The same through a gateway with settings of the operator's.
    pub(crate) fn with(site: Site, dir: Direction, size: Size, settings: &Settings) -> Result<Self, String> {
        let site = site.checked()?;
        let peer = match dir {
            Direction::Encrypt => None,
            Direction::Decrypt => Some(site.commands(TESTED.peer())?),
        };
        Self::between(site, dir, size, (site.commands(TESTED)?, peer), settings)
    }

    /// The same with gateways that are perhaps not what the site says.
    fn between(
        site: Site,
        dir: Direction,
        size: Size,
        (ours, peers): (Vec<Command>, Option<Vec<Command>>),
        settings: &Settings,
    ) -> Result<Self, String> {
        let from = if dir == Direction::Encrypt { TESTED } else { TESTED.peer() };
        let sealed = peers.map(|commands| {
            let peer = Gateway::new(Direction::Encrypt, commands)?;
            Ok::<_, String>(Sealed { peer, octets: Vec::new(), ends: Vec::new(), next: 0, given: 0 })
        });
        Ok(Self {
            site,
            dir,
            traffic: Traffic::new(from, site.sas, size),
            gateway: Gateway::with(dir, ours, settings)?,
            sealed: sealed.transpose()?,
            next: 0,
        })
    }

    /// How many flows take turns.
    pub(crate) fn flows(&self) -> u32 {
        self.traffic.flows()
    }

    /// A full batch: made ready, then turned once by the clock. Returns cycles. The packets are counted, not looked at.
    pub(crate) fn batch(&mut self) -> Result<u64, String> {
        self.batch_of(BATCH_MAX)
    }

    /// The same with so many packets, at most a batch.
    pub(crate) fn batch_of(&mut self, packets: usize) -> Result<u64, String> {
        self.prepare(packets)?;
        let elapsed = self.turn();
        self.collect();
        Ok(elapsed)
    }

    /// One turn by the clock, of what is ready. Returns cycles.
    #[inline]
    pub(crate) fn turn(&mut self) -> u64 {
        self.gateway.turn()
    }

    /// What the stages have cost so far, in turns that were measured.
    pub(crate) fn stages(&self) -> StageSnapshot {
        self.gateway.stages()
    }

    /// How many packets came out since this was last asked.
    pub(crate) fn collect(&mut self) -> usize {
        let mut came = 0;
        self.gateway.collect(|_| came += 1);
        came
    }

    /// Whether everything so far has come out.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.gateway.drain(|_| ())
    }

    /// Sends so many packets outside of any clock, opens each that comes out, and compares it with what went in.
    pub(crate) fn prove(&mut self, packets: u64) -> Result<(), String> {
        self.settle()?;
        let mut judge = Judge::new(self.site, TESTED);
        let (first, batches) = (self.next, packets.div_ceil(BATCH_MAX as u64));
        let last = first + batches * BATCH_MAX as u64;
        let mut seen = vec![false; (last - first) as usize];
        let mut wrong = None;
        for _ in 0..batches {
            self.prepare(BATCH_MAX)?;
            self.gateway.turn();
            let Self { traffic, gateway, dir, .. } = self;
            let mut see = |frame: &[u8]| {
                if let Err(why) = known(&mut judge, traffic, *dir, frame)
                    .and_then(|at| tick(&mut seen, at.checked_sub(first)))
                {
                    wrong.get_or_insert(why);
                }
            };
            gateway.drain(&mut see)?;
        }
        match wrong {
            Some(why) => Err(format!("the work was not done: {why}")),
            None if seen.iter().all(|seen| *seen) => Ok(()),
            None => Err("the work was not done: other packets came out than went in".to_owned()),
        }
    }

    /// Makes the next packets ready.
    pub(crate) fn prepare(&mut self, packets: usize) -> Result<(), String> {
        let Self { traffic, gateway, sealed, next, .. } = self;
        for _ in 0..packets {
            match sealed {
                None => gateway.prepare(|frame| traffic.write(*next, frame))?,
                Some(sealed) => {
                    let packet = sealed.next_packet(traffic)?;
                    gateway.prepare(|frame| {
                        frame.push_back(packet.len()).is_some_and(|room| {
                            room.copy_from_slice(packet);
                            true
                        })
                    })?;
                }
            }
            *next += 1;
        }
        Ok(())
    }
}

impl Sealed {
    fn next_packet(&mut self, traffic: &Traffic) -> Result<&[u8], String> {
        if self.given == self.ends.len() {
            self.refill(traffic)?;
        }
        let from = self.given.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.given += 1;
        Ok(&self.octets[from..self.ends[self.given - 1]])
    }

    fn refill(&mut self, traffic: &Traffic) -> Result<(), String> {
        self.octets.clear();
        self.ends.clear();
        self.given = 0;
        for _ in 0..POOL_PACKETS / BATCH_MAX {
            for _ in 0..BATCH_MAX {
                self.peer.prepare(|frame| traffic.write(self.next, frame))?;
                self.next += 1;
            }
            self.peer.turn();
            let (octets, ends) = (&mut self.octets, &mut self.ends);
            self.peer
                .drain(|frame| {
                    octets.extend(frame);
                    ends.push(octets.len());
                })
                .map_err(|why| format!("the peer does not seal: {why}"))?;
        }
        Ok(())
    }
}

/// The number of the packet that came out, when it is what went in.
fn known(judge: &mut Judge, traffic: &Traffic, dir: Direction, frame: &[u8]) -> Result<u64, String> {
    let opened = match dir {
        Direction::Encrypt => judge.open(frame)?,
        Direction::Decrypt => {
            let (link, packet) =
                frame.split_at_checked(ethernet::HEADER_OCTETS).ok_or("no Ethernet header")?;
            if link[..6] != site::router_mac(TESTED).0 {
                return Err("a frame that is not for the router".to_owned());
            }
            packet.to_vec()
        }
    };
    traffic.recognise(&opened).ok_or_else(|| "a packet that is not what went in".to_owned())
}

fn tick(seen: &mut [bool], place: Option<u64>) -> Result<(), String> {
    match place.and_then(|place| seen.get_mut(place as usize)) {
        Some(seen) if !*seen => {
            *seen = true;
            Ok(())
        }
        _ => Err("a packet came out twice, or was not sent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Mix;
    use warren_policy::{EspTransform, KeyBits, TransportAction};

    const PACKETS: u64 = 256;

    fn ours_and_peers(site: Site, dir: Direction) -> (Vec<Command>, Option<Vec<Command>>) {
        let peers = (dir == Direction::Decrypt).then(|| site.commands(TESTED.peer()).unwrap());
        (site.commands(TESTED).unwrap(), peers)
    }

    fn proof(
        site: Site,
        dir: Direction,
        gateways: (Vec<Command>, Option<Vec<Command>>),
    ) -> Result<(), String> {
        Path::between(site, dir, Size::Octets(64), gateways, &Settings::default())?.prove(PACKETS)
    }

    #[test] // NT-21
    fn every_case_passes_its_proof_before_and_after_batches_were_timed() {
        let aes256 = EspTransform::AesGcm16(KeyBits::B256);
        for site in [
            Site::PLAIN,
            Site { window: 0, transform: aes256, ..Site::PLAIN },
            Site { sas: 100, window: 64, ..Site::PLAIN },
            Site { sas: 3, levels: 3, ..Site::PLAIN },
        ] {
            for dir in [Direction::Encrypt, Direction::Decrypt] {
                for size in [Size::Octets(40), Size::Octets(1420), Size::Mix(Mix::Imix)] {
                    let mut path = Path::new(site, dir, size).unwrap();
                    path.prove(PACKETS).unwrap();
                    (0..200).for_each(|_| assert!(path.batch().unwrap() > 0));
                    path.prove(PACKETS).unwrap_or_else(|why| panic!("{site:?} {dir} {size}: {why}"));
                }
            }
        }
    }

    #[test]
    fn a_gateway_that_drops_is_refused() {
        for dir in [Direction::Encrypt, Direction::Decrypt] {
            let (mut ours, peers) = ours_and_peers(Site::PLAIN, dir);
            ours.retain(|command| !matches!(command, Command::Bind { .. } | Command::InstallInbound(_)));
            let why = proof(Site::PLAIN, dir, (ours, peers)).unwrap_err();
            assert!(why.contains("the work was not done"), "{dir}: {why}");
        }
    }

    #[test]
    fn a_gateway_that_sends_in_clear_is_refused() {
        let (mut ours, peers) = ours_and_peers(Site::PLAIN, Direction::Encrypt);
        for command in &mut ours {
            if let Command::Rules(rules) = command {
                rules.transport[0].action = TransportAction::Bypass;
            }
        }
        let why = proof(Site::PLAIN, Direction::Encrypt, (ours, peers)).unwrap_err();
        assert!(why.contains("not ESP"), "{why}");
    }

    #[test]
    fn a_gateway_that_seals_with_other_keys_is_refused() {
        let other = Site { seed: 8, ..Site::PLAIN };
        let ours = other.commands(TESTED).unwrap();
        let why = proof(Site::PLAIN, Direction::Encrypt, (ours, None)).unwrap_err();
        assert!(why.contains("not authentic"), "{why}");
        let peers = Some(other.commands(TESTED.peer()).unwrap());
        let ours = Site::PLAIN.commands(TESTED).unwrap();
        let why = proof(Site::PLAIN, Direction::Decrypt, (ours, peers)).unwrap_err();
        assert!(why.contains("the work was not done"), "{why}");
    }

    #[test]
    fn a_gateway_with_fewer_levels_than_agreed_is_refused() {
        let two = Site { levels: 2, ..Site::PLAIN };
        let ours = Site::PLAIN.commands(TESTED).unwrap();
        assert!(proof(two, Direction::Encrypt, (ours, None)).is_err());
    }

    #[test]
    fn packets_that_come_out_twice_are_refused() {
        let mut seen = [false; 2];
        assert!(tick(&mut seen, Some(1)).is_ok());
        for place in [Some(1), Some(2), None] {
            assert!(tick(&mut seen, place).is_err());
        }
    }

    #[test]
    fn batches_that_were_timed_and_got_lost_are_noticed() {
        let (mut ours, peers) = ours_and_peers(Site::PLAIN, Direction::Encrypt);
        ours.retain(|command| !matches!(command, Command::Bind { .. }));
        let mut path = Path::between(
            Site::PLAIN,
            Direction::Encrypt,
            Size::Octets(64),
            (ours, peers),
            &Settings::default(),
        )
        .unwrap();
        path.batch().unwrap();
        assert!(path.settle().unwrap_err().contains("the work was not done"));
        // And where nobody asks, the frames run out.
        let lost = (0..20).try_for_each(|_| path.batch().map(|_| ()));
        assert!(lost.unwrap_err().contains("came out"));
    }
}
