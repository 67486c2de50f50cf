//! The tun device's side of the tunnels: leased addresses on it, and routes into it, kept as the rules are.
//!
//! Rules come and go with the policy that servers give. The control loop notes what changed while it does what the
//! tunnels want done, and this catches up with it afterwards: addresses first, because routes prefer them as sources.

use crate::kernel::Error;
use crate::kernel::mirror::View;
use crate::kernel::tun_addresses::TunAddresses;
use crate::kernel::tun_routes::{self, TunRoutes};
use std::net::IpAddr;
use warren_tunnels::{ClientState, Tunnels};

/// Everything of the tun device that the kernel keeps for us.
pub(crate) struct TunSide {
    routes: TunRoutes,
    addresses: TunAddresses,
    mark: u32,
    /// Addresses to be added and to be removed, in order.
    waiting: Vec<(IpAddr, bool)>,
    replan: bool,
    /// What an earlier start left was removed.
    swept: bool,
}

impl TunSide {
    pub(crate) const fn new(routes: TunRoutes, addresses: TunAddresses, mark: u32) -> Self {
        Self { routes, addresses, mark, waiting: Vec::new(), replan: true, swept: false }
    }

    /// An address is to be there, or not.
    pub(crate) fn want(&mut self, address: IpAddr, present: bool) {
        self.waiting.push((address, present));
        self.replan = true;
    }

    /// Rules or addresses are other ones.
    pub(crate) const fn replan(&mut self) {
        self.replan = true;
    }

    /// Catches up. What the kernel refuses is logged and left: traffic without a route goes nowhere it should not.
    pub(crate) async fn settle(&mut self, tunnels: &Tunnels, view: &View) {
        for (address, present) in std::mem::take(&mut self.waiting) {
            let changed = match present {
                true => self.addresses.add(address).await,
                false => self.addresses.remove(address).await,
            };
            match changed {
                Ok(()) if present => tracing::info!("{address} is ours, on the tun device"),
                Ok(()) => tracing::info!("{address} is not ours any more"),
                Err(error) => tracing::error!("{error}"),
            }
        }
        if std::mem::take(&mut self.replan)
            && let Err(error) = self.route(tunnels, view).await
        {
            tracing::error!("routes into the tunnels for our own traffic: {error}");
        }
        if !self.swept && tunnels.clients().iter().all(|client| is_settled(client.state)) {
            self.swept = true;
            if let Err(error) = self.routes.sweep(self.mark).await {
                tracing::error!("what an earlier start left: {error}");
            }
        }
    }

    async fn route(&mut self, tunnels: &Tunnels, view: &View) -> Result<(), Error> {
        // The mirror hears of a new address only a moment later. Leased ones first: they are what tunnels are for.
        let mut own: Vec<_> = self.addresses.addresses().collect();
        own.extend(&view.forwarding.local);
        let plan = tun_routes::plan(tunnels.rules(), &tunnels.shielded(), &own)?;
        self.routes.update(plan).await
    }
}

/// Whether a server's policy is known, or nobody wants it: what it protected before need not be guessed any more.
const fn is_settled(state: ClientState) -> bool {
    matches!(state, ClientState::Configured | ClientState::Closed)
}
