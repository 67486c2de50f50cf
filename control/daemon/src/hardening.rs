//! What the process gives up and what it needs: no core dumps (they would hold keys), locked memory for the packet
//! buffers, and the capabilities without which nothing works, named before something obscure fails.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// What is needed, and for what.
const NEEDED: [(CapabilitySet, &str, &str); 4] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "attach XDP programs, open the tun device, set routes"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW", "open AF_XDP sockets"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "listen on the UDP ports 500 and 4500"),
    (CapabilitySet::BPF, "CAP_BPF", "load the steering program (CAP_SYS_ADMIN does too)"),
];

/// A sentence for each capability that is missing.
pub(crate) fn missing_capabilities() -> Vec<String> {
    let Ok(sets) = capabilities(None) else {
        return vec!["the kernel does not tell our capabilities".to_owned()];
    };
    missing_of(sets.effective)
}

fn missing_of(held: CapabilitySet) -> Vec<String> {
    let has = |wanted| {
        held.contains(wanted) || (wanted == CapabilitySet::BPF && held.contains(CapabilitySet::SYS_ADMIN))
    };
    NEEDED
        .iter()
        .filter(|(capability, _, _)| !has(*capability))
        .map(|(_, name, purpose)| format!("{name} is missing; it is needed to {purpose}"))
        .collect()
}

/// Keys must not end in a core dump or under a debugger (REQUIREMENTS F-21).
pub(crate) fn forbid_core_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Packet memory is pinned. With CAP_IPC_LOCK the limit does not count; without the right to raise it, what there is
/// must do, and the sockets say when it does not.
pub(crate) fn raise_locked_memory() {
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        tracing::debug!("the limit of locked memory stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named_with_its_purpose() {
        assert_eq!(missing_of(CapabilitySet::empty()).len(), NEEDED.len());
        let enough = CapabilitySet::NET_ADMIN
            | CapabilitySet::NET_RAW
            | CapabilitySet::NET_BIND_SERVICE
            | CapabilitySet::SYS_ADMIN;
        assert!(missing_of(enough).is_empty());
        let missing = missing_of(enough - CapabilitySet::NET_ADMIN);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("CAP_NET_ADMIN is missing"));
    }
}
