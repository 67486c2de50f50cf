//! Answers as people read them. Each function gives `None` for an answer to another question.

mod clients;
mod drops;
mod leases;
pub(crate) mod policy;
mod rules;
mod sas;
mod stacks;
mod stages;
mod stats;
mod ted;
mod tunnels;

pub(crate) use clients::clients;
pub(crate) use drops::drops;
pub(crate) use leases::leases;
pub(crate) use policy::policies;
pub(crate) use rules::rules;
pub(crate) use sas::sas;
pub(crate) use stacks::{stack, stacks};
pub(crate) use stages::stages;
pub(crate) use stats::{headline, stats, version};
pub(crate) use ted::{ted_preview, ted_status};
pub(crate) use tunnels::tunnels;
