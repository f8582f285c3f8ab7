//! The header: it is what the sources say, it names what the library exports, and every compiler takes it.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEADER: &str = "include/wal.h";
const PROGRAM: &str = "examples-c/first.c";
/// Where the program stands in the text of `cbindgen.toml`.
const PROGRAM_PLACE: &str = "@PROGRAM@";
/// Columns in the header.
const WIDTH: usize = 98;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// Making it.

fn generate() -> String {
    let mut config = cbindgen::Config::from_root_or_default(root());
    config.header = config.header.map(|text| text.replace(PROGRAM_PLACE, &commented(&read(PROGRAM))).trim_start().to_string());
    let mut raw = Vec::new();
    cbindgen::Builder::new().with_crate(root()).with_config(config).generate().expect("cbindgen takes the sources").write(&mut raw);
    render(&String::from_utf8(raw).expect("UTF-8"))
}

/// A program as part of a comment.
fn commented(program: &str) -> String {
    assert!(!program.contains("*/") && !program.contains("/*"), "the program stands in a comment");
    program.lines().map(|line| format!(" *     {line}").trim_end().to_string()).collect::<Vec<_>>().join("\n")
}

/// Something with a comment.
struct Item {
    declaration: String,
    comment: String,
}

/// Sets cbindgen's output as a person would: constants and members as tables with their comments beside them, a heading where a doc comment begins
/// with "## ", declarations without line breaks they do not need.
fn render(raw: &str) -> String {
    let body = raw.find("#ifndef WAL_H").expect("the include guard");
    let mut out = raw[..body].to_string();
    let mut table: Vec<Item> = Vec::new();
    let mut lines = raw[body..].lines();
    while let Some(line) = lines.next() {
        if line.trim() != "/**" {
            if line.starts_with('}') {
                set_members(&mut out, &take(&mut table));
            }
            if !(line.is_empty() && (out.ends_with("\n\n") || !table.is_empty())) {
                writeln!(out, "{line}").expect("a String");
            }
            continue;
        }
        let text = |line: &'_ str| line.trim_start().strip_prefix("* ").unwrap_or_default().to_string();
        let mut comment: Vec<String> = lines.by_ref().take_while(|line| line.trim() != "*/").map(text).collect();
        let heading = comment.first().and_then(|first| first.strip_prefix("## ")).map(str::to_string);
        if heading.is_some() {
            comment.remove(0);
        }
        let mut declaration = lines.next().expect("something is documented").to_string();
        let item = |declaration: String| Item { declaration, comment: comment.join(" ") };
        if let Some(constant) = declaration.strip_prefix("#define ") {
            if let Some(heading) = heading {
                set_constants(&mut out, &take(&mut table));
                writeln!(out, "/* {heading} */").expect("a String");
            }
            table.push(item(constant.to_string()));
            if constant.starts_with("WAL_VERSION_NUMBER ") {
                // cbindgen leaves strings out.
                table.push(Item {
                    declaration: format!("WAL_VERSION_STRING \"{}\"", env!("CARGO_PKG_VERSION")),
                    comment: "The same as text.".to_string(),
                });
            }
        } else if declaration.starts_with(' ') {
            table.push(item(declaration.trim().replace("struct wal_", "wal_")));
        } else {
            set_constants(&mut out, &take(&mut table));
            if let Some(heading) = heading {
                let rule = "-".repeat(WIDTH - 6);
                writeln!(out, "/* {rule}\n * {heading}\n * {rule} */\n").expect("a String");
            }
            while !declaration.ends_with([';', '{']) {
                write!(declaration, " {}", lines.next().expect("the declaration ends").trim()).expect("a String");
            }
            writeln!(out, "/**").expect("a String");
            for line in &comment {
                writeln!(out, "{}", format!(" * {line}").trim_end()).expect("a String");
            }
            writeln!(out, " */\n{}", set_declaration(&declaration)).expect("a String");
        }
    }
    out
}

fn set_constants(out: &mut String, table: &[Item]) {
    if table.is_empty() {
        return;
    }
    let split = |item: &Item| {
        let (name, value) = item.declaration.split_once(' ').expect("a name and a value");
        let value = if value.starts_with('-') { format!("({value})") } else { value.to_string() };
        (name.to_string(), value)
    };
    let name_width = table.iter().map(|item| split(item).0.len()).max().unwrap_or(0);
    let value_width = table.iter().map(|item| split(item).1.len()).max().unwrap_or(0);
    for item in table {
        let (name, value) = split(item);
        let line = format!("#define {name:name_width$} {value:value_width$}  /* {} */", item.comment);
        assert!(line.len() <= WIDTH, "six words are enough: {line}");
        writeln!(out, "{line}").expect("a String");
    }
    out.push('\n');
}

fn set_members(out: &mut String, table: &[Item]) {
    let width = table.iter().map(|item| item.declaration.len()).max().unwrap_or(0);
    for item in table {
        let mut line = format!("  {:width$}  /* ", item.declaration);
        let indent = line.len();
        for word in item.comment.split_whitespace() {
            if line.len() + 1 + word.len() + " */".len() > WIDTH {
                writeln!(out, "{}", line.trim_end()).expect("a String");
                line = format!("{:1$}* ", "", indent - 2);
            }
            if !line.ends_with("* ") {
                line.push(' ');
            }
            line.push_str(word);
        }
        writeln!(out, "{line} */").expect("a String");
    }
}

fn set_declaration(declaration: &str) -> String {
    if !declaration.contains('(') {
        return declaration.to_string();
    }
    let declaration = declaration.replace("struct wal_", "wal_");
    // The arguments of a type of functions stand behind the name's own parentheses.
    let open = declaration.find(")(").map(|at| at + 1).or(declaration.find('(')).unwrap_or(0);
    if declaration.len() <= WIDTH {
        return declaration;
    }
    let (head, arguments) = (&declaration[..open], &declaration[open + 1..]);
    let name = if head.starts_with("typedef ") { 0 } else { head.rfind([' ', '*']).map_or(0, |space| space + 1) };
    let mut line = format!("{}(", &head[name..]);
    let indent = line.len();
    let mut out = if name == 0 { String::new() } else { format!("{}\n", head[..name].trim_end()) };
    for argument in arguments.split_inclusive(", ") {
        if line.len() + argument.trim_end().len() > WIDTH {
            writeln!(out, "{}", line.trim_end()).expect("a String");
            line = " ".repeat(indent);
        }
        line.push_str(argument);
    }
    out + &line
}

#[test]
fn the_header_is_what_the_sources_say() {
    let generated = generate();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(root().join(HEADER), &generated).expect("writing the header");
    }
    let committed = read(HEADER);
    for (i, (ours, theirs)) in generated.lines().zip(committed.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}; UPDATE_HEADER=1 cargo test --test header rewrites {HEADER}", i + 1);
    }
    assert!(generated == committed, "one of the two is longer; UPDATE_HEADER=1 cargo test --test header rewrites {HEADER}");
}

#[test]
fn the_header_speaks_c() {
    let header = read(HEADER);
    assert!(header.contains(&commented(&read(PROGRAM))), "the program in the header is {PROGRAM}");
    for foreign in ["# Safety", "Option<", "&str", "usize", "u64 ", "::", "@"] {
        assert!(!header.contains(foreign), "{foreign} means nothing in C");
    }
    for (i, line) in header.lines().enumerate() {
        assert!(line.chars().count() <= WIDTH, "line {} is too long: {line}", i + 1);
    }
}

#[test]
fn every_function_ends_with_its_rules() {
    let header = read(HEADER);
    let (mut comment, mut functions) = (String::new(), 0);
    for line in header.lines() {
        if line == "/**" {
            comment.clear();
        }
        if line.starts_with("WAL_API") {
            functions += 1;
            assert!(comment.contains(" * Threads:  "), "{line}");
            assert!(line.contains(" void ") || comment.contains(" * Returns:  "), "{line}");
        }
        comment.push_str(line);
        comment.push('\n');
    }
    assert_eq!(functions, declared().len());
}

// What is exported.

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = read(HEADER);
    let declarations = header.split("\nWAL_API ").skip(1);
    let name = |declaration: &str| {
        let head = declaration.split('(').next().unwrap_or_default();
        head.rsplit([' ', '*', '\n']).next().unwrap_or_default().to_string()
    };
    declarations.map(name).collect()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The shared library, as cargo built it together with this test.
fn library() -> PathBuf {
    let test = env::current_exe().expect("this test has a path");
    let built = test.with_file_name("libwal.so");
    if built.exists() {
        return built;
    }
    // A target directory of its own: the outer cargo holds the lock of the usual one.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(["rustc", "--lib", "--crate-type", "cdylib", "--target-dir"]).arg(&target).current_dir(root());
    succeed(&mut command);
    target.join("debug/libwal.so")
}

#[test]
#[cfg(target_os = "linux")]
fn the_library_exports_what_the_header_declares() {
    let listing = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let exported: BTreeSet<String> = listing.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_string).collect();
    assert_eq!(exported, declared());
    assert!(declared().contains("wal_open") && declared().contains("wal_replay_close"));
}

#[test]
#[cfg(target_os = "linux")]
fn the_library_carries_its_abi_version() {
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(library()));
    let soname = format!("[libwal.so.{}]", wal::WAL_ABI_VERSION);
    assert!(dynamic.lines().any(|line| line.contains("(SONAME)") && line.contains(&soname)), "{dynamic}");
}

// What compilers say.

/// Whether a compiler is there. Where everything must be tested, all must be.
fn present(compiler: &str) -> bool {
    let there = Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        assert!(env::var_os("CI").is_none(), "{compiler} is missing");
        eprintln!("{compiler} is missing: not tested");
    }
    there
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn include() -> PathBuf {
    root().join("include")
}

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion"];
const C_STANDARDS: [&str; 4] = ["-std=c99", "-std=c11", "-std=c17", "-std=c2x"];
const CXX_STANDARDS: [&str; 4] = ["-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20"];

#[test]
fn every_compiler_takes_the_header() {
    // Alone, twice, and from two translation units of one program.
    let unit = |name: &str| {
        format!("#include <wal.h>\n#include <wal.h>\nuint32_t {name}(void);\nuint32_t {name}(void) {{ return wal_abi_version(); }}\n")
    };
    for (compilers, standards, suffix) in [(["gcc", "clang"], C_STANDARDS, "c"), (["g++", "clang++"], CXX_STANDARDS, "cc")] {
        let units = [scratch(&format!("one.{suffix}"), &unit("one")), scratch(&format!("two.{suffix}"), &unit("two"))];
        for compiler in compilers.into_iter().filter(|compiler| present(compiler)) {
            for standard in standards {
                let mut command = Command::new(compiler);
                command.arg(standard).args(WARNINGS).args((suffix == "c").then_some("-Wstrict-prototypes"));
                command.args(["-fPIC", "-shared", "-I"]).arg(include()).args(&units).arg("-o").arg(scratch("units.so", ""));
                succeed(&mut command);
            }
        }
    }
}

/// Alone, and behind wal.h, which has what both say.
#[test]
fn every_compiler_takes_the_header_of_the_log_in_flash() {
    let includes = ["", "#include <wal.h>\n"];
    for (compilers, standards, suffix) in [(["gcc", "clang"], C_STANDARDS, "c"), (["g++", "clang++"], CXX_STANDARDS, "cc")] {
        for (at, include_them) in includes.iter().enumerate() {
            let text = format!(
                "{include_them}#include <wal_flash.h>\n#include <wal_flash.h>\n\
                 int32_t close(wal_flash_t *, wal_flash_config_t *);\n\
                 int32_t close(wal_flash_t *log, wal_flash_config_t *config) {{\n\
                 config->flags = WAL_FLASH_VERIFY;\nreturn wal_flash_truncate(log, WAL_SEQ_LAST, 0, NULL) == WAL_E_RANGE;\n}}\n"
            );
            let unit = scratch(&format!("flash{at}.{suffix}"), &text);
            for compiler in compilers.into_iter().filter(|compiler| present(compiler)) {
                for standard in standards {
                    let mut command = Command::new(compiler);
                    command.arg(standard).args(WARNINGS).args(["-fsyntax-only", "-I"]).arg(include()).arg(&unit);
                    succeed(&mut command);
                }
            }
        }
    }
}

#[test]
fn the_program_in_the_header_compiles() {
    for compiler in ["gcc", "clang"].into_iter().filter(|compiler| present(compiler)) {
        for standard in C_STANDARDS {
            let mut command = Command::new(compiler);
            command
                .arg(standard)
                .args(WARNINGS)
                .args(["-Wstrict-prototypes", "-fsyntax-only", "-I"])
                .arg(include())
                .arg(root().join(PROGRAM));
            succeed(&mut command);
        }
    }
}

/// Each run of the program in the header adds five bytes to what the runs before left.
#[test]
#[cfg(target_os = "linux")]
fn the_program_in_the_header_keeps_its_sum() {
    if !present("gcc") {
        return;
    }
    let library = library();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for the program");
    // A program asks for the library by its SONAME.
    fs::copy(&library, directory.join("libwal.so.0")).expect("a copy of the library");
    let program = directory.join("first");
    succeed(
        Command::new("gcc")
            .arg(root().join(PROGRAM))
            .arg("-I")
            .arg(include())
            .arg(&library)
            .arg("-Wl,-rpath,$ORIGIN")
            .arg("-o")
            .arg(&program),
    );
    for run in 1..=3 {
        let said = succeed(Command::new(&program).current_dir(&directory));
        assert_eq!(said, format!("{} bytes\n", run * 5));
    }
}

// What the structs look like.

/// Name, size and members' offsets of the structs, where pointers have 8 bytes and where they have 4.
struct Layout {
    name: &'static str,
    size: [usize; 2],
    members: &'static [(&'static str, usize, usize)],
}

const LAYOUTS: [Layout; 8] = [
    Layout {
        name: "wal_options_t",
        size: [168, 152],
        members: &[
            ("struct_size", 0, 0),
            ("sync_mode", 4, 4),
            ("segment_size", 8, 8),
            ("store_seq", 16, 16),
            ("open_flags", 24, 24),
            ("recovery", 28, 28),
            ("batch_records", 32, 32),
            ("batch_interval_us", 36, 36),
            ("expected_log_id", 40, 40),
            ("recycle_segments", 56, 56),
            ("option_flags", 60, 60),
            ("directory_mode", 64, 64),
            ("file_mode", 68, 68),
            ("reserved", 72, 72),
            ("log_callback", 128, 128),
            ("log_context", 136, 132),
            ("slow_sync_us", 144, 136),
            ("reserved_2", 148, 140),
            ("storage", 152, 144),
            ("reserved_3", 160, 148),
        ],
    },
    Layout {
        name: "wal_storage_t",
        size: [136, 72],
        members: &[
            ("struct_size", 0, 0),
            ("reserved", 4, 4),
            ("context", 8, 8),
            ("make_dir", 16, 12),
            ("list", 24, 16),
            ("open", 32, 20),
            ("close", 40, 24),
            ("size", 48, 28),
            ("read", 56, 32),
            ("write", 64, 36),
            ("sync", 72, 40),
            ("drop_cache", 80, 44),
            ("rename", 88, 48),
            ("remove", 96, 52),
            ("sync_dir", 104, 56),
            ("lock", 112, 60),
            ("unlock", 120, 64),
            ("random", 128, 68),
        ],
    },
    Layout {
        name: "wal_error_t",
        size: [320, 320],
        members: &[
            ("seq", 0, 0),
            ("seq_last", 8, 8),
            ("segment", 16, 16),
            ("offset", 24, 24),
            ("code", 32, 32),
            ("extended", 36, 36),
            ("os_error", 40, 40),
            ("reserved", 44, 44),
            ("message", 48, 48),
        ],
    },
    Layout {
        name: "wal_entry_t",
        size: [40, 24],
        members: &[("key", 0, 0), ("value", 8, 4), ("key_len", 16, 8), ("value_len", 24, 12), ("op", 32, 16), ("reserved", 36, 20)],
    },
    Layout {
        name: "wal_record_t",
        size: [64, 48],
        members: &[
            ("seq", 0, 0),
            ("batch_last_seq", 8, 8),
            ("key", 16, 16),
            ("value", 24, 20),
            ("key_len", 32, 24),
            ("value_len", 40, 28),
            ("op", 48, 32),
            ("reserved", 52, 36),
        ],
    },
    Layout {
        name: "wal_stat_t",
        size: [696, 696],
        members: &[
            ("last_seq", 0, 0),
            ("recycled", 136, 136),
            ("poisoned", 144, 144),
            ("spares_ready", 152, 152),
            ("pins", 272, 272),
            ("sync_us_histogram", 504, 504),
        ],
    },
    Layout {
        name: "wal_report_t",
        size: [264, 264],
        members: &[("epoch", 0, 0), ("duration_us", 216, 216), ("log_id", 224, 224), ("clean", 240, 240), ("damage_code", 252, 252)],
    },
    Layout {
        name: "wal_pin_t",
        size: [144, 144],
        members: &[("seq", 0, 0), ("flags", 32, 32), ("name", 48, 48), ("reserved_numbers", 112, 112)],
    },
];

/// C that compiles only if the structs are laid out so.
fn layout_checks(pointers: usize) -> String {
    let mut source = "#include <wal.h>\n".to_string();
    for layout in &LAYOUTS {
        let name = layout.name;
        let size = iter::once((format!("sizeof({name})"), layout.size[pointers]));
        let offsets =
            layout.members.iter().map(|&(member, wide, narrow)| (format!("offsetof({name}, {member})"), [wide, narrow][pointers]));
        for (what, expected) in size.chain(offsets) {
            writeln!(source, "_Static_assert({what} == {expected}, \"{what}\");").expect("a String");
        }
    }
    source
}

#[test]
fn structs_look_the_same_on_every_target() {
    let wide = scratch("layout64.c", &layout_checks(0));
    let narrow = scratch("layout32.c", &layout_checks(1));
    let check = |compiler: &str, target: &str, source: &Path| {
        if present(compiler) {
            let mut command = Command::new(compiler);
            command.args([target, "-std=c11", "-ffreestanding", "-fsyntax-only", "-I"]).arg(include()).arg(source);
            succeed(&mut command);
        }
    };
    if cfg!(target_arch = "x86_64") {
        check("gcc", "-m64", &wide);
        check("gcc", "-m32", &narrow);
    }
    check("clang", "--target=x86_64-linux-gnu", &wide);
    check("clang", "--target=i386-linux-gnu", &narrow);
    check("clang", "--target=armv7a-linux-gnueabihf", &narrow);
    check("clang", "--target=s390x-linux-gnu", &wide);
}

#[test]
fn rust_lays_the_structs_out_like_c() {
    let ours = [
        size_of::<wal::WalOptions>(),
        size_of::<wal::WalStorage>(),
        size_of::<wal::WalError>(),
        size_of::<wal::WalEntry>(),
        size_of::<wal::WalRecord>(),
        size_of::<wal::WalStat>(),
        size_of::<wal::WalReport>(),
        size_of::<wal::WalPin>(),
    ];
    let pointers = usize::from(size_of::<usize>() == 4);
    assert_eq!(ours.to_vec(), LAYOUTS.iter().map(|layout| layout.size[pointers]).collect::<Vec<_>>());
}
