//! vpnc as client: an IKEv1 of its own, written for other servers. It speaks aggressive mode with a secret that a
//! group of users shares, then asks for a user and a password, then for an address, and takes everything else through
//! one SA between that address and 0.0.0.0/0.

use xtask::gateway::{Gateway, TEST_SECRET};
use xtask::home::Home;
use xtask::lab::Lab;
use xtask::listener::Listener;
use xtask::peer::Vpnc;
use xtask::topology::{ANNEX, LEASES, SITE_B, Topology, annex_port};
use xtask::traffic::{self, Sender};
use xtask::{Failure, repository};

use crate::config_mode::{address_on, traffic_between, until};
use crate::strongswan::concluded;

/// The name of the group, which vpnc sends as a key identifier.
const GROUP: &str = "visitors";
const USER: (&str, &str) = ("alice", "wonderland");

fn server_file(home: &Home) -> String {
    let annex = annex_port(ANNEX);
    let mut text = home.section();
    for (interface, side) in [("lan", "inside"), (&annex, "inside"), ("wan", "outside")] {
        text.push_str(&format!("\n[[port]]\ninterface = \"{interface}\"\nside = \"{side}\"\n"));
    }
    let keyid: String = GROUP.bytes().map(|octet| format!("{octet:02x}")).collect();
    let (user, leases) = (USER.0, LEASES.network());
    text.push_str(&format!(
        r#"
[[peer]]
name = "{GROUP}"
ike = "v1-aggressive"
address = "any"
identity = "keyid:{keyid}"
local_identity = "right.test"
secret = "peer.psk"
group_secret = true
proposals = ["aes256-sha1-modp2048"]
xauth = "server"
serves = "{GROUP}"

[[user]]
name = "{user}"
password = "{user}.password"

[[pool]]
name = "leases"
addresses = "{leases}"

[[policy]]
name = "{GROUP}"
pool = "leases"
dns = "10.2.0.53"
banner = "Welcome"
"#
    ));
    for site in [SITE_B, ANNEX] {
        let network = site.network();
        text.push_str(&format!(
            "\n[[policy.set]]\nname = \"net{}\"\nsource = \"{network}\"\nesp = [\"aes256-sha1\"]\n",
            site.0
        ));
    }
    text
}

/// Warren as server; what went wrong is told with both programs' last words.
pub(crate) fn served() -> Result<String, Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let topology = Topology::new(&mut lab)?;
    let annex = topology.b.annex(&mut lab, ANNEX)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
    let home = Home::new(&lab, "warren")?;
    home.write("peer.psk", &format!("{TEST_SECRET}\n"))?;
    home.write(&format!("{}.password", USER.0), &format!("{}\n", USER.1))?;
    home.configure(&server_file(&home))?;
    let mut gateway = Gateway::run(&topology.b.gateway, &home)?;
    gateway.wait_until_ready()?;
    let client = &topology.a.gateway;
    let vpnc = Vpnc::start(&lab, client, &SITE_B.outer().to_string(), (GROUP, TEST_SECRET), USER)?;
    let played = (|| {
        let lease = until("vpnc has an address", || address_on(client, Vpnc::DEVICE))?;
        let shown = gateway.ask(&["lease"])?.to_string();
        if !shown.contains(&lease.to_string()) || !shown.contains(USER.0) {
            return Err(Failure::new(format!("`dpctl lease` does not show {lease} of {}: {shown}", USER.0)));
        }
        let sender = Sender::at(client, lease);
        let mut remark = format!("leased {lease}");
        for (site, host) in [(SITE_B, &topology.b.host), (ANNEX, &annex)] {
            remark.push_str(&traffic_between(sender, lease, site, host)?);
        }
        Ok(remark)
    })();
    let last_words = vpnc.last_words();
    drop(vpnc);
    let parted = played.and_then(|remark| {
        until("the client is gone", || Ok(gateway.rows(&["client"])?.is_empty().then_some(())))?;
        Ok(remark)
    });
    match parted {
        Ok(remark) => concluded(listener, &remark),
        Err(failure) => Err(Failure::new(format!(
            "{failure}\n── last words of warrend ──\n{}\ndropped: {:?}\n── last words of vpnc ──\n{last_words}",
            gateway.last_words(),
            gateway.drops().unwrap_or_default(),
        ))),
    }
}
