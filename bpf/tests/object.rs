//! The committed object is what clang makes of the committed source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12's compiler. Another version makes another object, of which nothing can be said.
const CLANG: &str = "clang-14";
const STRIP: &str = "llvm-strip-14";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("the tool starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// BTF describes the maps and stays; the rest of the debug information goes. The compilation directory is set so that
/// no path of the machine gets into the object.
fn compile(into: &Path) {
    let mut clang = Command::new(CLANG);
    clang.current_dir(directory()).args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]);
    run(clang.args(["-ffile-compilation-dir=.", "-c", "steer.bpf.c", "-o"]).arg(into));
    run(Command::new(STRIP).arg("-g").arg(into));
}

#[test]
fn the_committed_object_is_what_clang_makes_of_the_source() {
    for tool in [CLANG, STRIP] {
        if !is_there(tool) {
            println!("skipped, because {tool} is absent");
            return;
        }
    }
    let committed = directory().join("steer.bpf.o");
    if std::env::var_os("WARREN_REGENERATE").is_some() {
        compile(&committed);
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let fresh = scratch.path().join("steer.bpf.o");
    compile(&fresh);
    assert!(
        std::fs::read(&fresh).unwrap() == std::fs::read(&committed).unwrap(),
        "steer.bpf.o is not what steer.bpf.c compiles to: run this test once with WARREN_REGENERATE=1"
    );
}

#[test]
fn the_object_names_no_absolute_path() {
    let octets = std::fs::read(directory().join("steer.bpf.o")).unwrap();
    for root in ["/home/", "/root/", "/tmp/", "/usr/", env!("CARGO_MANIFEST_DIR")] {
        assert!(!octets.windows(root.len()).any(|window| window == root.as_bytes()), "{root}");
    }
}
