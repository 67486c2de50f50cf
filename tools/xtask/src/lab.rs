//! Network namespaces that belong to one process and vanish with it.
//!
//! Names are `warren<pid>-<name>`, so two runs never meet and a later run can tell whose owner is gone. Links are
//! made inside the namespaces from the start: the root namespace is never touched, not even for a moment.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::failure::Context;

const PREFIX: &str = "warren";
/// The file in a run's folder that says it is to stay.
const KEPT: &str = "kept";

/// The namespaces of this process. Dropping it ends every process in them and removes them.
pub struct Lab {
    prefix: String,
    names: Vec<String>,
    folder: PathBuf,
    is_kept: bool,
}

impl Lab {
    /// Sweeps what dead owners left behind and starts with no namespace and an empty folder of its own, which is
    /// readable by root only because secrets lie in it.
    pub fn new(target: &Path) -> Result<Self, Failure> {
        require_root()?;
        let runs = target.join("xtask/run");
        sweep(&runs, Kept::Stays)?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = runs.join(std::process::id().to_string());
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&folder).context(folder.display())?;
        Ok(Self { prefix, names: Vec::new(), folder, is_kept: false })
    }

    /// Where this run keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves everything running when dropped, for somebody who wants to look around.
    pub fn keep(&mut self) -> Result<(), Failure> {
        self.is_kept = true;
        let mark = self.folder.join(KEPT);
        fs::write(&mark, "").context(mark.display())
    }

    /// Makes a namespace with its loopback up.
    pub fn namespace(&mut self, name: &str) -> Result<Namespace, Failure> {
        let full = format!("{}{name}", self.prefix);
        call(Command::new("ip").args(["netns", "add", &full]))?;
        self.names.push(full.clone());
        let space = Namespace { name: full };
        // Addresses work from the first moment on: nobody else can have them here.
        space.sysctl(&["net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.dad_transmits=0"])?;
        space.ip("link set lo up")?;
        Ok(space)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        for name in &self.names {
            remove(name);
        }
        // A folder that cannot be removed now is swept by the next run.
        let _ = remove_folder(&self.folder);
    }
}

/// One network namespace by its name under `/run/netns`.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The name as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` in this namespace, all in one go.
    pub fn ip(&self, lines: &str) -> Result<(), Failure> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("ip (package iproute2)")?;
        if let Some(mut stdin) = child.stdin.take() {
            for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
                writeln!(stdin, "{line}").context("ip -batch")?;
            }
        }
        let output = child.wait_with_output().context("ip -batch")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("ip in {}: {}", self.name, said.trim().replace('\n', "; "))))
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Sets kernel parameters, given as `name=value`.
    pub fn sysctl(&self, settings: &[&str]) -> Result<(), Failure> {
        call(self.command("sysctl").arg("-qw").args(settings))
    }

    /// Finishes checksums and segments before frames leave the interface, as a real wire would see them. An XDP
    /// program at the other end of a veth otherwise meets 64 KiB packets without a checksum.
    pub fn without_offload(&self, interface: &str) -> Result<(), Failure> {
        call(
            self.command("ethtool")
                .args(["-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"]),
        )
    }

    /// A pair of interfaces, one here and one in `other`, both up.
    pub fn veth(&self, here: &str, other: &Self, there: &str) -> Result<(), Failure> {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name))?;
        self.ip(&format!("link set {here} up"))?;
        other.ip(&format!("link set {there} up"))
    }

    /// Gives an interface an address at once, without waiting for duplicate address detection.
    pub fn address(&self, interface: &str, address: IpAddr, bits: u8) -> Result<(), Failure> {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        self.ip(&format!("addr add {address}/{bits} dev {interface}{nodad}"))
    }
}

/// Ends a process kindly, then firmly, and reaps it.
pub fn end(child: &mut Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
        // Gone already is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < crate::limits::GRACE {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// What becomes of a scene that somebody wanted to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It stays.
    Stays,
    /// It goes like the others.
    Goes,
}

/// Removes the namespaces and folders whose owner no longer lives.
pub fn sweep(runs: &Path, kept: Kept) -> Result<(), Failure> {
    let is_over = |pid: u32| {
        let stays = kept == Kept::Stays && runs.join(pid.to_string()).join(KEPT).exists();
        !lives(pid) && !stays
    };
    for entry in entries(Path::new("/run/netns")) {
        if owner(&entry).is_some_and(is_over) {
            remove(&entry);
        }
    }
    for entry in entries(runs) {
        if entry.parse().is_ok_and(is_over) {
            remove_folder(&runs.join(entry))?;
        }
    }
    Ok(())
}

/// A process that was killed a moment ago may still be writing its last file: one more look is enough then.
fn remove_folder(folder: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) if started.elapsed() < crate::limits::GRACE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error).context(folder.display()),
        }
    }
}

/// Says in words why namespaces cannot be made, or nothing.
pub fn require_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new("network namespaces need root: run it as root, for example with `sudo -E`"))
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Ends every process inside, then removes the name; the kernel takes the links away with it.
fn remove(name: &str) {
    for signal in ["-TERM", "-KILL"] {
        let pids = inhabitants(name);
        if pids.is_empty() {
            break;
        }
        let _ = Command::new("kill").arg(signal).args(&pids).stderr(Stdio::null()).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(1) && !inhabitants(name).is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

fn inhabitants(name: &str) -> Vec<String> {
    let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Runs a command that says nothing when all is well.
pub fn call(command: &mut Command) -> Result<(), Failure> {
    let name = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().context(&name)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{name}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_form_have_an_owner() {
        assert_eq!(owner("warren4711-gw1"), Some(4711));
        for other in ["warren-gw1", "wl_gw1", "warren12x-gw1", "4711-gw1"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_lives_and_process_zero_does_not() {
        assert!(lives(std::process::id()));
        assert!(!lives(0));
    }
}
