//! Does each thing whose instructions are counted a fixed number of times, and refuses when one did not do its work.
//! `cargo xtask instructions` runs it under callgrind and compares what it counts with the table beside this package.
//!
//! Only code that takes the same path on every machine: AES-GCM kernels of our own are left out, because valgrind does not
//! execute AVX-512, and a library that looks for what the CPU has runs only where it finds what the table was made with.

mod counted;
mod engine;
mod ike;
mod sealing;

use std::hint::black_box;
use std::process::ExitCode;

/// How often each is done: what happens once, the first time, is a small share then.
const TIMES: u32 = 100;

fn main() -> ExitCode {
    match engine::run().and_then(|()| ike::run()).and_then(|()| sealing::run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(name) => {
            say(&format!("{name} does not do its work"));
            ExitCode::FAILURE
        }
    }
}

/// Does it so many times. `once` says whether the work was done; `Err` is the name.
fn repeat(name: &'static str, mut once: impl FnMut() -> bool) -> Result<(), &'static str> {
    (0..TIMES).all(|_| black_box(once())).then_some(()).ok_or(name)
}

/// Nobody listening is no reason to stop.
fn say(words: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{words}");
}
