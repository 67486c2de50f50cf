//! Pages of 2 MB for the programs beside ours, which are made for them: without, they would be slower than they are.
//!
//! Where the machine has too few to spare, root sets some aside and gives them back at the end; else it is done with
//! ordinary ones, and the rows say so.

use std::fs;

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
/// What a gateway takes: its packets, its SAs, and what its memory is managed with.
pub(super) const MEBIBYTES: u32 = 512;
/// Pages that must be free for that, with some to spare.
const WANTED: u64 = MEBIBYTES as u64 / 2 + 64;

/// Large pages, or the lack of them.
pub(super) struct Pages {
    are_huge: bool,
    /// How many were set aside before, by whoever set them aside.
    before: Option<u64>,
}

impl Pages {
    /// Looks, and sets some aside if that may be done.
    pub(super) fn new() -> Self {
        let before = reserved();
        Self { are_huge: top_up(), before }
    }

    /// The words of a command line. Asked before each start: others on the machine may have taken some meanwhile.
    pub(super) fn words(&self) -> Result<&'static str, String> {
        // Either way nothing is left in a file system.
        match self.are_huge {
            true if top_up() => Ok("--in-memory"),
            true => Err("somebody else has taken the pages of 2 MB".to_owned()),
            false => Ok("--no-huge"),
        }
    }

    /// For a row.
    pub(super) fn note(&self) -> &'static str {
        if self.are_huge { "pages of 2 MB" } else { "pages of 4 kB, for lack of others" }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && reserved() != Some(before)
        {
            // Nobody to tell; the file is still there to be written by hand.
            let _ = fs::write(RESERVED, before.to_string());
        }
    }
}

/// Whether enough are free, if need be after setting more aside: the kernel finds as many as it can.
fn top_up() -> bool {
    let missing = WANTED.saturating_sub(free());
    if missing > 0
        && let Some(reserved) = reserved()
    {
        // Not allowed, or not possible: what counts is how many there are.
        let _ = fs::write(RESERVED, (reserved + missing).to_string());
    }
    free() >= WANTED
}

fn reserved() -> Option<u64> {
    fs::read_to_string(RESERVED).ok()?.trim().parse().ok()
}

/// Pages that nobody uses. Zero where there are none to ask for.
fn free() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let are_of_two_megabytes =
        text.lines().any(|line| line.split_whitespace().eq(["Hugepagesize:", "2048", "kB"]));
    let free = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    free.filter(|_| are_of_two_megabytes).and_then(|free| free.trim().parse().ok()).unwrap_or(0)
}
