//! The gateway of DPDK's examples, `ipsec-secgw`: built from the source that Debian ships, run on ports in memory.
//!
//! ```text
//!   port 0, a capture file read into memory once ──▶ ipsec-secgw, one core ──▶ port 1, which throws away (or writes a file)
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::pages::{MEBIBYTES, Pages};
use super::pcap;
use super::process::{self, Running, Words};
use super::traffic::{self, FAR, KEY, NEAR, PACKETS, SALT, SPI_IN, SPI_OUT, TO_FAR, TO_NEAR};
use crate::rounds::Rounds;
use crate::rows::Direction;

/// Where Debian's package dpdk-doc has the source.
const EXAMPLES: &str = "/usr/share/dpdk/examples";
/// How long compiling takes at most, on a machine that has other things to do.
const BUILD_MAX: Duration = Duration::from_secs(300);

/// The drivers for AES-GCM that Debian builds; both call Intel's multi-buffer library.
pub(super) const DRIVERS: [&str; 2] = ["crypto_aesni_mb", "crypto_aesni_gcm"];

/// Included before the program's source. It asks every port to check IP checksums in hardware, which no port in memory does.
const WITHOUT_HARDWARE: &str = "#include <rte_ethdev.h>\n\
    #undef RTE_ETH_RX_OFFLOAD_CHECKSUM\n\
    #define RTE_ETH_RX_OFFLOAD_CHECKSUM 0\n";

const WORDS: Words = Words {
    section: "Aggregate statistics",
    sent: "Total packets sent:",
    dropped: Some("Total packets dropped:"),
};
/// Of testpmd, whose second port is the one that throws away.
const GENERATOR_WORDS: Words =
    Words { section: "NIC statistics for port 1", sent: "TX-packets:", dropped: None };

/// The built gateway.
pub(super) struct Gateway<'a> {
    program: PathBuf,
    folder: &'a Path,
    pages: &'a Pages,
    core: usize,
    /// Of DPDK.
    pub(super) version: String,
}

impl<'a> Gateway<'a> {
    /// Builds it in `folder`; `Err` is a reason to leave it out.
    pub(super) fn build(folder: &'a Path, pages: &'a Pages, core: usize) -> Result<Self, String> {
        let source = Path::new(EXAMPLES).join("ipsec-secgw");
        if !source.is_dir() {
            return Err(format!("{} of Debian's package dpdk-doc is not there", source.display()));
        }
        let mut asked = Command::new("pkg-config");
        let version = process::run(asked.args(["--modversion", "libdpdk"]), BUILD_MAX)
            .map_err(|why| format!("Debian's package libdpdk-dev is not there: {why}"))?;
        let copy = folder.join("ipsec-secgw");
        let failed = |error: std::io::Error| format!("copying {}: {error}", source.display());
        fs::create_dir_all(&copy).map_err(failed)?;
        // Its test scripts, in a folder of their own, are not wanted.
        for file in fs::read_dir(&source).map_err(failed)?.flatten().filter(|file| file.path().is_file()) {
            fs::copy(file.path(), copy.join(file.file_name())).map_err(failed)?;
        }
        let header = copy.join("without_hardware.h");
        fs::write(&header, WITHOUT_HARDWARE).map_err(failed)?;
        let mut make = Command::new("make");
        make.arg("-C").arg(&copy).arg("shared");
        make.env("CFLAGS", format!("-I{EXAMPLES}/common -include {}", header.display()));
        process::run(&mut make, BUILD_MAX)?;
        fs::write(folder.join("gateway.cfg"), configuration()).map_err(failed)?;
        let program = copy.join("build/ipsec-secgw");
        Ok(Self { program, folder, pages, core, version: version.trim().to_owned() })
    }

    /// Refuses unless every packet comes out as it has to.
    pub(super) fn check(&self, direction: Direction, octets: u16, driver: &str) -> Result<(), String> {
        let (into, out) = (self.file("in", direction, octets), self.file("out", direction, octets));
        pcap::write(&into, &traffic::arriving(direction, octets)?)?;
        let ports =
            [format!("net_pcap0,rx_pcap={}", into.display()), format!("net_pcap1,tx_pcap={}", out.display())];
        let mut running = self.start(direction, driver, &ports)?;
        running.until_sent(&WORDS, PACKETS.into())?;
        running.end()?;
        traffic::check(direction, octets, &pcap::read(&out)?)
    }

    /// Cycles for one packet, its generator's included, in each of so many seconds. Wants a [`check`](Self::check) before.
    pub(super) fn measure(
        &self,
        direction: Direction,
        octets: u16,
        driver: &str,
        seconds: usize,
    ) -> Result<Rounds, String> {
        self.start(direction, driver, &self.endless(direction, octets))?.measure(&WORDS, seconds)
    }

    /// What the ports alone cost: the same packets, handed from one to the other by testpmd.
    pub(super) fn generator(
        &self,
        direction: Direction,
        octets: u16,
        seconds: usize,
    ) -> Result<Rounds, String> {
        // One that only waits and one that works, on the same core.
        let lcores = format!("--lcores=0@{core},1@{core}", core = self.core);
        let mut words = vec![lcores];
        words.extend(self.memory_words()?);
        words.extend(self.endless(direction, octets).map(|port| format!("--vdev={port}")));
        let own = ["--", "--forward-mode=io", "--auto-start", "--stats-period=1", "--total-num-mbufs=8192"];
        words.extend(own.map(str::to_owned));
        Running::start(Path::new("dpdk-testpmd"), &words, self.folder)?.measure(&GENERATOR_WORDS, seconds)
    }

    fn endless(&self, direction: Direction, octets: u16) -> [String; 2] {
        let into = self.file("in", direction, octets);
        [format!("net_pcap0,rx_pcap={},infinite_rx=1", into.display()), "net_null0,no-rx=1".to_owned()]
    }

    fn start(&self, direction: Direction, driver: &str, ports: &[String]) -> Result<Running, String> {
        let mut words = vec!["-l".to_owned(), self.core.to_string()];
        words.extend(self.memory_words()?);
        words.push("--force-max-simd-bitwidth=512".to_owned());
        words.extend(ports.iter().map(|port| format!("--vdev={port}")));
        words.push(format!("--vdev={driver}"));
        // The mask names the ports on the protected side of the tunnel, where ESP is.
        let outside = if direction == Direction::Encrypt { "0x2" } else { "0x1" };
        let config = format!("(0,0,{})", self.core);
        let own =
            ["--", "-p", "0x3", "-P", "-u", outside, "-t", "1", "--config", &config, "-f", "gateway.cfg"];
        words.extend(own.map(str::to_owned));
        Running::start(&self.program, &words, self.folder)
    }

    fn memory_words(&self) -> Result<[String; 5], String> {
        let megabytes = MEBIBYTES.to_string();
        Ok([self.pages.words()?, "--no-pci", "--no-telemetry", "-m", &megabytes].map(str::to_owned))
    }

    fn file(&self, what: &str, direction: Direction, octets: u16) -> PathBuf {
        self.folder.join(format!("{what}-{direction}-{octets}.pcap"))
    }
}

/// One rule and one SA for each direction; what leaves goes to port 1. Its replay check is off unless asked for.
fn configuration() -> String {
    let key: Vec<_> = KEY.iter().chain(&SALT).map(|octet| format!("{octet:02x}")).collect();
    let algorithm = format!("aead_algo aes-128-gcm aead_key {} mode ipv4-tunnel", key.join(":"));
    let ports = "sport 0:65535 dport 0:65535";
    format!(
        "sp ipv4 out esp protect {SPI_OUT} pri 1 dst {TO_FAR}/32 {ports}\n\
         sp ipv4 in esp protect {SPI_IN} pri 1 dst {TO_NEAR}/32 {ports}\n\
         sa out {SPI_OUT} {algorithm} src {NEAR} dst {FAR}\n\
         sa in {SPI_IN} {algorithm} src {FAR} dst {NEAR}\n\
         rt ipv4 dst {FAR}/32 port 1\n\
         rt ipv4 dst {TO_NEAR}/32 port 1\n"
    )
}
