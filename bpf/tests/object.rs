//! The committed objects are what clang makes of the committed sources.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12's compiler. Another version makes another object, of which nothing can be said.
const CLANG: &str = "clang-14";
const STRIP: &str = "llvm-strip-14";
const PROGRAMS: [&str; 2] = ["steer", "generate"];

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
fn compile(program: &str, into: &Path) {
    let mut clang = Command::new(CLANG);
    clang.current_dir(directory()).args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]);
    clang.args(["-ffile-compilation-dir=.", "-c"]).arg(format!("{program}.bpf.c"));
    run(clang.arg("-o").arg(into));
    run(Command::new(STRIP).arg("-g").arg(into));
}

#[test]
fn the_committed_objects_are_what_clang_makes_of_the_sources() {
    for tool in [CLANG, STRIP] {
        if !is_there(tool) {
            println!("skipped, because {tool} is absent");
            return;
        }
    }
    let scratch = tempfile::tempdir().expect("a scratch folder");
    for program in PROGRAMS {
        let committed = directory().join(format!("{program}.bpf.o"));
        if std::env::var_os("WARREN_REGENERATE").is_some() {
            compile(program, &committed);
        }
        let fresh = scratch.path().join(program);
        compile(program, &fresh);
        assert!(
            std::fs::read(&fresh).unwrap() == std::fs::read(&committed).unwrap(),
            "{program}.bpf.o is not what its source compiles to: run this test once with WARREN_REGENERATE=1"
        );
    }
}

#[test]
fn the_objects_name_no_absolute_path() {
    for program in PROGRAMS {
        let octets = std::fs::read(directory().join(format!("{program}.bpf.o"))).unwrap();
        for root in ["/home/", "/root/", "/tmp/", "/usr/", env!("CARGO_MANIFEST_DIR")] {
            assert!(!octets.windows(root.len()).any(|window| window == root.as_bytes()), "{program}: {root}");
        }
    }
}
