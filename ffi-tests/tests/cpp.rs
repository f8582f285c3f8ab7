//! The tests of `include/wal.hpp` in `cpp/`: with and without exceptions, under the sanitizers, and what compilers say to the header.

use std::path::Path;
use std::process::Command;

use wal_ffi_tests::{CPP, Library, PLAIN_CPP, Program, Tool, archive, build, have, list, must, run_against, run_under, scratch, skipped};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// Standards and warnings that hosts compile with.
const STANDARDS: [&str; 3] = ["-std=c++17", "-std=c++20", "-std=c++2b"];
const WARNINGS: [&str; 8] =
    ["-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wold-style-cast"];
const PLAIN: [&str; 2] = ["-fno-exceptions", "-fno-rtti"];

fn every_test(program: Program<'_>, run: impl Fn(&str)) {
    let tests = list(&build(program, Library::Static, TMP));
    assert!(tests.len() >= 20, "{} has only {tests:?}", program.name);
    tests.iter().for_each(|test| run(test));
}

#[test]
fn with_exceptions_against_the_archive() {
    every_test(CPP, |test| run_against(CPP, Library::Static, TMP, test));
}

#[test]
fn with_exceptions_against_the_shared_library() {
    every_test(CPP, |test| run_against(CPP, Library::Shared, TMP, test));
}

#[test]
fn without_exceptions_and_rtti() {
    every_test(PLAIN_CPP, |test| run_against(PLAIN_CPP, Library::Static, TMP, test));
}

#[test]
fn with_address_and_undefined_behaviour_sanitizers() {
    every_test(CPP, |test| run_under(Tool::Sanitizers, CPP, TMP, test));
}

#[test]
fn with_thread_sanitizer() {
    every_test(CPP, |test| run_under(Tool::ThreadSanitizer, CPP, TMP, test));
}

fn compilers() -> impl Iterator<Item = &'static str> {
    ["g++", "clang++"].into_iter().filter(|compiler| {
        let there = have(compiler);
        if !there {
            skipped("wal.hpp", &format!("{compiler} is not installed"));
        }
        there
    })
}

fn include() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include")
}

/// Every template and inline function is used by the tests, so they are what is compiled, as one unit.
#[test]
fn every_compiler_takes_it_in_every_standard() {
    let unit = Path::new(TMP).join("wal_hpp_unit.cpp");
    let text: String = CPP.sources.iter().map(|source| format!("#include \"{source}\"\n")).collect();
    std::fs::write(&unit, format!("#include <wal.hpp>\n#include <wal.hpp>\n{text}")).expect("a file for the unit");
    for compiler in compilers() {
        for standard in STANDARDS {
            for mode in [&[][..], &PLAIN[..]] {
                // Some warnings come with optimisation, which takes its time.
                let work = if standard == STANDARDS[0] { &["-O1", "-c", "-o", "/dev/null"][..] } else { &["-fsyntax-only"] };
                let mut command = Command::new(compiler);
                command.arg(standard).args(WARNINGS).args(mode).args(work).arg("-I").arg(include());
                must(command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("cpp")).arg(&unit));
            }
        }
    }
}

fn refuses(compiler: &str, statement: &str, because: &str) {
    let unit = Path::new(TMP).join(format!("wal_hpp_{compiler}_refused.cpp"));
    std::fs::write(&unit, format!("#include <wal.hpp>\nvoid use(walpp::log &log) {{ {statement}; }}\n")).expect("a file for the unit");
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I"]).arg(include()).arg(&unit);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(because), "{compiler} takes `{statement}`, or says another thing: {said}");
}

#[test]
fn compilers_refuse_what_would_lose_an_error_or_an_owner() {
    for compiler in compilers() {
        let thrown_away = [
            "log.put(\"key\", \"value\")",
            "log.sync()",
            "log.checkpoint(1)",
            "log.close()",
            "walpp::log::open(\"log\")",
            "walpp::pin_drop(\"log\", \"pin\")",
        ];
        for thrown_away in thrown_away {
            refuses(compiler, thrown_away, "nodiscard");
        }
        refuses(compiler, "walpp::log copy(log)", "delete");
        refuses(compiler, "walpp::batch first; walpp::batch copy(first)", "delete");
        refuses(compiler, "std::uint64_t seq = log.put(\"key\", \"value\"); (void)seq", "conver");
        refuses(compiler, "(void)log; walpp::options().on_message([](std::uint32_t, std::string_view) {})", "lvalue");
        refuses(compiler, "(void)log.put(nullptr, \"value\")", "delete");
    }
}

#[test]
fn units_with_and_without_exceptions_live_in_one_program() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cpp/mixed.cpp");
    for compiler in compilers() {
        let dir = scratch(&Path::new(TMP).join(format!("mixed-{compiler}")));
        let object = |name: &str, mode: &[&str]| {
            let object = dir.join(name);
            let mut command = Command::new(compiler);
            command.args(["-std=c++17", "-O0", "-c", "-I"]).arg(include()).args(mode).arg(&source).arg("-o").arg(&object);
            must(&mut command);
            object
        };
        // The linker keeps the first of equal functions: both orders are tried.
        let units = [object("throwing.o", &[]), object("plain.o", &PLAIN)];
        for order in [[0, 1], [1, 0]] {
            let program = dir.join("mixed");
            let mut command = Command::new(compiler);
            command.args(order.map(|unit| &units[unit])).arg(archive(TMP)).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program);
            must(&mut command);
            must(&mut Command::new(&program));
        }
    }
}
