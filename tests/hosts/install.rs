//! `make install`, and fresh projects that use what it installed.

use std::fs;
use std::path::Path;

use crate::workshop::{command, contents, folder, installed, make, must, present, read, root, write};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an installation consists of, below its prefix; the libraries' directory is `lib`.
fn expected(lib: &str) -> Vec<String> {
    let mut files = vec![
        "include/wal.h".to_string(),
        "include/wal.hpp".to_string(),
        format!("{lib}/cmake/wal/wal-config-version.cmake"),
        format!("{lib}/cmake/wal/wal-config.cmake"),
        format!("{lib}/libwal.a"),
        format!("{lib}/libwal.so"),
        format!("{lib}/libwal.so.{}", wal::WAL_ABI_VERSION),
        format!("{lib}/libwal.so.{VERSION}"),
        format!("{lib}/pkgconfig/wal-static.pc"),
        format!("{lib}/pkgconfig/wal.pc"),
    ];
    files.sort();
    files
}

/// The library's part of an installation.
fn of_the_library(folder: &Path) -> Vec<String> {
    contents(folder).into_iter().filter(|file| file.starts_with("lib") || file.starts_with("include")).collect()
}

#[test]
fn everything_is_installed_under_its_name() {
    if !present("make install", &["make", "cc", "nm"]) {
        return;
    }
    let prefix = installed();
    assert_eq!(of_the_library(prefix), expected("lib"));
    let link = |name: &str| fs::read_link(prefix.join("lib").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let soname = format!("libwal.so.{}", wal::WAL_ABI_VERSION);
    assert_eq!(link("libwal.so"), Path::new(&soname));
    assert_eq!(link(&soname), Path::new(&format!("libwal.so.{VERSION}")));
    for header in ["wal.h", "wal.hpp"] {
        let installed = fs::read_to_string(prefix.join("include").join(header)).expect(header);
        assert!(installed == read(format!("include/{header}")), "{header} is not the one of this checkout");
    }
}

/// The program of the header; each run adds five bytes to what the runs before left.
fn runs(program: &Path, libraries: Option<&Path>) {
    let directory = program.with_extension("run");
    fs::create_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for run in 1..=3 {
        let mut command = command(program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        assert_eq!(must(command.current_dir(&directory)), format!("{} bytes\n", run * 5), "{}", program.display());
    }
}

fn needs_the_shared_library(program: &Path) -> bool {
    let needed = must(command("readelf").arg("-d").arg(program));
    let ours = needed.lines().filter(|line| line.contains("(NEEDED)") && line.contains("libwal")).collect::<Vec<_>>();
    assert!(ours.iter().all(|line| line.contains(&format!("[libwal.so.{}]", wal::WAL_ABI_VERSION))), "{ours:?}");
    !ours.is_empty()
}

/// The two programs that are shown to newcomers.
fn copy_sources(to: &Path) {
    for (from, name) in [("examples-c/first.c", "first.c"), ("examples-cpp/first.cpp", "first.cpp")] {
        fs::copy(root().join(from), to.join(name)).unwrap_or_else(|error| panic!("{from}: {error}"));
    }
}

#[test]
fn pkg_config_names_all_that_a_program_needs() {
    if !present("pkg-config", &["make", "cc", "c++", "nm", "readelf", "pkg-config"]) {
        return;
    }
    let prefix = installed();
    let pkg_config = |arguments: &[&str]| must(command("pkg-config").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(arguments));
    assert_eq!(pkg_config(&["--modversion", "wal"]).trim(), VERSION);
    let here = folder("pkg-config");
    copy_sources(&here);
    let ways = [
        ("shared", "", pkg_config(&["--cflags", "--libs", "wal"])),
        ("archive", "", pkg_config(&["--cflags", "--libs", "wal-static"])),
        ("static", "-static", pkg_config(&["--static", "--cflags", "--libs", "wal"])),
    ];
    for (compiler, source) in [("cc", "first.c"), ("c++", "first.cpp")] {
        for (way, first, flags) in &ways {
            let program = here.join(format!("{compiler}-{way}"));
            let mut compile = command(compiler);
            compile.args(first.split_whitespace()).arg(here.join(source)).arg("-o").arg(&program);
            must(compile.args((source == "first.cpp").then_some("-std=c++17")).args(flags.split_whitespace()));
            assert_eq!(needs_the_shared_library(&program), *way == "shared");
            runs(&program, (*way == "shared").then_some(&prefix.join("lib")));
        }
    }
}

/// Builds a project in a folder of its own, with both libraries and in both languages, and runs its programs.
fn cmake_project(name: &str, generator: &str, find: &str, variables: &[String]) {
    let here = folder(name);
    copy_sources(&here);
    write(
        here.join("CMakeLists.txt"),
        &format!(
            "cmake_minimum_required(VERSION 3.16)\nproject(fresh LANGUAGES C CXX)\nset(CMAKE_CXX_STANDARD 17)\n{find}\n\
             add_executable(c_shared first.c)\ntarget_link_libraries(c_shared PRIVATE wal::wal)\n\
             add_executable(c_static first.c)\ntarget_link_libraries(c_static PRIVATE wal::wal_static)\n\
             add_executable(cpp_shared first.cpp)\ntarget_link_libraries(cpp_shared PRIVATE wal::wal)\n\
             add_executable(cpp_static first.cpp)\ntarget_link_libraries(cpp_static PRIVATE wal::wal_static)\n"
        ),
    );
    let build = here.join("build");
    must(command("cmake").arg("-S").arg(&here).arg("-B").arg(&build).args(["-G", generator]).args(variables));
    must(command("cmake").arg("--build").arg(&build));
    for program in ["c_shared", "c_static", "cpp_shared", "cpp_static"] {
        assert_eq!(needs_the_shared_library(&build.join(program)), program.ends_with("shared"), "{name}: {program}");
        runs(&build.join(program), None);
    }
    // What is built is not built again.
    let built = |program: &str| fs::metadata(build.join(program)).and_then(|metadata| metadata.modified()).expect("a program");
    let before = ["c_shared", "cpp_static"].map(built);
    must(command("cmake").arg("--build").arg(&build));
    assert_eq!(["c_shared", "cpp_static"].map(built), before, "{name}: linked again");
}

const CMAKE_TOOLS: [&str; 7] = ["make", "cc", "c++", "nm", "readelf", "cmake", "ninja"];

#[test]
fn cmake_finds_the_package() {
    if !present("find_package", &CMAKE_TOOLS) {
        return;
    }
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", installed().display());
    let found = format!("find_package(wal 0.1 REQUIRED)\nif(NOT wal_VERSION VERSION_EQUAL {VERSION})\nmessage(FATAL_ERROR)\nendif()");
    cmake_project("find_package", "Unix Makefiles", &found, &[prefix]);
}

#[test]
fn cmake_tells_versions_apart() {
    if !present("versions of the package", &CMAKE_TOOLS) {
        return;
    }
    let here = folder("versions");
    let asked = [
        ("", true),
        (VERSION, true),
        ("0.1...0.9", true),
        ("0.0.1...<1", true),
        ("0.99", false),
        ("1.0", false),
        ("0.0.1...<0.1", false),
        ("0.99...1.5", false),
        ("0.1 EXACT", VERSION == "0.1.0"),
        ("0.0.1 EXACT", false),
    ];
    let mut text = "cmake_minimum_required(VERSION 3.19)\nproject(versions LANGUAGES NONE)\n".to_string();
    for (version, _) in asked {
        text += &format!("unset(wal_DIR CACHE)\nfind_package(wal {version} QUIET)\nmessage(STATUS \"asked <{version}> ${{wal_FOUND}}\")\n");
    }
    text += "find_package(wal QUIET COMPONENTS parts)\nmessage(STATUS \"asked <parts> ${wal_FOUND}\")\n";
    write(here.join("CMakeLists.txt"), &text);
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", installed().display());
    let said = must(command("cmake").arg("-S").arg(&here).arg("-B").arg(here.join("build")).arg(prefix));
    for (version, is_found) in asked.into_iter().chain([("parts", false)]) {
        let answer = said.lines().find_map(|line| line.strip_prefix(&format!("-- asked <{version}> "))).unwrap_or_default();
        assert_eq!(["1", "TRUE"].contains(&answer), is_found, "find_package(wal {version}): {answer}");
    }
}

#[test]
fn a_staged_installation_can_be_moved_and_removed() {
    if !present("DESTDIR", &CMAKE_TOOLS) {
        return;
    }
    installed();
    let stage = folder("stage");
    let lib = "lib/x86_64-linux-gnu";
    let arguments = [&format!("DESTDIR={}", stage.display()), "PREFIX=/opt/wal", &format!("LIBDIR=/opt/wal/{lib}")];
    make(&[&["install"], &arguments[..]].concat());
    let tree = stage.join("opt/wal");
    assert_eq!(of_the_library(&tree), expected(lib));
    for file in expected(lib).iter().filter(|file| file.ends_with(".pc") || file.ends_with(".cmake")) {
        let text = fs::read_to_string(tree.join(file)).expect(file);
        assert!(!text.contains(&stage.display().to_string()) && !text.contains('@'), "{file}: {text}");
        assert_eq!(text.contains("/opt/wal"), file.ends_with(".pc"), "{file} can be moved");
    }
    // It stands elsewhere than it was made for: that is what moving it comes to.
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", tree.display());
    cmake_project(
        "moved",
        "Ninja",
        "find_package(wal REQUIRED)\nfind_package(wal REQUIRED)",
        &[prefix, "-DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu".into()],
    );

    write(tree.join(lib).join("libother.so"), "");
    make(&[&["uninstall"], &arguments[..]].concat());
    assert_eq!(contents(&stage), [format!("opt/wal/{lib}/libother.so")]);
    assert!(!tree.join(lib).join("cmake/wal").exists());
}

#[test]
fn cmake_builds_it_along_by_add_subdirectory() {
    if !present("add_subdirectory", &CMAKE_TOOLS) {
        return;
    }
    installed();
    cmake_project("add_subdirectory", "Unix Makefiles", &format!("add_subdirectory({} wal)", root().display()), &[]);
}

#[test]
fn cmake_builds_it_along_by_fetch_content() {
    if !present("FetchContent", &CMAKE_TOOLS) {
        return;
    }
    installed();
    let fetch =
        format!("include(FetchContent)\nFetchContent_Declare(wal SOURCE_DIR {})\nFetchContent_MakeAvailable(wal)", root().display());
    cmake_project("fetch_content", "Ninja", &fetch, &[]);
}
