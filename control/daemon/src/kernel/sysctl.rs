//! Kernel variables of ports and tun, so that the kernel itself forwards nothing between them (REQUIREMENTS F-24).
//!
//! Nothing is put back when the daemon ends: a gateway whose daemon has stopped or crashed must not begin to forward
//! in clear what its rules say to protect. An operator who takes Warren off a host sets the variables back.
//!
//! `net.ipv6.conf.PORT.forwarding` alone does not stop IPv6: it only says whether the port behaves as a router's, and
//! the decision is taken by `net.ipv6.conf.all.forwarding`, which other interfaces of the host may need. What stops
//! both families is the rule in `guard`; these variables are the second lock.

use super::Error;
use std::io;
use std::path::{Path, PathBuf};

/// The tree of variables; in tests another one.
pub(crate) struct Sysctl {
    root: PathBuf,
}

impl Default for Sysctl {
    /// Those of the network namespace the calling thread is in.
    fn default() -> Self {
        Self::at("/proc/sys/net")
    }
}

impl Sysctl {
    /// Those below `root`.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Switches forwarding of packets that arrive at the port off, and reads back that it is. What was changed, for
    /// the log.
    ///
    /// Switching IPv6 forwarding off would make a port with `accept_ra` = 1 listen to router advertisements, which
    /// it did not while it was a router's: anyone on the link could then give the gateway a route. So `accept_ra`
    /// is switched off first where it was without effect, and left alone where the operator relies on it.
    ///
    /// Reverse path filtering goes from strict to loose, because the rules for `warren0` can make the way back to a
    /// peer lead into the tunnel; strict filtering would then drop its IKE messages. Where it is off it stays off.
    ///
    /// # Errors
    /// A variable cannot be written or does not take the value; then the port must not be used.
    pub(crate) fn close_port(&self, port: &str) -> Result<Vec<String>, Error> {
        let mut changed = Vec::new();
        let v4 = self.root.join("ipv4/conf").join(port);
        let v6 = self.root.join("ipv6/conf").join(port);
        set(&v4.join("forwarding"), "0", &mut changed)?;
        self.loosen(&v4, &mut changed)?;
        // Without IPv6 in the kernel there is nothing to switch off.
        if v6.is_dir() {
            let was_router = read(&v6.join("forwarding"))? != "0";
            if was_router && read(&v6.join("accept_ra"))? == "1" {
                set(&v6.join("accept_ra"), "0", &mut changed)?;
            }
            set(&v6.join("forwarding"), "0", &mut changed)?;
            if v6.join("force_forwarding").exists() {
                set(&v6.join("force_forwarding"), "0", &mut changed)?;
            }
        }
        Ok(changed)
    }

    /// Lets the tun device deliver what came out of a tunnel: decrypted packets come from addresses whose route,
    /// for the kernel, may lead elsewhere.
    ///
    /// # Errors
    /// A variable cannot be written or does not take the value.
    pub(crate) fn open_tun(&self, tun: &str) -> Result<Vec<String>, Error> {
        let mut changed = Vec::new();
        let v4 = self.root.join("ipv4/conf").join(tun);
        set(&v4.join("rp_filter"), "2", &mut changed)?;
        set(&v4.join("forwarding"), "0", &mut changed)?;
        let v6 = self.root.join("ipv6/conf").join(tun);
        if v6.is_dir() {
            // No neighbours, no advertisements, no address of its own: nothing but what the engine writes.
            set(&v6.join("accept_ra"), "0", &mut changed)?;
            set(&v6.join("forwarding"), "0", &mut changed)?;
        }
        Ok(changed)
    }

    /// The stricter of `all` and the port's own holds, in the order off, loose, strict: 0, 2, 1. Only "loose" on
    /// the port itself overrides a strict `all`, because the kernel takes the larger number.
    fn loosen(&self, port: &Path, changed: &mut Vec<String>) -> Result<(), Error> {
        let everywhere = read(&self.root.join("ipv4/conf/all/rp_filter"))?;
        let here = read(&port.join("rp_filter"))?;
        if everywhere.max(here) == "1" { set(&port.join("rp_filter"), "2", changed) } else { Ok(()) }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Variable { path: path.display().to_string(), source }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(failed(path))
}

/// Writes only what is not so yet, so that a container with the right values and a read-only `/proc/sys` works.
fn set(path: &Path, value: &'static str, changed: &mut Vec<String>) -> Result<(), Error> {
    let before = read(path)?;
    if before == value {
        return Ok(());
    }
    std::fs::write(path, value).map_err(failed(path))?;
    let found = read(path)?;
    if found != value {
        return Err(Error::NotTaken { path: path.display().to_string(), wanted: value, found });
    }
    changed.push(format!("{} {before} -> {value}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(variables: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (name, value) in variables {
            let path = tree.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        tree
    }

    fn value(tree: &tempfile::TempDir, name: &str) -> String {
        read(&tree.path().join(name)).unwrap()
    }

    const ROUTER: [(&str, &str); 6] = [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/out/rp_filter", "1"),
        ("ipv4/conf/out/forwarding", "1"),
        ("ipv6/conf/out/forwarding", "1"),
        ("ipv6/conf/out/accept_ra", "1"),
        ("ipv6/conf/out/force_forwarding", "1"),
    ];

    #[test] // F-24
    fn a_routers_port_forwards_nothing_and_does_not_begin_to_listen_to_routers() {
        let tree = tree(&ROUTER);
        let changed = Sysctl::at(tree.path()).close_port("out").unwrap();
        assert_eq!(changed.len(), 5, "{changed:?}");
        for name in ["ipv4/conf/out/forwarding", "ipv6/conf/out/forwarding", "ipv6/conf/out/force_forwarding"]
        {
            assert_eq!(value(&tree, name), "0", "{name}");
        }
        assert_eq!(value(&tree, "ipv6/conf/out/accept_ra"), "0");
        assert_eq!(value(&tree, "ipv4/conf/out/rp_filter"), "2");
        assert_eq!(
            Sysctl::at(tree.path()).close_port("out").unwrap(),
            Vec::<String>::new(),
            "once is enough"
        );
    }

    #[test]
    fn a_hosts_port_keeps_listening_to_routers_and_filtering_that_is_off_stays_off() {
        let tree = tree(&[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/out/rp_filter", "0"),
            ("ipv4/conf/out/forwarding", "0"),
            ("ipv6/conf/out/forwarding", "0"),
            ("ipv6/conf/out/accept_ra", "1"),
        ]);
        assert_eq!(Sysctl::at(tree.path()).close_port("out").unwrap(), Vec::<String>::new());
        assert_eq!(value(&tree, "ipv6/conf/out/accept_ra"), "1");
    }

    #[test]
    fn an_operators_explicit_accept_ra_is_kept() {
        let tree = tree(&ROUTER);
        std::fs::write(tree.path().join("ipv6/conf/out/accept_ra"), "2").unwrap();
        Sysctl::at(tree.path()).close_port("out").unwrap();
        assert_eq!(value(&tree, "ipv6/conf/out/accept_ra"), "2");
    }

    #[test]
    fn strict_filtering_of_all_interfaces_is_overridden_on_the_port_alone() {
        let tree = tree(&ROUTER);
        std::fs::write(tree.path().join("ipv4/conf/all/rp_filter"), "1").unwrap();
        std::fs::write(tree.path().join("ipv4/conf/out/rp_filter"), "0").unwrap();
        Sysctl::at(tree.path()).close_port("out").unwrap();
        assert_eq!(value(&tree, "ipv4/conf/out/rp_filter"), "2");
        assert_eq!(value(&tree, "ipv4/conf/all/rp_filter"), "1");
    }

    #[test]
    fn a_kernel_without_ipv6_is_closed_by_its_ipv4_variables() {
        let tree = tree(&ROUTER[..3]);
        assert_eq!(Sysctl::at(tree.path()).close_port("out").unwrap().len(), 2);
    }

    #[test]
    fn a_port_that_cannot_be_closed_is_an_error_that_names_the_variable() {
        let tree = tree(&ROUTER);
        let error = Sysctl::at(tree.path()).close_port("missing").unwrap_err().to_string();
        assert!(error.contains("ipv4/conf/missing/forwarding"), "{error}");
    }
}
