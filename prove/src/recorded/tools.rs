//! Builds what a recording needs: the shared library as it is shipped, the recorder and the host.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What was built.
#[derive(Clone, Debug)]
pub struct Tools {
    pub library: PathBuf,
    pub recorder: PathBuf,
    pub host: PathBuf,
}

/// Runs a command that must succeed.
pub(super) fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{said}", output.status);
    output
}

/// Cargo's directory of build results, above this program.
fn target_dir() -> PathBuf {
    let program = env::current_exe().unwrap_or_else(|error| panic!("this program's own path: {error}"));
    let found = program.ancestors().find(|dir| dir.join(".rustc_info.json").exists());
    found.unwrap_or_else(|| panic!("{} is not in a directory of Cargo's", program.display())).into()
}

impl Tools {
    /// Builds them, once for a process.
    pub fn get() -> &'static Tools {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        TOOLS.get_or_init(Tools::build)
    }

    fn build() -> Tools {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = manifest_dir.parent().unwrap_or(manifest_dir);
        // The directory in which the C tests build the same library; Cargo holds the usual one while tests run.
        let target = target_dir();
        let library_target = target.join("ffi-lib/cdylib");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let rustc = ["rustc", "--quiet", "--locked", "--release", "--package", "wal", "--lib", "--crate-type", "cdylib", "--target-dir"];
        must(Command::new(cargo).current_dir(workspace).args(rustc).arg(&library_target));

        let place = target.join("recorded");
        fs::create_dir_all(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let built = |name: &str| place.join(name);
        // A copy of its own, so that nobody exchanges it while it is in use.
        let library = built("libwal.so");
        let soname = built("libwal.so.0");
        install(&library, |new| fs::copy(library_target.join("release/libwal.so"), new).map(drop));
        install(&soname, |new| std::os::unix::fs::symlink("libwal.so", new));
        let tools = Tools { library, recorder: built("record.so"), host: built("host") };
        let source = |name: &str| manifest_dir.join("c").join(name).into_os_string();
        compile(&tools.recorder, &["-fPIC", "-shared"].map(OsString::from), &[source("record.c"), "-ldl".into(), "-pthread".into()]);
        let mut include = OsString::from("-I");
        include.push(workspace.join("include"));
        let mut path = OsString::from("-Wl,-rpath,");
        path.push(&place);
        compile(&tools.host, &[include], &[source("host.c"), tools.library.clone().into(), path, "-ldl".into()]);
        tools
    }
}

/// Makes a file under another name and puts it in its place: other processes may be using what was there.
fn install(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let _was_not_there = fs::remove_file(&new);
    make(&new).and_then(|()| fs::rename(&new, path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn compile(output: &Path, options: &[OsString], inputs: &[OsString]) {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-o"];
    install(output, |new| {
        let arguments = flags.iter().map(OsStr::new).chain([new.as_os_str()]).chain(options.iter().chain(inputs).map(OsString::as_os_str));
        must(Command::new(compiler).args(arguments));
        Ok(())
    });
}
