//! One `warrend` in a namespace: its configuration file, its life, and what `dpctl` says about it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::Context;
use crate::home::Home;
use crate::lab::{Lab, Namespace, end};
use crate::topology::{Half, SITE_A, Site};
use crate::{Failure, limits, repository};

/// What a gateway negotiates. The identities and addresses follow from the two sites.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The shape of phase 1, as in `[[peer]] ike`.
    pub shape: &'static str,
    /// Phase 1, as in `[[peer]] proposals`.
    pub ike: &'static [&'static str],
    /// Phase 2, as in `[[tunnel]] esp`.
    pub esp: &'static [&'static str],
    /// Further lines for the `[[peer]]` section.
    pub peer: &'static str,
    /// Further lines for each `[[tunnel]]` section.
    pub tunnel: &'static str,
    /// Whether the IPv6 networks get a tunnel of their own.
    pub has_ipv6: bool,
    /// The pre-shared key; unused with a certificate.
    pub secret: String,
    /// Where a certificate, its key and its authority lie, laid out as strongSwan has them.
    pub credentials: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shape: "v1-main",
            ike: &["aes256-sha384-ecp384"],
            esp: &["aes256gcm16-ecp384-esn"],
            peer: "",
            tunnel: "",
            has_ipv6: true,
            secret: TEST_SECRET.to_owned(),
            credentials: None,
        }
    }
}

/// The key that the foreign peers' own configuration files carry.
pub const TEST_SECRET: &str = "warren-test-psk-6f2b0c94d1e857a3";

/// The names that the two sites go by, in the spirit of `left` and `right`.
pub fn identity(site: Site) -> &'static str {
    if site == SITE_A { "left.test" } else { "right.test" }
}

/// A running `warrend`. Dropping it ends it.
pub struct Gateway {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Writes configuration and credentials below the lab's folder and starts the daemon in the site's gateway.
    pub fn start(lab: &Lab, half: &Half, other: Site, settings: &Settings) -> Result<Self, Failure> {
        let home = Home::new(lab, &format!("gw{}", half.site.0))?;
        match &settings.credentials {
            None => drop(home.write("peer.psk", &format!("{}\n", settings.secret))?),
            Some(folder) => {
                let name = identity(half.site).trim_end_matches(".test");
                home.copy(&folder.join(format!("x509/{name}.pem")), "certificate.pem")?;
                home.copy(&folder.join(format!("private/{name}.key")), "certificate.key")?;
                home.copy(&folder.join("x509ca/ca.pem"), "authority.pem")?;
            }
        }
        home.configure(&configuration(half.site, other, &home.socket(), settings))?;
        Self::run(&half.gateway, &home)
    }

    /// Starts the daemon with the configuration that lies in its folder and names the folder's control socket.
    pub fn run(namespace: &Namespace, home: &Home) -> Result<Self, Failure> {
        let mut command = namespace.command(repository::release("warrend"));
        Self::spawn(command.arg(home.configuration()), home, home.socket())
    }

    /// Starts the daemon with a configuration that names neither control socket nor state. Both then are where they
    /// always are, below `/run` and `/var/lib`, which is why this daemon gets both for itself alone.
    pub fn run_apart(namespace: &Namespace, home: &Home) -> Result<Self, Failure> {
        let (run, lib) = (home.file("run"), home.file("lib"));
        for folder in [&run, &lib] {
            fs::create_dir_all(folder.join("warren")).context(folder.display())?;
        }
        let script = r#"mount --bind "$1" /run && mount --bind "$2" /var/lib && exec "$3" "$4""#;
        let mut command = namespace.command("/bin/sh");
        command.args(["-c", script, "sh"]).args([&run, &lib]);
        command.arg(repository::release("warrend")).arg(home.configuration());
        Self::spawn(&mut command, home, run.join("warren/warrend.sock"))
    }

    fn spawn(command: &mut Command, home: &Home, socket: PathBuf) -> Result<Self, Failure> {
        let log = home.file("warrend.log");
        let out = File::create(&log).context(log.display())?;
        let errors = out.try_clone().context(log.display())?;
        let child = command
            .stdout(Stdio::from(out))
            .stderr(Stdio::from(errors))
            .spawn()
            .context("starting warrend")?;
        Ok(Self { child, socket, log })
    }

    /// Lets it read its configuration file again.
    pub fn reload(&self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32)
            .ok_or_else(|| Failure::new("warrend has no process"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).context("kill -HUP")
    }

    /// Waits until the control socket answers.
    pub fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let asked = Instant::now();
        loop {
            let why = match self.ask(&["stats"]) {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            if let Some(status) = self.child.try_wait().context("warrend")? {
                return Err(Failure::new(format!("warrend ended with {status}\n{}", self.last_words())));
            }
            if asked.elapsed() > limits::READY {
                return Err(Failure::new(format!("warrend does not answer: {why}\n{}", self.last_words())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `dpctl WORDS --json` prints.
    pub fn ask(&self, words: &[&str]) -> Result<Value, Failure> {
        let text = self.say(&[words, &["--json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What `dpctl WORDS` prints.
    pub fn say(&self, words: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(repository::release("dpctl"));
        let command = command.arg("--socket").arg(&self.socket).args(words).stdin(Stdio::null());
        let output = command.output().context("dpctl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("dpctl {}: {}", words.join(" "), said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The rows of what `dpctl WORDS` lists.
    pub fn rows(&self, words: &[&str]) -> Result<Vec<Value>, Failure> {
        Ok(rows(self.ask(words)?))
    }

    /// The rows of `dpctl tunnel list`.
    pub fn tunnels(&self) -> Result<Vec<Value>, Failure> {
        self.rows(&["tunnel", "list"])
    }

    /// The rows of `dpctl sa`.
    pub fn sas(&self) -> Result<Vec<Value>, Failure> {
        self.rows(&["sa"])
    }

    /// Reasons for drops that happened, with their counts.
    pub fn drops(&self) -> Result<Vec<(String, u64)>, Failure> {
        let rows = self.rows(&["drops"])?;
        let each =
            rows.iter().filter_map(|row| Some((row["reason"].as_str()?.to_owned(), row["count"].as_u64()?)));
        Ok(each.filter(|(_, count)| *count > 0).collect())
    }

    /// Resident memory in KiB, from the kernel.
    pub fn resident_kib(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).context(&path)?;
        text.lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| Failure::new(format!("{path} has no VmRSS")))
    }

    /// The daemon's process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The whole of the daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the daemon's log.
    pub fn last_words(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Where the control socket is, for somebody who wants to ask for himself.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it as a crash would, without a word to anybody.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).context("killing warrend")
    }

    /// Lets it run on after this value is gone.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The list in an answer, whether it stands alone or under a name.
fn rows(value: Value) -> Vec<Value> {
    match value {
        Value::Array(rows) => rows,
        Value::Object(fields) => fields
            .into_iter()
            .find_map(|(_, field)| match field {
                Value::Array(rows) => Some(rows),
                _ => None,
            })
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The configuration file of one site.
pub fn configuration(site: Site, other: Site, socket: &Path, settings: &Settings) -> String {
    let list = |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let credentials = match settings.credentials {
        None => r#"secret = "peer.psk""#,
        Some(_) => {
            r#"authentication = "certificate"
certificate = "certificate.pem"
private_key = "certificate.key"
authority = "authority.pem""#
        }
    };
    let mut text = format!(
        r#"[gateway]
control_socket = "{socket}"

[[port]]
name = "lan"
interface = "lan"
side = "inside"

[[port]]
name = "wan"
interface = "wan"
side = "outside"

[[peer]]
name = "{peer}"
ike = "{shape}"
local = "{local}"
address = "{address}"
local_identity = "{local_identity}"
identity = "{peer_identity}"
{credentials}
proposals = [{ike}]
{peer_lines}
[[transport]]
name = "everything"
source = "any"
destination = "any"
action = "permit"
"#,
        socket = socket.display(),
        peer = peer_name(other),
        shape = settings.shape,
        local = site.outer(),
        address = other.outer(),
        local_identity = identity(site),
        peer_identity = identity(other),
        ike = list(settings.ike),
        peer_lines = settings.peer,
    );
    let mut networks = vec![("net", site.network(), other.network())];
    if settings.has_ipv6 {
        networks.push(("net6", site.network_v6(), other.network_v6()));
    }
    for (name, source, destination) in networks {
        text.push_str(&format!(
            r#"
[[tunnel]]
name = "{name}"
source = "{source}"
destination = "{destination}"
peer = "{peer}"
esp = [{esp}]
{tunnel_lines}"#,
            peer = peer_name(other),
            esp = list(settings.esp),
            tunnel_lines = settings.tunnel,
        ));
    }
    text
}

fn peer_name(other: Site) -> String {
    format!("gateway-{}", other.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::SITE_B;

    #[test]
    fn both_sites_say_the_same_from_their_own_side() {
        let text = |site, other| configuration(site, other, Path::new("/s"), &Settings::default());
        let (a, b) = (text(SITE_A, SITE_B), text(SITE_B, SITE_A));
        assert!(a.contains("local = \"198.51.100.1\"") && b.contains("address = \"198.51.100.1\""));
        assert!(a.contains("source = \"10.1.0.0/24\"") && b.contains("destination = \"10.1.0.0/24\""));
        assert!(a.contains("identity = \"right.test\"") && b.contains("local_identity = \"right.test\""));
    }

    #[test] // F-33
    fn key_stands_in_its_own_file_and_never_in_the_configuration() {
        let text = configuration(SITE_A, SITE_B, Path::new("/s"), &Settings::default());
        assert!(!text.contains(TEST_SECRET));
    }
}
