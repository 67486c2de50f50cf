//! `cargo xtask`: see `cargo xtask --help`.
// A program for a terminal: what it has to say goes there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use xtask::arguments::Arguments;
use xtask::{Context, Failure, capture, demo, fuzz, instructions, repository, setup, supervise, test};

fn help() -> String {
    format!(
        "\
Builds, tests and demonstrates Warren.

  cargo xtask demo [--scenario site-to-site|interop|config-mode|discovery|nested] [--seconds N] [--json FILE] [--keep]
                   [--ipv6] [--far strongswan]
      Two gateways in network namespaces, a host behind each, traffic between the hosts and a listener on the wire.
      Needs root. `interop` puts strongSwan on the far side. `config-mode` has a client with two lines of
      configuration, which reaches the networks behind a policy server through what it pulls from it. `discovery` has
      two gateways that find each other past a third, with --ipv6 in IPv6. `nested` has tunnels inside tunnels along a row
      of gateways, with --far strongswan one of them strongSwan.
      --keep leaves everything standing to look around in.
  cargo xtask test [--only STEP]... [--skip STEP]...
      Every check there is. The steps:
{}\
  cargo xtask setup
      Says which Debian packages are missing and, as root, installs them.
  cargo xtask fuzz [TARGET] [--seconds N]
      One fuzz target, or each of them, for N seconds (60).
  cargo xtask instructions [--renew]
      Counts instructions with callgrind and compares them with tests/instructions/counts.toml, or writes that anew.
  cargo xtask sim --seeds N [...]
      N seeded runs of two gateways on a virtual clock; further words go to the simulator.
  cargo xtask interop [CASE]...
      The foreign-peer cases, or those whose name contains one of the words.
  cargo xtask bench [--quick] [--only NAME]... [--json FILE] [--docs] [--peers]
      Every benchmark, or those named; --json writes each result as a line, --docs renews docs/performance.md and its
      pictures, --peers runs foreign programs beside ours where they are installed.
  cargo xtask bench NAME [...]
      One benchmark, with arguments of its own: see cargo xtask bench --help.
  cargo xtask fmt
      Formats everything.
  cargo xtask sweep
      Removes namespaces and files of runs that died.
",
        test::listing()
    )
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "--help".into());
    let arguments: Vec<String> = words.collect();
    if arguments.iter().any(|word| word == "--help" || word == "-h") && name != "sim" && name != "bench" {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    match dispatch(&name, Arguments::new(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(name: &str, arguments: Arguments) -> Result<bool, Failure> {
    match name {
        "demo" => demo::main(arguments),
        "test" => test::main(arguments),
        "setup" => arguments.finish().and_then(|()| setup::main()).map(|()| true),
        "fuzz" => fuzz::main(arguments),
        "instructions" => instructions::main(arguments),
        "sim" => {
            cargo(&test::RELEASE_PROGRAMS)?;
            run(Command::new(repository::release("sim")).args(arguments.rest()))
        }
        "bench" => bench(arguments),
        "interop" => {
            xtask::lab::require_root()?;
            cargo(&test::RELEASE_PROGRAMS)?;
            run(Command::new(repository::release("interop")).args(arguments.rest()))
        }
        "fmt" => cargo(&["fmt", "--all"]).map(|()| true),
        "capture" => capture::main(arguments).map(|()| true),
        "sweep" => supervise::sweep(arguments).map(|()| true),
        "help" | "--help" | "-h" => {
            print!("{}", help());
            Ok(true)
        }
        _ => Err(Failure::new(format!("no such command\n\n{}", help()))),
    }
}

fn bench(arguments: Arguments) -> Result<bool, Failure> {
    let words = arguments.rest();
    if words.iter().any(|word| word == "peers" || word == "--peers") {
        setup::for_peers();
    }
    built_and_run("warren-bench", "warren-bench", words)
}

/// Builds a program of the workspace with optimisation and runs it with the words that are left.
fn built_and_run(package: &str, program: &str, words: Vec<String>) -> Result<bool, Failure> {
    cargo(&["build", "--release", "--locked", "--package", package])?;
    run(Command::new(repository::release(program)).args(words))
}

fn cargo(words: &[&str]) -> Result<(), Failure> {
    match run(&mut repository::cargo(words))? {
        true => Ok(()),
        false => Err(Failure::new(format!("cargo {} failed", words.join(" ")))),
    }
}

fn run(command: &mut Command) -> Result<bool, Failure> {
    let program = PathBuf::from(command.get_program());
    Ok(command.status().context(program.display())?.success())
}
