//! Builds the C tests in `c/` and the C++ tests in `cpp/` against the libraries that are shipped, and runs them: each in a process and a directory of its own.
//!
//! The libraries are built by `cargo rustc` into a target directory of their own: this crate runs while Cargo holds the usual one. What is built once is used
//! by every test, also when a test runner starts a process for each of them.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

/// The target that the sanitized library is built for: build scripts and macros must stay without a sanitizer, which a target of their own sees to.
pub const SANITIZED_TARGET: &str = "x86_64-unknown-linux-gnu";

/// How a runner exits that found out that its test cannot run here.
const EXIT_SKIPPED: i32 = 77;

/// What the C programs are linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `libwal.a`.
    Static,
    /// `libwal.so`.
    Shared,
    /// `libwal.a` built with AddressSanitizer, and C with AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
    /// `libwal.a` and C built with ThreadSanitizer, and so is all of Rust's standard library that is in it: what is not looks like a race.
    Threaded,
}

use Library::{Sanitized, Shared, Static, Threaded};

/// A program made of C files, or of C++ files.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its files: in `c/`, or in `cpp/` if they end so.
    pub sources: &'a [&'a str],
    /// Further arguments to the compiler, which also links.
    pub arguments: &'a [&'a str],
}

/// The program that holds the tests.
pub const RUNNER: Program<'static> = Program {
    name: "runner",
    sources: &[
        "main.c",
        "groups.c",
        "harness.c",
        "faults.c",
        "appending.c",
        "packed.c",
        "opening.c",
        "forking.c",
        "checkpoint.c",
        "replay.c",
        "modes.c",
        "crash.c",
        "failing.c",
        "damage.c",
        "threads.c",
        "arguments.c",
        "panics.c",
        "pins.c",
        "watching.c",
        "live.c",
        "disk.c",
        "storage.c",
        "layers.c",
        "direct.c",
    ],
    arguments: &[],
};

/// The program whose allocations fail. Apart, because it has an allocator of its own.
pub const MEMORY: Program<'static> =
    Program { name: "memory", sources: &["main.c", "harness.c", "memory.c", "allocator.c", "through.c"], arguments: &[] };

const CPP_SOURCES: &[&str] = &["main.cpp", "results.cpp", "logs.cpp", "replays.cpp", "readers.cpp", "messages.cpp"];
/// The tests of `include/wal.hpp`.
pub const CPP: Program<'static> = Program { name: "cpp", sources: CPP_SOURCES, arguments: &[] };
/// The same for hosts that have switched off what C++ hosts switch off.
pub const PLAIN_CPP: Program<'static> = Program { name: "plain-cpp", sources: CPP_SOURCES, arguments: &["-fno-exceptions", "-fno-rtti"] };

/// Where the packages of the system put a compiler together with its sources, which rustup's has only with a component that needs the network.
const SYSTEM_BIN: &str = "/usr/bin";
const SYSTEM_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/Cargo.toml";
/// The C compiler whose ThreadSanitizer is of the same making as that compiler's.
const THREADED_COMPILER: &str = "clang-22";

/// Whether everything that a test needs must be there.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// Says that a test did not run; where everything must be there, that is a failure.
pub fn skipped(test: &str, reason: &str) {
    assert!(!in_ci(), "{test} cannot run here: {reason}");
    eprintln!("SKIPPED {test}: {reason}");
}

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace_dir() -> &'static Path {
    crate_dir().parent().unwrap_or(crate_dir())
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) -> Output {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}"),
    };
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Whether a program answers to `--version`.
pub fn have(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What the header says about the name of the shared library.
fn abi_version() -> String {
    let path = workspace_dir().join("include/wal.h");
    let header = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let defined = header.lines().find_map(|line| line.strip_prefix("#define WAL_ABI_VERSION"));
    let number = defined.and_then(|rest| rest.split_whitespace().next());
    number.unwrap_or_else(|| panic!("{} does not define WAL_ABI_VERSION", path.display())).into()
}

impl Program<'_> {
    fn is_cpp(&self) -> bool {
        self.sources.iter().all(|source| source.ends_with(".cpp"))
    }

    fn compiler(&self, library: Library) -> OsString {
        match (self.is_cpp(), library == Threaded) {
            (false, false) => std::env::var_os("CC").unwrap_or_else(|| "cc".into()),
            (false, true) => THREADED_COMPILER.into(),
            (true, false) => std::env::var_os("CXX").unwrap_or_else(|| "c++".into()),
            (true, true) => THREADED_COMPILER.replace("clang", "clang++").into(),
        }
    }
}

/// Where everything is built, and the lock that lets one process, and in it one thread, build at a time.
struct Workshop {
    dir: PathBuf,
    _lock: File,
}

impl Workshop {
    fn enter(tmp: &Path) -> Workshop {
        let dir = tmp.parent().unwrap_or(tmp).join("ffi-lib");
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let path = dir.join("lock");
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Workshop { dir, _lock: lock }
    }

    /// The directory that holds the built library.
    fn library(&self, library: Library) -> PathBuf {
        if library == Threaded {
            return self.threaded_library();
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let crate_type = if library == Shared { "cdylib" } else { "staticlib" };
        let dir = self.dir.join(crate_type);
        cargo.current_dir(workspace_dir()).args(["rustc", "--release", "--package", "wal", "--lib", "--crate-type", crate_type]);
        if library == Sanitized {
            let dir = self.dir.join("sanitized");
            let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
            flags.push(" -Zsanitizer=address");
            cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
            must(cargo.args(["--target", SANITIZED_TARGET, "--target-dir"]).arg(&dir));
            return dir.join(SANITIZED_TARGET).join("release");
        }
        must(cargo.arg("--target-dir").arg(&dir));
        let built = dir.join("release");
        if library == Shared {
            // The name that programs ask for at run time, as an installation makes it.
            let name = built.join(format!("libwal.so.{}", abi_version()));
            if !name.exists() {
                std::os::unix::fs::symlink("libwal.so", &name).unwrap_or_else(|error| panic!("{}: {error}", name.display()));
            }
        }
        built
    }

    /// The standard library is built along, once; that takes most of the time. Little optimised, which is quicker and shows more in a report.
    fn threaded_library(&self) -> PathBuf {
        let dir = self.dir.join("threaded");
        let mut cargo = Command::new(format!("{SYSTEM_BIN}/cargo"));
        cargo.current_dir(workspace_dir()).env("RUSTC", format!("{SYSTEM_BIN}/rustc")).env("RUSTC_BOOTSTRAP", "1");
        cargo.env("RUSTFLAGS", "-Zsanitizer=thread").env_remove("CARGO_ENCODED_RUSTFLAGS");
        // The libraries of the compiler that runs this test.
        cargo.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
        cargo.args(["rustc", "--release", "--package", "wal", "--lib", "--crate-type", "staticlib", "--target", SANITIZED_TARGET]);
        cargo.arg("-Zbuild-std=std,panic_abort,panic_unwind");
        for setting in ["opt-level=1", "codegen-units=16", "debug=\"line-tables-only\""] {
            cargo.args(["--config", &format!("profile.release.{setting}")]);
        }
        must(cargo.arg("--target-dir").arg(&dir));
        dir.join(SANITIZED_TARGET).join("release")
    }

    /// Compiles and links, unless that was done before with the same sources, flags and library.
    fn program(&self, program: Program<'_>, library: Library) -> PathBuf {
        let library_dir = self.library(library);
        let file = library_dir.join(if library == Shared { "libwal.so" } else { "libwal.a" });
        let sources = crate_dir().join(if program.is_cpp() { "cpp" } else { "c" });
        let standard = if program.is_cpp() { "-std=c++17" } else { "-std=c11" };
        let mut flags: Vec<OsString> =
            [standard, "-D_GNU_SOURCE", "-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow"]
                .map(OsString::from)
                .into();
        flags.push("-I".into());
        flags.push(workspace_dir().join("include").into());
        if library != Shared {
            flags.push("-DWAL_STATIC".into());
        }
        if library == Sanitized {
            flags.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"].map(OsString::from));
        }
        if library == Threaded {
            flags.push("-fsanitize=thread".into());
        }
        flags.push("-o".into());
        let built = self.dir.join(format!("{}-{library:?}", program.name).to_lowercase());
        flags.push(built.clone().into());
        flags.extend(program.sources.iter().map(|source| sources.join(source).into()));
        flags.push(file.clone().into());
        if library == Shared {
            let mut path = OsString::from("-Wl,-rpath,");
            path.push(&library_dir);
            flags.push(path);
        }
        flags.extend(program.arguments.iter().map(OsString::from));
        // What Rust's standard library needs from the system.
        flags.extend(["-lpthread", "-ldl", "-lm"].map(OsString::from));

        let stamp = built.with_extension("stamp");
        let compiler = program.compiler(library);
        let state = fingerprint(&compiler, &flags, &sources, &file);
        if !built.exists() || fs::read_to_string(&stamp).ok().as_ref() != Some(&state) {
            must(Command::new(compiler).args(&flags));
            fs::write(&stamp, state).unwrap_or_else(|error| panic!("{}: {error}", stamp.display()));
        }
        built
    }
}

/// Says whether a program has to be built again.
fn fingerprint(compiler: &OsStr, flags: &[OsString], sources: &Path, library: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    compiler.hash(&mut hasher);
    flags.hash(&mut hasher);
    let mut dirs = ["include", "examples-c", "examples-cpp"].map(|dir| workspace_dir().join(dir)).to_vec();
    dirs.push(sources.into());
    let mut files: Vec<PathBuf> =
        dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())).collect();
    files.sort();
    for file in files {
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    let changed = fs::metadata(library).and_then(|metadata| metadata.modified()).ok();
    changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The program, built. `tmp` is the test's `CARGO_TARGET_TMPDIR`.
pub fn build(program: Program<'_>, library: Library, tmp: &str) -> PathBuf {
    static BUILT: Mutex<Vec<(String, Library, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((.., path)) = built.iter().find(|(name, with, _)| name == program.name && *with == library) {
        return path.clone();
    }
    let path = Workshop::enter(Path::new(tmp)).program(program, library);
    built.push((program.name.into(), library, path.clone()));
    path
}

/// Where the files of tests go whose subject is not the disk: into memory, if the system has such a place.
pub fn memory(tmp: &str) -> String {
    const MEMORY: &str = "/dev/shm";
    if Path::new(MEMORY).is_dir() { format!("{MEMORY}/wal-ffi-tests-{}", std::process::id()) } else { tmp.into() }
}

/// A directory for one test, made empty.
pub fn scratch(dir: &Path) -> PathBuf {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
    fs::create_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir.into()
}

/// The names of all C tests: `group.test`.
pub fn list(runner: &Path) -> Vec<String> {
    let output = must(Command::new(runner).arg("--list"));
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

/// Runs `one` for each C test of a group of the program; a group without tests is a failure.
pub fn for_each_in_group(program: Program<'_>, library: Library, tmp: &str, group: &str, one: impl Fn(&str)) {
    let tests: Vec<_> = list(&build(program, library, tmp)).into_iter().filter(|test| test.split('.').next() == Some(group)).collect();
    assert!(!tests.is_empty(), "there are no tests in {group}");
    tests.iter().for_each(|test| one(test));
}

/// Whether valgrind has found anything but leaks: what its own process leaked shows in the exit status, and a child that was killed "leaks" all it had.
/// Paragraphs stand apart by lines that are empty but for the process's number.
fn has_findings(said: &str) -> bool {
    let mut begins = true;
    for line in said.lines() {
        let Some((_, text)) = line.strip_prefix("==").and_then(|rest| rest.split_once("==")) else {
            continue;
        };
        let text = text.trim();
        if begins && !text.is_empty() && !text.contains("definitely lost") {
            return true;
        }
        begins = text.is_empty();
    }
    false
}

/// A tool that finds mistakes in what runs under it, or is built with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Memcheck.
    Valgrind,
    /// AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitizers,
    /// ThreadSanitizer.
    ThreadSanitizer,
}

impl Tool {
    /// Why it cannot be used here.
    pub fn lacks(self) -> Option<&'static str> {
        let for_sanitizers = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));
        match self {
            Tool::Valgrind if !have("valgrind") => Some("valgrind is not installed"),
            Tool::Sanitizers | Tool::ThreadSanitizer if !for_sanitizers => Some("the library is built so for x86_64 Linux only"),
            Tool::ThreadSanitizer if !have_system_compiler() => Some("install cargo-web, rustc-web and rust-web-src"),
            Tool::ThreadSanitizer if !have(THREADED_COMPILER) => Some("install clang-22 and libclang-rt-22-dev"),
            _ => None,
        }
    }

    /// What it is used with.
    pub fn library(self) -> Library {
        match self {
            Tool::Valgrind => Static,
            Tool::Sanitizers => Sanitized,
            Tool::ThreadSanitizer => Threaded,
        }
    }

    /// The program that runs the other one, and its arguments.
    pub fn wrapper(self) -> &'static [&'static str] {
        match self {
            Tool::Valgrind => &[
                "valgrind",
                "--quiet",
                "--error-exitcode=99",
                "--leak-check=full",
                "--errors-for-leak-kinds=definite",
                "--show-leak-kinds=definite",
                "--fair-sched=yes",
                // A program's own allocator stays the program's: what it gets its memory from is watched.
                "--soname-synonyms=somalloc=nouserintercepts",
            ],
            Tool::Sanitizers | Tool::ThreadSanitizer => &[],
        }
    }

    /// What it is told.
    pub fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Tool::Valgrind => &[("WAL_TEST_MEMCHECK", "1")],
            Tool::Sanitizers => &[
                // An allocation that fails is an answer and no mistake.
                ("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=1:allocator_may_return_null=1"),
                ("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1"),
            ],
            // A child made by fork may start a thread of its own log, which the tool by itself takes for the end of what it understands.
            Tool::ThreadSanitizer => &[("TSAN_OPTIONS", "halt_on_error=1:exitcode=99:die_after_fork=0:second_deadlock_stack=1")],
        }
    }
}

fn have_system_compiler() -> bool {
    Path::new(SYSTEM_SOURCES).exists() && have(&format!("{SYSTEM_BIN}/cargo")) && have(&format!("{SYSTEM_BIN}/rustc"))
}

/// Runs one C test of a program under a tool. The long ones do a part of their work; what they do is counted by `scaled` in `c/harness.c`.
pub fn run_under(tool: Tool, program: Program<'_>, tmp: &str, test: &str) {
    if let Some(reason) = tool.lacks() {
        skipped(&format!("{tool:?} {test}"), reason);
        return;
    }
    let runner = build(program, tool.library(), tmp);
    let dir = Path::new(&memory(tmp)).join(format!("{tool:?}.{test}").to_lowercase());
    let environment = [tool.environment(), &[("WAL_TEST_SCALE", "small"), ("WAL_TEST_SECONDS", "300")]].concat();
    run(tool.wrapper(), &environment, &runner, test, &scratch(&dir));
}

/// Runs one C test, by `wrapper` if one is given (a program and its arguments); what it printed. The directory is removed if it succeeds and left otherwise.
fn run(wrapper: &[&str], environment: &[(&str, &str)], runner: &Path, test: &str, dir: &Path) -> String {
    let mut command = match wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(runner);
            command
        }
        None => Command::new(runner),
    };
    command.arg(test).arg(dir).envs(environment.iter().copied()).env("RUST_BACKTRACE", "1");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(EXIT_SKIPPED) {
        skipped(test, out.trim());
    } else {
        let found = !wrapper.is_empty() && has_findings(&said);
        assert!(output.status.success() && !found, "{test}: {}; its files are in {}\n{out}{said}", output.status, dir.display());
    }
    // What cannot be removed is no failure of the test.
    let _still_there = fs::remove_dir_all(dir);
    if dir.starts_with("/dev/shm")
        && let Some(parent) = dir.parent()
    {
        let _not_empty = fs::remove_dir(parent);
    }
    out.into_owned()
}

fn run_in(place: &str, program: Program<'_>, library: Library, tmp: &str, test: &str) -> String {
    let runner = build(program, library, tmp);
    let dir = Path::new(place).join(format!("{library:?}.{test}").to_lowercase());
    run(&[], &[], &runner, test, &scratch(&dir))
}

/// Runs one C test of a program against a library. What it counted is printed, to be added up.
pub fn run_against(program: Program<'_>, library: Library, tmp: &str, test: &str) {
    let printed = run_in(&memory(tmp), program, library, tmp, test);
    printed.lines().filter(|line| line.starts_with("tally: ")).for_each(|line| println!("{line}"));
}

/// Whether files in `dir` can be written past the system's cache.
fn takes_direct_writes(dir: &Path) -> bool {
    let path = dir.join("probe");
    let probed = File::create(&path).and_then(|_| OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path));
    probed.is_ok() && fs::remove_file(path).is_ok()
}

/// Runs one C test of a program against the shared library, with logs that write past the system's cache where the test allows it. In memory if that can be done
/// there, which depends on the system's age.
pub fn run_direct(program: Program<'_>, tmp: &str, test: &str) {
    let runner = build(program, Shared, tmp);
    let name = format!("direct.{test}").to_lowercase();
    let in_memory = scratch(&Path::new(&memory(tmp)).join(&name));
    let dir = if takes_direct_writes(&in_memory) { in_memory } else { scratch(&Path::new(tmp).join(name)) };
    run(&[], &[("WAL_TEST_DIRECT", "1")], &runner, test, &dir);
}

/// Runs one C test against the static archive, on the disk.
pub fn run_static(tmp: &str, test: &str) {
    run_in(tmp, RUNNER, Static, tmp, test);
}

/// The static archive itself, for what is compiled differently from a [`Program`].
pub fn archive(tmp: &str) -> PathBuf {
    Workshop::enter(Path::new(tmp)).library(Static).join("libwal.a")
}
