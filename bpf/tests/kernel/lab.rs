//! Network namespaces that clean up after themselves.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// All names begin with this and the number of our process.
const PREFIX: &str = "wpt_";

/// A namespace that is removed when it is dropped, also by a panic.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace, or says why none can be made. Leftovers of killed runs are removed on the way.
    pub(crate) fn new(label: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        remove_leftovers();
        let name = format!("{PREFIX}{}_{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `ip` inside of it.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// Runs `inside` on a thread that is in the namespace. Sockets opened there stay there.
    pub(crate) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(path).expect("the namespace has a name");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// One end of a cable.
pub(crate) struct End<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) interface: &'a str,
    pub(crate) mac: [u8; 6],
    /// With its prefix length.
    pub(crate) address: &'a str,
}

/// Lays a veth pair between two namespaces, both ends up, with `queues` queues each.
pub(crate) fn cable(one: &End<'_>, other: &End<'_>, queues: u32) -> Result<(), String> {
    let queues = queues.to_string();
    let many = ["numrxqueues", &queues, "numtxqueues", &queues];
    let near = ["link", "add", one.interface, "netns", one.namespace.name()];
    let far = ["type", "veth", "peer", "name", other.interface, "netns", other.namespace.name()];
    ip(&[&near[..], &many[..], &far[..], &many[..]].concat())?;
    for end in [one, other] {
        let mac = end.mac.map(|octet| format!("{octet:02x}")).join(":");
        end.namespace.ip(&["link", "set", end.interface, "address", &mac])?;
        end.namespace.ip(&["address", "add", end.address, "dev", end.interface])?;
        end.namespace.ip(&["link", "set", end.interface, "up"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Removes namespaces of ours whose process is gone.
fn remove_leftovers() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}
