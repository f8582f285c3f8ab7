//! What the tests of this binary share: commands that must succeed, empty folders, and one installation.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn workshop() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts")
}

/// An empty folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = workshop().join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// A command with the environment of somebody who has just opened a terminal: nothing of the cargo and the make that run this test, but for where cargo
/// finds its own things. What cargo builds goes into the workshop.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = name.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&name.as_str());
        let makes = ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PREFIX", "DESTDIR", "V"].contains(&name.as_str());
        if ours || makes || name == "LD_LIBRARY_PATH" || name.starts_with("PKG_CONFIG") || name.starts_with("CMAKE_") {
            command.env_remove(name);
        }
    }
    command.env("CARGO_TARGET_DIR", workshop().join("cargo")).env("CARGO_INCREMENTAL", "0").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Runs what must succeed; what it printed.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Whether tools are there. Where everything must be tested, all must be.
pub(crate) fn present(test: &str, tools: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> = tools.iter().filter(|tool| !env::split_paths(&path).any(|dir| dir.join(tool).is_file())).collect();
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0");
    assert!(missing.is_empty() || !in_ci, "{test} needs {missing:?}");
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: {missing:?} missing");
    }
    missing.is_empty()
}

pub(crate) fn make(arguments: &[&str]) -> String {
    must(command("make").arg("--no-print-directory").arg("-C").arg(root()).args(arguments))
}

/// Where `make install` has put everything, without further arguments but the prefix.
pub(crate) fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = folder("prefix");
        make(&["all"]);
        make(&["install", &format!("PREFIX={}", prefix.display())]);
        prefix
    })
}

/// Everything below a folder that is not a folder, relative to it and in order.
pub(crate) fn contents(folder: &Path) -> Vec<String> {
    fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() && !path.is_symlink() {
                collect(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).expect("below the root").display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    found.sort();
    found
}
