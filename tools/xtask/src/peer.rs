//! Foreign peers: the scripts under `tests/interop/peers`, run with their state inside the lab's folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::failure::Context;
use crate::home::Home;
use crate::lab::{Lab, Namespace, end};
use crate::{Failure, limits, repository};

/// Where the scripts and their configurations are.
pub fn folder() -> PathBuf {
    repository::root().join("tests/interop/peers")
}

/// A strongSwan in a namespace, with ESP in user space, UDP-encapsulated. Dropping it ends it.
pub struct StrongSwan {
    namespace: Namespace,
    state: PathBuf,
}

impl StrongSwan {
    /// Starts charon with the configuration folder `tests/interop/peers/conf/CASE/SIDE`.
    pub fn start(lab: &Lab, namespace: &Namespace, case: &str, side: &str) -> Result<Self, Failure> {
        let peer = Self { namespace: namespace.clone(), state: lab.folder().join("strongswan") };
        let configuration = folder().join("conf").join(case).join(side);
        peer.script("up", &[&configuration.to_string_lossy()])?;
        Ok(peer)
    }

    /// Negotiates a child, as initiator.
    pub fn initiate(&self, child: &str) -> Result<String, Failure> {
        self.script("initiate", &[child, "60"])
    }

    /// A `swanctl` command.
    pub fn control(&self, words: &[&str]) -> Result<String, Failure> {
        self.script("ctl", words)
    }

    /// Its SAs, in its own words.
    pub fn status(&self) -> Result<String, Failure> {
        self.script("status", &[])
    }

    /// The whole of its log.
    pub fn log(&self) -> String {
        let log = self.state.join(self.namespace.name()).join("charon.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        end_of(&self.log(), 40)
    }

    fn script(&self, verb: &str, words: &[&str]) -> Result<String, Failure> {
        let mut command = bounded(&folder().join("strongswan-peer.sh"));
        command.arg(verb).arg(self.namespace.name()).args(words).env("PEER_STATE", &self.state);
        said(&mut command)
    }
}

impl Drop for StrongSwan {
    fn drop(&mut self) {
        // Whatever is still there dies with its namespace.
        let _ = self.script("down", &[]);
    }
}

/// A vpnc in a namespace. Dropping it ends it.
pub struct Vpnc {
    child: Child,
    log: PathBuf,
}

impl Vpnc {
    /// The device that it makes.
    pub const DEVICE: &'static str = "vpnc0";

    /// Starts it. `group` is a name and a secret, `user` a name and a password.
    pub fn start(
        lab: &Lab,
        namespace: &Namespace,
        gateway: &str,
        group: (&str, &str),
        user: (&str, &str),
    ) -> Result<Self, Failure> {
        let home = Home::new(lab, "vpnc")?;
        let text = format!(
            "IPSec gateway {gateway}\nIPSec ID {}\nIPSec secret {}\nXauth username {}\nXauth password {}\n\
             IKE DH Group dh14\nPerfect Forward Secrecy nopfs\nInterface name {}\nScript {}\nPidfile {}\n\
             Debug 2\nNo Detach\n",
            group.0,
            group.1,
            user.0,
            user.1,
            Self::DEVICE,
            folder().join("vpnc-script").display(),
            home.file("pid").display(),
        );
        let (file, log) = (home.write("vpnc.conf", &text)?, home.file("vpnc.log"));
        let out = File::create(&log).context(log.display())?;
        let errors = out.try_clone().context(log.display())?;
        let mut command = namespace.command("vpnc");
        let child = command.arg(file).stdout(out).stderr(errors).spawn().context("vpnc")?;
        Ok(Self { child, log })
    }

    /// The end of what it says.
    pub fn last_words(&self) -> String {
        end_of(&std::fs::read_to_string(&self.log).unwrap_or_default(), 40)
    }
}

impl Drop for Vpnc {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A Linux kernel of its own on a tap in a namespace, with real XFRM. Dropping it halts it.
pub struct Kernel {
    namespace: Namespace,
    tap: String,
    state: PathBuf,
}

impl Kernel {
    /// Boots it with an outer address.
    pub fn boot(lab: &Lab, namespace: &Namespace, tap: &str, address: &str) -> Result<Self, Failure> {
        let kernel =
            Self { namespace: namespace.clone(), tap: tap.to_owned(), state: lab.folder().join("kernel") };
        std::fs::create_dir_all(&kernel.state).context(kernel.state.display())?;
        kernel.script("up", &[address])?;
        Ok(kernel)
    }

    /// Replaces all its SAs by one manual pair; returns what the script says of the keys.
    pub fn manual(&self, settings: &[&str]) -> Result<String, Failure> {
        self.script("manual", settings)
    }

    /// Replaces all its SAs by a strongSwan whose SAs live in that kernel.
    pub fn charon(&self, configuration: &Path) -> Result<String, Failure> {
        self.script("charon", &[&configuration.to_string_lossy()])
    }

    /// Runs shell text in the guest.
    pub fn shell(&self, text: &str) -> Result<String, Failure> {
        self.script("exec", &[text])
    }

    /// Its addresses, packets per SA and XFRM errors.
    pub fn status(&self) -> Result<String, Failure> {
        self.script("status", &[])
    }

    fn script(&self, verb: &str, words: &[&str]) -> Result<String, Failure> {
        let mut command = bounded(&folder().join("linux-peer.sh"));
        command.arg(verb).arg(self.namespace.name()).arg(&self.tap).args(words);
        said(command.env("PEER_STATE", &self.state).env("WAIT", limits::SCRIPT.as_secs().to_string()))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Whatever is still there dies with its namespace.
        let _ = self.script("down", &[]);
    }
}

fn end_of(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A script that is ended when it takes longer than any case may.
fn bounded(script: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &limits::SCRIPT.as_secs().to_string()]).arg(script);
    command
}

/// Runs a script and returns its output; when it fails, both streams are the reason.
fn said(command: &mut Command) -> Result<String, Failure> {
    let name = format!("{command:?}").replace('"', "");
    let output = command.stdin(std::process::Stdio::null()).output().context(&name)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{name}: {}{}", text, errors.trim())))
}
