//! The Debian 12 packages that Warren's build, demo and tests use, what each is for, and how to tell that it is there.

use std::path::Path;
use std::process::Command;

use crate::repository::which;

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing compiles without it.
    Build,
    /// The demo and every case in namespaces.
    Lab,
    /// Rebuilding the BPF object and comparing it with the one in the repository.
    Bpf,
    /// strongSwan as foreign peer.
    StrongSwan,
    /// vpnc as foreign client.
    Vpnc,
    /// A Linux kernel as foreign peer.
    Kernel,
    /// Counting instructions.
    Instructions,
    /// DPDK beside us in the benchmarks.
    Dpdk,
}

impl Purpose {
    /// What a test run uses, in the order in which it is installed. DPDK is not among it: it brings some two hundred
    /// packages, and no test asks for it.
    pub const ALL: [Self; 7] =
        [Self::Build, Self::Lab, Self::Bpf, Self::StrongSwan, Self::Vpnc, Self::Kernel, Self::Instructions];

    /// For the terminal.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Build => "to build",
            Self::Lab => "for the demo and the tests in namespaces",
            Self::Bpf => "to rebuild the BPF object; the one in the repository is used without",
            Self::StrongSwan => "for strongSwan as foreign peer",
            Self::Vpnc => "for vpnc as foreign client",
            Self::Kernel => "for a Linux kernel as foreign peer",
            Self::Instructions => "to count instructions",
            Self::Dpdk => "for DPDK beside us in the benchmarks",
        }
    }

    /// True for what a test run cannot do without; the rest is reported as skipped.
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Build | Self::Lab)
    }
}

/// One package.
#[derive(Debug)]
pub struct Package {
    /// Its name in Debian 12.
    pub name: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// A program in the path, or an absolute path, that shows it is there however it was installed.
    probe: &'static str,
}

const fn package(name: &'static str, purpose: Purpose, probe: &'static str) -> Package {
    Package { name, purpose, probe }
}

/// All of them.
pub const PACKAGES: &[Package] = &[
    package("gcc", Purpose::Build, "gcc"),
    package("g++", Purpose::Build, "g++"),
    package("libc6-dev", Purpose::Build, "/usr/include/stdio.h"),
    package("make", Purpose::Build, "make"),
    package("pkg-config", Purpose::Build, "pkg-config"),
    package("libelf-dev", Purpose::Build, "/usr/include/gelf.h"),
    package("zlib1g-dev", Purpose::Build, "/usr/include/zlib.h"),
    package("iproute2", Purpose::Lab, "ip"),
    package("ethtool", Purpose::Lab, "ethtool"),
    package("iperf3", Purpose::Lab, "iperf3"),
    package("iputils-ping", Purpose::Lab, "ping"),
    package("procps", Purpose::Lab, "sysctl"),
    package("clang", Purpose::Bpf, "clang"),
    package("libbpf-dev", Purpose::Bpf, "/usr/include/bpf/bpf_helpers.h"),
    package("strongswan-charon", Purpose::StrongSwan, "/usr/lib/ipsec/charon"),
    package("strongswan-swanctl", Purpose::StrongSwan, "swanctl"),
    package("libcharon-extra-plugins", Purpose::StrongSwan, "/usr/lib/ipsec/plugins/libstrongswan-unity.so"),
    package(
        "libcharon-extauth-plugins",
        Purpose::StrongSwan,
        "/usr/lib/ipsec/plugins/libstrongswan-eap-mschapv2.so",
    ),
    package(
        "libstrongswan-standard-plugins",
        Purpose::StrongSwan,
        "/usr/lib/ipsec/plugins/libstrongswan-gcm.so",
    ),
    package(
        "libstrongswan-extra-plugins",
        Purpose::StrongSwan,
        "/usr/lib/ipsec/plugins/libstrongswan-chapoly.so",
    ),
    package("vpnc", Purpose::Vpnc, "vpnc"),
    package("user-mode-linux", Purpose::Kernel, "linux.uml"),
    package("kmod", Purpose::Kernel, "modprobe"),
    package("valgrind", Purpose::Instructions, "valgrind"),
    package("dpdk-dev", Purpose::Dpdk, "dpdk-test-acl"),
    package("libdpdk-dev", Purpose::Dpdk, "/usr/include/dpdk/rte_eal.h"),
    package("dpdk-doc", Purpose::Dpdk, "/usr/share/dpdk/examples/ipsec-secgw"),
];

impl Package {
    /// True when dpkg says so, or when what it brings lies where it belongs.
    pub fn is_installed(&self) -> bool {
        let found = if self.probe.starts_with('/') {
            Path::new(self.probe).exists()
        } else {
            which(self.probe).is_some()
        };
        found || self.is_known_to_dpkg()
    }

    fn is_known_to_dpkg(&self) -> bool {
        let query = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", self.name]).output();
        query.is_ok_and(|output| output.stdout == b"installed")
    }
}

/// What is not there, of the purposes asked for.
pub fn missing(purposes: &[Purpose]) -> Vec<&'static Package> {
    PACKAGES
        .iter()
        .filter(|package| purposes.contains(&package.purpose))
        .filter(|package| !package.is_installed())
        .collect()
}

/// `Err` with the sentence that stands after *skipped, because*.
pub fn require(purpose: Purpose) -> Result<(), String> {
    let names: Vec<_> = missing(&[purpose]).iter().map(|package| package.name).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("not installed: {}", names.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_named_once() {
        for (at, package) in PACKAGES.iter().enumerate() {
            assert!(PACKAGES[..at].iter().all(|other| other.name != package.name), "{}", package.name);
        }
    }

    #[test]
    fn package_that_nobody_made_is_missing() {
        assert!(!package("warren-no-such-package", Purpose::Lab, "/nonexistent/probe").is_installed());
    }
}
