//! README.md, done as it says. Its fenced blocks are taken in order, each section in an empty folder of its own:
//!
//! - ` ```LANGUAGE FILE ` is written to that file. A later section that names the file has it, too.
//! - ` ```sh ` is run by a shell that stops at the first failure.
//! - ` ```text ` behind it is what it prints, where `...` stands for anything.
//! - ` ```console ` is both: lines that begin with `$ ` are run, the others are what they print.
//!
//! `/path/to/wal` is the checkout. Whatever is not fenced, or fenced otherwise, is only shown. `sudo` and the directories of the system are replaced by
//! an installation of this test's own, which its programs find as they would find one in `/usr/local`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::workshop::{command, folder, installed, must, present, read, root, write};

const CHECKOUT: &str = "/path/to/wal";
const ANYTHING: &str = "...";

#[derive(Debug, PartialEq)]
enum Block {
    File {
        name: String,
        text: String,
    },
    /// Commands, and what they print if that is said.
    Commands {
        text: String,
        prints: Option<String>,
    },
}

#[derive(Debug)]
struct Section {
    title: String,
    /// All of it, prose included.
    text: String,
    blocks: Vec<Block>,
}

fn sections(document: &str) -> Vec<Section> {
    let mut sections = vec![Section { title: String::new(), text: String::new(), blocks: Vec::new() }];
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_string(), text: String::new(), blocks: Vec::new() });
        }
        let section = sections.last_mut().expect("there is one from the beginning");
        section.text += &format!("{line}\n");
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text: String = inside.iter().map(|line| format!("{line}\n")).collect();
        section.text += &text;
        match info.split_once(' ') {
            Some((_, name)) => section.blocks.push(Block::File { name: name.to_string(), text }),
            None if info == "sh" => section.blocks.push(Block::Commands { text, prints: None }),
            None if info == "text" => match section.blocks.last_mut() {
                Some(Block::Commands { prints: prints @ None, .. }) => *prints = Some(text),
                other => panic!("{}: output of what? {other:?}", section.title),
            },
            None if info == "console" => section.blocks.extend(dialogue(&text)),
            None => {}
        }
    }
    sections
}

fn dialogue(text: &str) -> Vec<Block> {
    let parts = format!("\n{text}");
    let (before, parts) = parts.split_once("\n$ ").expect("a dialogue has a command");
    assert_eq!(before, "", "a dialogue begins with a command");
    let block = |part: &str| {
        let (command, prints) = part.split_once('\n').unwrap_or((part, ""));
        let prints = if prints.is_empty() || prints.ends_with('\n') { prints.to_string() } else { format!("{prints}\n") };
        Block::Commands { text: format!("{command}\n"), prints: Some(prints) }
    };
    parts.split("\n$ ").map(block).collect()
}

/// Whether a text is what was said, with [`ANYTHING`] in it.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn blocks_are_understood() {
    let found = sections(
        "```c a.c\nint a;\n```\n## One\n```sh\nfirst\nsecond\n```\n```text\nsaid\n```\n## Two `a.c`\n```json\n{}\n```\n```console\n$ x\n1\n$ y\n```\n",
    );
    let file = Block::File { name: "a.c".into(), text: "int a;\n".into() };
    let commands = |text: &str, prints: &str| Block::Commands { text: text.into(), prints: Some(prints.into()) };
    assert_eq!(found.iter().map(|section| section.title.as_str()).collect::<Vec<_>>(), ["", "One", "Two `a.c`"]);
    assert_eq!(found[0].blocks, [file]);
    assert_eq!(found[1].blocks, [commands("first\nsecond\n", "said\n")]);
    assert_eq!(found[2].blocks, [commands("x\n", "1\n"), commands("y\n", "")]);
    assert!(matches("a\nb\n", "a\nb\n") && !matches("a\n", "a\nb\n") && !matches("", "a"));
    assert!(
        matches("a ... c\n...\ne\n", "a b c\nd\ne\n") && matches("...", "") && !matches("a...\n", "b\n") && !matches("...b...c\n", "cab\n")
    );
}

/// What stands for the system: a place for programs, and where compilers, linkers and other tools look without being told.
struct System {
    prefix: PathBuf,
    programs: PathBuf,
}

impl System {
    fn new() -> System {
        let system = System { prefix: folder("readme-system"), programs: folder("readme-programs") };
        let program = |name: &str, text: &str| {
            let path = system.programs.join(name);
            write(&path, &format!("#!/bin/sh\n{text}\n"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program of this test's own");
        };
        program("sudo", "exec \"$@\"");
        program("ldconfig", "exit 0");
        system
    }

    fn run(&self, commands: &str, here: &Path) -> String {
        let below = |name: &str| self.prefix.join(name);
        let mut paths: Vec<OsString> = vec![self.programs.clone().into(), below("bin").into()];
        paths.extend(std::env::var_os("PATH"));
        let mut command = command("sh");
        command.arg("-euc").arg(commands).current_dir(here).env("PATH", paths.join(":".as_ref())).env("PREFIX", &self.prefix);
        command.env("PKG_CONFIG_PATH", below("lib/pkgconfig")).env("CMAKE_PREFIX_PATH", &self.prefix);
        command.env("CPATH", below("include")).env("LIBRARY_PATH", below("lib")).env("LD_LIBRARY_PATH", below("lib"));
        must(&mut command)
    }
}

/// Tools that commands may name.
const TOOLS: [&str; 10] = ["make", "cargo", "cc", "c++", "pkg-config", "cmake", "ninja", "go", "curl", "python3"];

fn tools(section: &Section) -> Vec<&'static str> {
    let names = |text: &str, tool: &str| text.split(|c: char| c.is_whitespace() || "$();|&".contains(c)).any(|word| word == tool);
    let needs = |tool: &str| section.blocks.iter().any(|block| matches!(block, Block::Commands { text, .. } if names(text, tool)));
    TOOLS.into_iter().filter(|tool| needs(tool)).collect()
}

#[test]
fn every_command_in_the_readme_works() {
    let sections = sections(&read("README.md").replace(CHECKOUT, &root().display().to_string()));
    let with_commands = sections.iter().filter(|section| section.blocks.iter().any(|block| matches!(block, Block::Commands { .. })));
    let titles: Vec<&str> = with_commands.map(|section| section.title.as_str()).collect();
    for title in ["Installing", "From C", "From CMake", "From C++", "From Go", "walctl"] {
        assert!(titles.contains(&title), "{title} has commands that can be run: {titles:?}");
    }
    // So that nothing is built twice at the same time.
    installed();
    let system = System::new();
    for (at, section) in sections.iter().enumerate() {
        if !titles.contains(&section.title.as_str()) || !present(&section.title, &tools(section)) {
            continue;
        }
        let here = folder(&format!("readme-{}", section.title.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        let earlier = sections[..at].iter().flat_map(|earlier| &earlier.blocks);
        let named = earlier.filter(|block| matches!(block, Block::File { name, .. } if section.text.contains(name.as_str())));
        for block in named.chain(&section.blocks) {
            match block {
                Block::File { name, text } => write(here.join(name), text),
                Block::Commands { text, prints } => {
                    let printed = system.run(text, &here);
                    if let Some(prints) = prints {
                        assert!(matches(prints, &printed), "{}:\n{text}prints\n{printed}and not\n{prints}", section.title);
                    }
                }
            }
        }
        println!("README.md, {}: as it says", section.title);
    }
}
