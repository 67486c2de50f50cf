//! What the kernel knows: an interface's own addresses, and the next hop's Ethernet address.
//!
//! `ip -json` is asked, in the network namespace of the calling thread: it is wherever namespaces are, and it is not asked
//! while anything is measured.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::limits::{NEIGHBOUR_LOOK, NEIGHBOUR_WAIT};

/// An interface as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Queues that it receives by.
    pub receive_queues: u32,
}

/// Why the kernel's knowledge is not enough.
#[derive(Debug, thiserror::Error)]
pub enum NextHopError {
    /// `ip` failed, or said what we do not understand.
    #[error("ip {question}: {said}")]
    Ip {
        /// What was asked.
        question: String,
        /// What came back.
        said: String,
    },
    /// The kernel has another way, or is the destination itself.
    #[error("the kernel would not send to {0} by {1}; say the next hop with --via or --mac")]
    Elsewhere(IpAddr, String),
    /// Nobody answers.
    #[error(
        "nobody at {0} says its Ethernet address; is the next hop up? --via says another, --mac its address"
    )]
    Silent(IpAddr),
}

/// Six octets with colons between.
///
/// # Errors
/// When it is no Ethernet address, with the text.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2);
        let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
        *octet = value.ok_or_else(|| format!("`{text}` is no Ethernet address"))?;
    }
    if parts.next().is_some() {
        return Err(format!("`{text}` is no Ethernet address"));
    }
    Ok(mac)
}

/// Asks for an interface.
///
/// # Errors
/// When there is none of this name, or it has no Ethernet address.
pub fn interface(name: &str) -> Result<Interface, NextHopError> {
    let question = ["-details", "address", "show", "dev", name];
    let answer = ip(&question)?;
    let (index, mut interface) = read_interface(&answer).ok_or_else(|| not_understood(&question, &answer))?;
    if let Some(active) = active_queues(Path::new("/sys/class/net"), name, index) {
        interface.receive_queues = active;
    }
    Ok(interface)
}

/// `ip` tells how many queues a device was made with; `/sys` how many it uses. `None` when `/sys` shows another namespace's
/// interfaces.
fn active_queues(sys: &Path, name: &str, index: u64) -> Option<u32> {
    let device = sys.join(name);
    let shown = std::fs::read_to_string(device.join("ifindex")).ok()?;
    if shown.trim().parse::<u64>().ok()? != index {
        return None;
    }
    let queues = std::fs::read_dir(device.join("queues")).ok()?.filter_map(Result::ok);
    let count = queues.filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-")).count();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

/// With its index.
fn read_interface(answer: &Value) -> Option<(u64, Interface)> {
    let link = answer.get(0)?;
    let index = link.get("ifindex")?.as_u64()?;
    let mac = parse_mac(link.get("address")?.as_str()?).ok()?;
    let local = |entry: &Value| entry.get("local")?.as_str()?.parse().ok();
    let addresses = link.get("addr_info").and_then(Value::as_array).into_iter().flatten().filter_map(local);
    let queues =
        link.get("num_rx_queues").and_then(Value::as_u64).and_then(|queues| u32::try_from(queues).ok());
    Some((
        index,
        Interface { mac, addresses: addresses.collect(), receive_queues: queues.unwrap_or(1).max(1) },
    ))
}

/// The Ethernet address of the next hop towards `destination` through `interface`, by the kernel's routes.
///
/// # Errors
/// When the kernel would not send there by that interface, or nobody answers.
pub fn next_hop(interface: &str, destination: IpAddr) -> Result<[u8; 6], NextHopError> {
    let question = ["route", "get", &destination.to_string(), "oif", interface].map(str::to_owned);
    let question: Vec<&str> = question.iter().map(String::as_str).collect();
    let answer = ip(&question)?;
    if read_device(&answer).is_some_and(|device| device != interface) {
        return Err(NextHopError::Elsewhere(destination, interface.to_owned()));
    }
    let hop = read_hop(&answer, destination).ok_or_else(|| not_understood(&question, &answer))?;
    neighbour(interface, hop)
}

/// The Ethernet address of `hop`, a neighbour on `interface`. If it is not known yet, the kernel is told that somebody wants to
/// use it, and asks.
///
/// # Errors
/// When nobody answers.
pub fn neighbour(interface: &str, hop: IpAddr) -> Result<[u8; 6], NextHopError> {
    let name = hop.to_string();
    let begun = Instant::now();
    let mut is_asked = false;
    loop {
        let answer = ip(&["neighbour", "show", &name, "dev", interface])?;
        if let Some(mac) = read_neighbour(&answer) {
            return Ok(mac);
        }
        if !is_asked {
            is_asked = true;
            ip(&["neighbour", "replace", &name, "dev", interface, "nud", "none", "use"])?;
        }
        if begun.elapsed() > NEIGHBOUR_WAIT {
            return Err(NextHopError::Silent(hop));
        }
        std::thread::sleep(NEIGHBOUR_LOOK);
    }
}

fn read_device(answer: &Value) -> Option<&str> {
    answer.get(0)?.get("dev")?.as_str()
}

fn read_hop(answer: &Value, destination: IpAddr) -> Option<IpAddr> {
    let route = answer.get(0)?;
    let gateway = route.get("gateway").or_else(|| route.get("via")?.get("host"));
    gateway.map_or(Some(destination), |gateway| gateway.as_str()?.parse().ok())
}

fn read_neighbour(answer: &Value) -> Option<[u8; 6]> {
    let entries = answer.as_array()?.iter();
    let usable = |entry: &&Value| {
        let states = entry.get("state").and_then(Value::as_array).into_iter().flatten();
        !states.filter_map(Value::as_str).any(|state| matches!(state, "FAILED" | "INCOMPLETE"))
    };
    entries.filter(usable).find_map(|entry| parse_mac(entry.get("lladdr")?.as_str()?).ok())
}

fn ip(question: &[&str]) -> Result<Value, NextHopError> {
    let failed = |said: String| NextHopError::Ip { question: question.join(" "), said };
    let output =
        Command::new("ip").arg("-json").args(question).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    // Nothing to say is written as nothing.
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

fn not_understood(question: &[&str], answer: &Value) -> NextHopError {
    NextHopError::Ip {
        question: question.join(" "),
        said: format!("what came back is not understood: {answer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ethernet_addresses_have_six_octets() {
        assert_eq!(parse_mac("02:00:0a:ff:00:01"), Ok([2, 0, 10, 255, 0, 1]));
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "02-00-00-00-00-01",
            "0g:00:00:00:00:01",
        ] {
            assert!(parse_mac(text).is_err(), "{text}");
        }
    }

    #[test]
    fn queues_in_use_are_counted_unless_another_interface_is_shown() {
        let sys = tempfile::tempdir().unwrap();
        for queue in ["rx-0", "rx-1", "rx-2", "tx-0"] {
            std::fs::create_dir_all(sys.path().join("eth7/queues").join(queue)).unwrap();
        }
        std::fs::write(sys.path().join("eth7/ifindex"), "12\n").unwrap();
        assert_eq!(active_queues(sys.path(), "eth7", 12), Some(3));
        assert_eq!(active_queues(sys.path(), "eth7", 13), None);
        assert_eq!(active_queues(sys.path(), "eth8", 12), None);
    }

    #[test]
    fn answers_of_the_kernel_are_understood() {
        let link = json!([{"ifindex": 7, "address": "02:00:00:00:00:01", "num_rx_queues": 4,
            "addr_info": [{"local": "10.1.0.1", "prefixlen": 24}, {"local": "fe80::1"}]}]);
        let expected = Interface {
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec!["10.1.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            receive_queues: 4,
        };
        assert_eq!(read_interface(&link), Some((7, expected)));
        assert_eq!(read_interface(&json!([{"ifindex": 7, "addr_info": []}])), None);

        let to: IpAddr = "10.9.9.9".parse().unwrap();
        assert_eq!(read_hop(&json!([{"dst": "10.9.9.9", "dev": "v0"}]), to), Some(to));
        let hop = Some("10.1.0.254".parse().unwrap());
        assert_eq!(read_hop(&json!([{"dst": "10.9.9.9", "gateway": "10.1.0.254"}]), to), hop);
        let via = json!([{"dst": "10.9.9.9", "via": {"family": "inet6", "host": "fe80::2"}}]);
        assert_eq!(read_hop(&via, to), Some("fe80::2".parse().unwrap()));
        assert_eq!(read_hop(&json!([]), to), None);
        assert_eq!(read_device(&json!([{"type": "local", "dst": "10.9.9.9", "dev": "lo"}])), Some("lo"));

        let known = json!([{"dst": "10.1.0.254", "lladdr": "02:00:00:00:00:02", "state": ["STALE"]}]);
        assert_eq!(read_neighbour(&known), Some([2, 0, 0, 0, 0, 2]));
        let failed = json!([{"dst": "10.1.0.254", "lladdr": "02:00:00:00:00:02", "state": ["FAILED"]}]);
        assert_eq!(read_neighbour(&failed), None);
        assert_eq!(read_neighbour(&json!([])), None);
    }
}
