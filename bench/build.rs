//! Builds the library's static archive, as a C program would link it, and links it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // A target directory of its own: cargo holds the lock of the one that this script runs in.
    let target = variable("OUT_DIR")?.join("libwal");
    cargo(&["rustc", "-p", "wal", "--crate-type", "staticlib"], &root, &target)?;
    // What calls the engine beside the ABI cannot be linked with the archive, which has the engine in it.
    cargo(&["build", "-p", "wal-crossing"], Path::new(env!("CARGO_MANIFEST_DIR")), &target)?;
    println!("cargo:rustc-env=WAL_CROSSING={}", target.join("release/wal-crossing").display());
    cc::Build::new().file("src/abi.c").include(root.join("include")).std("c11").compile("bench_abi");
    println!("cargo:rustc-link-search=native={}", target.join("release").display());
    println!("cargo:rustc-link-lib=static=wal");
    if variable("CARGO_CFG_TARGET_OS")?.as_os_str() == "linux" {
        // Calls of these, the library's included, go to `allocations.rs`, which counts them.
        for function in ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"] {
            println!("cargo:rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
    for source in
        ["Cargo.toml", "Cargo.lock", "build.rs", "include", "src", "engine/Cargo.toml", "engine/src", "bench/src/abi.c", "bench/crossing"]
    {
        watch(&root.join(source));
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

fn cargo(arguments: &[&str], workspace: &Path, target: &Path) -> Result<(), String> {
    let status = Command::new(variable("CARGO")?)
        .args(arguments)
        .args(["--release", "--locked", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        // The library is built as its users build it, whatever holds for this crate.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set"))
}

/// Has this script run again when something in `path` changes.
fn watch(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        watch(&entry.path());
    }
}
