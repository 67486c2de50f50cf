//! Interfaces by name, and what of their settings gets in an XDP program's way.

use super::tables::Link;
use super::{Error, errno, notification};
use futures_util::stream::TryStreamExt;
use rtnetlink::Handle;
use std::path::Path;
use std::pin::pin;
use std::process::Command;

/// `ENODEV`.
const NO_DEVICE: i32 = 19;

/// An interface as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its index.
    pub(crate) index: u32,
    /// Name, address, MTU.
    pub(crate) link: Link,
    /// Receive queues in use: as many AF_XDP sockets can have one of their own.
    pub(crate) queues: u32,
}

/// The interface of that name.
///
/// # Errors
/// There is none, or the kernel does not answer.
pub(crate) async fn find(handle: &Handle, name: &str) -> Result<Found, Error> {
    let mut answers = pin!(handle.link().get().match_name(name.to_owned()).execute());
    let message = answers.try_next().await.map_err(|error| match errno(&error) {
        NO_DEVICE => Error::NoSuchLink(name.to_owned()),
        _ => Error::request(format!("reading interface {name}"), &error),
    })?;
    let no_link = || Error::NoSuchLink(name.to_owned());
    let message = message.ok_or_else(no_link)?;
    let index = message.header.index;
    let link = notification::link(&message).ok_or_else(no_link)?;
    let queues = active_queues(Path::new("/sys/class/net"), name, index).unwrap_or(link.receive_queues);
    Ok(Found { index, link, queues })
}

/// Netlink tells how many queues a device was made with; `/sys` how many it uses. `None` when `/sys` shows another
/// namespace's interfaces.
fn active_queues(sys: &Path, name: &str, index: u32) -> Option<u32> {
    let device = sys.join(name);
    let shown: u32 = std::fs::read_to_string(device.join("ifindex")).ok()?.trim().parse().ok()?;
    if shown != index {
        return None;
    }
    let queues = std::fs::read_dir(device.join("queues")).ok()?;
    let received =
        queues.filter_map(Result::ok).filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    u32::try_from(received.count()).ok().filter(|count| *count > 0)
}

/// Offloads of a port that an XDP program in that mode suffers from, in words for the log. Nothing is changed here; the
/// operator decides. Empty also when `ethtool` is not installed.
pub(crate) fn harmful_offloads(name: &str, generic: bool) -> Vec<&'static str> {
    let answer = Command::new("ethtool").args(["--show-features", name]).output();
    answer.map_or_else(|_| Vec::new(), |answer| harmful(&String::from_utf8_lossy(&answer.stdout), generic))
}

/// What the receiver merges is longer than a frame. Name, in generic mode, in native mode, words: generic XDP runs
/// behind GRO and the kernel switches LRO off for it; native XDP runs before GRO, and most drivers refuse it with LRO.
const HARMFUL: [(&str, bool, bool, &str); 3] = [
    (
        "generic-receive-offload",
        true,
        false,
        "generic-receive-offload merges packets before generic XDP sees them",
    ),
    ("large-receive-offload", false, true, "large-receive-offload merges packets before XDP sees them"),
    ("rx-gro-hw", true, true, "rx-gro-hw merges packets before XDP sees them"),
];

fn harmful(features: &str, generic: bool) -> Vec<&'static str> {
    let is_on = |name: &str| {
        let setting = |line: &str| line.trim().strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
        features.lines().find_map(setting).is_some_and(|setting| setting.starts_with("on"))
    };
    let found = HARMFUL.iter().filter(|(name, in_generic, in_native, _)| {
        let matters = if generic { *in_generic } else { *in_native };
        matters && is_on(name)
    });
    found.map(|(.., words)| *words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_offloads_are_named_and_harmless_ones_are_not() {
        let features = "Features for eth0:\nrx-checksumming: on\ngeneric-receive-offload: on\n\
                        large-receive-offload: off [fixed]\n\trx-gro-hw: on [requested off]\n";
        let words = harmful(features, true);
        assert_eq!(words.len(), 2);
        assert!(words[0].starts_with("generic-receive-offload") && words[1].starts_with("rx-gro-hw"));
        assert_eq!(harmful(features, false).len(), 1);
        assert_eq!(harmful("", true), Vec::<&str>::new());
    }

    #[test]
    fn queues_in_use_are_counted_unless_another_interface_is_shown() {
        let sys = tempfile::tempdir().unwrap();
        let queues = sys.path().join("eth7/queues");
        for queue in ["rx-0", "rx-1", "rx-2", "tx-0"] {
            std::fs::create_dir_all(queues.join(queue)).unwrap();
        }
        std::fs::write(sys.path().join("eth7/ifindex"), "12\n").unwrap();
        assert_eq!(active_queues(sys.path(), "eth7", 12), Some(3));
        assert_eq!(active_queues(sys.path(), "eth7", 13), None);
        assert_eq!(active_queues(sys.path(), "eth8", 12), None);
    }
}
