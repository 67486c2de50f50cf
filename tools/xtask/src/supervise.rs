//! Ctrl-C and `kill` must not leave namespaces behind, and no handler of our own may run: signals are the shell's.
//!
//! The process becomes a small shell script that starts xtask again as its child. The script catches INT, TERM and
//! HUP, passes them on as TERM, waits, and sweeps what the child's sudden end left behind. A shell starts its
//! background jobs with INT ignored, so the first Ctrl-C reaches only the script.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::arguments::Arguments;
use crate::lab::{self, Kept};
use crate::{Failure, repository};

const MARK: &str = "WARREN_SUPERVISED";

const SCRIPT: &str = r#"
stopped=
trap 'stopped=1; kill -TERM "$child" 2>/dev/null' INT TERM HUP
"$@" & child=$!
while :; do
    wait "$child"; code=$?
    kill -0 "$child" 2>/dev/null || break
done
"$0" sweep --dead
[ -z "$stopped" ] || { echo "stopped, and everything torn down" >&2; exit 130; }
exit "$code"
"#;

/// True in the child that the script started.
pub fn is_supervised() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Returns in the child only; in the process that called first it becomes the script and never returns.
///
/// `program` is the program that can `sweep`, `words` the whole command line of the child.
pub fn supervised(program: &Path, words: &[String]) -> Result<(), Failure> {
    if is_supervised() {
        return Ok(());
    }
    let error = Command::new("/bin/sh").arg("-c").arg(SCRIPT).arg(program).args(words).env(MARK, "1").exec();
    Err(Failure::new(format!("/bin/sh: {error}")))
}

/// `xtask sweep`: what dead owners left behind; with `--dead` not what somebody wanted to keep.
pub fn sweep(mut arguments: Arguments) -> Result<(), Failure> {
    let kept = if arguments.flag("--dead") { Kept::Stays } else { Kept::Goes };
    arguments.finish()?;
    lab::sweep(&repository::target().join("xtask/run"), kept)
}
