//! The program over real logs: what it prints, what it changes, and how it ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{WALCTL, closed, content, damage, directory, fill, open, place, small, walctl};
use wal_engine::config::Config;
use wal_engine::format::pin::PinName;
use wal_engine::pins::{self, Limit};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Lines with what differs from run to run replaced.
fn steady(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match (line.find("log id"), line.find(" read in ")) {
            (Some(at), _) => line[..at].to_string() + "log id",
            (_, Some(at)) => line[..at].to_string() + " read in TIME",
            _ => line.to_string(),
        };
        out += &(line + "\n");
    }
    out
}

#[test]
fn dump_prints_a_table_that_no_record_can_disturb() {
    let dir = place("dump-table");
    closed(&dir.join("log"), 9);
    let said = walctl(&dir, &["dump", "--human", "log"]);
    // In 100 columns, where there is no terminal.
    let value = "v".repeat(100 - "SEQ    OP          KEY                       ".len() - "... 100 bytes".len());
    let expected = format!(
        "SEQ    OP          KEY                       VALUE
  1    put         user:1                    Ada
  2    delete      user:1
  3    op 200                                \\x1b[2J\\x07 hostile \\xff
  4 [  put         batch                     one
  5 |  put         batch                     two
  6 ]  put         batch                     three
  7    checkpoint                            covered 6, n 7
  8    put         key:8                     {value}... 100 bytes
  9    put         key:9                     {value}... 100 bytes
"
    );
    assert_eq!((said.code, said.out, said.err.as_str()), (0, expected, ""));
}

#[test]
fn dump_prints_json_where_nobody_looks() {
    let dir = place("dump-json");
    closed(&dir.join("log"), 200);
    let said = walctl(&dir, &["dump", "log"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines: Vec<Value> = said.out.lines().map(json).collect();
    assert_eq!(lines.len(), 200);
    assert_eq!(said.out.lines().next(), Some(r#"{"seq":1,"batch_last_seq":1,"op":"put","key":"user:1","value":"Ada"}"#));
    assert_eq!(
        said.out.lines().nth(2),
        Some(r#"{"seq":3,"batch_last_seq":3,"op":200,"key":"","value_hex":"1b5b324a0720686f7374696c6520ff"}"#)
    );
    assert_eq!(said.out.lines().nth(4), Some(r#"{"seq":5,"batch_last_seq":6,"op":"put","key":"batch","value":"two"}"#));
    assert_eq!(said.out.lines().nth(6), Some(r#"{"seq":7,"batch_last_seq":7,"op":"checkpoint","n":7,"covered":6}"#));
    assert!(lines.iter().enumerate().all(|(at, line)| line["seq"] == at as u64 + 1));
}

#[test]
fn dump_takes_ranges() {
    let dir = place("dump-range");
    closed(&dir.join("log"), 60);
    let seqs = |arguments: &[&str]| {
        let said = walctl(&dir, &[&["dump", "log"], arguments].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        said.out.lines().map(|line| json(line)["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&["--from", "58"]), [58, 59, 60]);
    assert_eq!(seqs(&["--to", "3"]), [1, 2, 3]);
    assert_eq!(seqs(&["--from", "5", "--to", "5"]), [5]);
    assert_eq!(seqs(&["--from", "59", "-n", "1"]), [59]);
    assert_eq!(seqs(&["--limit", "0"]), [0u64; 0]);
    assert_eq!(walctl(&dir, &["dump", "log", "--from", "62"]).code, 1, "there is no such record");
    assert_eq!(walctl(&dir, &["dump", "log", "--from", "0"]).code, 2);
    assert_eq!(walctl(&dir, &["dump", "log", "--json", "--human"]).code, 2);
}

#[test]
fn dump_shows_bytes() {
    let dir = place("dump-hex");
    closed(&dir.join("log"), 7);
    let said = walctl(&dir, &["dump", "--human", "--hex", "--from", "3", "-n", "2", "log"]);
    let expected = "seq 3  op 200
  key    empty
  value  00000000  1b 5b 32 4a 07 20 68 6f 73 74 69 6c 65 20 ff     .[2J. hostile .
seq 4  put  in a batch up to seq 6
  key    00000000  62 61 74 63 68                                   batch
  value  00000000  6f 6e 65                                         one
";
    assert_eq!((said.code, said.out.as_str()), (0, expected));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = place("dump-pipe");
    let log = open(&dir.join("log"), &Config::default());
    for _ in 0..20_000 {
        log.append_batch(&[wal_engine::log::Entry { op: 1, key: b"", value: b"some value" }][..], wal_engine::log::Durability::Async)
            .unwrap();
    }
    log.close().unwrap();
    let mut child =
        Command::new(WALCTL).args(["dump", "log"]).current_dir(&dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn dump_follows_a_log_that_is_being_written() {
    let dir = place("dump-follow");
    let log = open(&dir.join("log"), &small());
    fill(&log, 10);
    let mut child = Command::new(WALCTL)
        .args(["dump", "--follow", "log"])
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (send, lines) = mpsc::channel();
    let out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(|line| send.send(line).unwrap()));
    let next = || json(&lines.recv_timeout(Duration::from_secs(60)).unwrap())["seq"].as_u64().unwrap();
    log.sync(u64::MAX).unwrap();
    log.checkpoint(10).unwrap();
    assert_eq!((1..=11).map(|_| next()).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    for number in 0..50 {
        log.append(1, b"later", format!("{number}").as_bytes()).unwrap();
    }
    log.close().unwrap();
    assert_eq!((12..=61).map(|_| next()).collect::<Vec<_>>(), (12..=61).collect::<Vec<_>>());
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
}

#[test]
fn stat_says_where_a_log_stands() {
    let dir = place("stat");
    closed(&dir.join("log"), 60);
    let said = walctl(&dir, &["stat", "--human", "log"]);
    let expected = "log
   state       closed cleanly
   records     60, seq 1 to 60
   forgotten   nothing
   checkpoint  the store holds everything up to seq 6; n is 7
   segments    3 of 4.0 KiB, 1 spare
   on disk     32.0 KiB
   epoch       1; it rises at each opening after a crash
   log id
";
    assert_eq!((said.code, steady(&said.out).as_str(), said.err.as_str()), (0, expected, ""));
    let said = json(&walctl(&dir, &["stat", "log"]).out);
    assert_eq!((&said["records"], &said["in_use"], &said["damage"]), (&60.into(), &false.into(), &Value::Null));
    assert_eq!(said["log_id"].as_str().unwrap().len(), 32);
}

#[test]
fn stat_of_a_log_in_use_says_what_is_certain() {
    let dir = place("stat-live");
    let log = open(&dir.join("log"), &small());
    fill(&log, 30);
    log.checkpoint(30).unwrap();
    let said = walctl(&dir, &["stat", "log", "--human"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("in use") && said.out.contains("31, seq 1 to 31"), "{}", said.out);
    let said = json(&walctl(&dir, &["stat", "log"]).out);
    assert_eq!((&said["in_use"], &said["last_seq"], &said["checkpoint_seq"]), (&true.into(), &31.into(), &31.into()));
    // A dump reads along; what needs the log alone says that it cannot have it.
    assert_eq!(walctl(&dir, &["dump", "log"]).out.lines().count(), 31);
    for command in ["verify", "repair"] {
        let said = walctl(&dir, &[command, "log"]);
        assert!(said.code == 4 && said.err.contains("a writer has the log open") && said.out.is_empty(), "{} {}", said.code, said.err);
    }
    log.close().unwrap();
    assert_eq!(walctl(&dir, &["verify", "log"]).code, 0);
}

#[test]
fn a_crash_leaves_records_that_an_opening_decides_about() {
    let dir = place("stat-crash");
    let log = open(&dir.join("log"), &small());
    fill(&log, 10);
    // As a crash leaves it.
    for entry in fs::read_dir(dir.join("log")).unwrap() {
        let path = entry.unwrap().path();
        fs::create_dir_all(dir.join("crashed")).unwrap();
        fs::copy(&path, dir.join("crashed").join(path.file_name().unwrap())).unwrap();
    }
    let before = content(&dir.join("crashed"));
    let said = walctl(&dir, &["stat", "crashed", "--human"]);
    assert!(said.code == 0 && said.out.contains("not closed"), "{}{}", said.out, said.err);
    let said = walctl(&dir, &["dump", "crashed"]);
    assert!(said.code == 0 && said.err.contains("--unsynced"), "{}", said.err);
    assert!(said.out.lines().count() < 10);
    assert_eq!(walctl(&dir, &["dump", "--unsynced", "crashed"]).out.lines().count(), 10);
    assert_eq!(walctl(&dir, &["verify", "crashed"]).code, 0);
    assert_eq!(content(&dir.join("crashed")), before, "looking changes nothing");
}

#[test]
fn verify_names_every_damage() {
    let dir = place("verify");
    closed(&dir.join("log"), 80);
    assert_eq!(walctl(&dir, &["verify", "log"]).code, 0);
    let said = walctl(&dir, &["verify", "log", "--human"]);
    assert!(said.out.ends_with("\nno damage\n") && said.out.starts_with("log: seq 1 to 80 in "), "{}", said.out);
    let files = [damage(&dir.join("log"), 20), damage(&dir.join("log"), 60)];
    let before = content(&dir.join("log"));
    let said = walctl(&dir, &["verify", "log"]);
    assert_eq!(said.code, 1);
    let found = json(&said.out);
    let damages = found["damages"].as_array().unwrap();
    assert_eq!(damages.iter().map(|one| one["file"].as_str().unwrap()).collect::<Vec<_>>(), files);
    assert_eq!(damages.iter().map(|one| one["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [20, 60]);
    let said = walctl(&dir, &["verify", "log", "--human"]);
    assert!(said.code == 1 && said.out.contains("2 damages:") && said.out.contains("walctl repair"), "{}", said.out);
    assert_eq!(walctl(&dir, &["dump", "log"]).code, 1, "a record is missing");
    assert_eq!(walctl(&dir, &["dump", "log"]).out.lines().count(), 19, "and what precedes it is shown");
    assert_eq!(content(&dir.join("log")), before, "looking changes nothing");
}

#[test]
fn repair_says_what_it_would_do_and_does_it_when_told() {
    let dir = place("repair");
    let log = dir.join("log");
    closed(&log, 80);
    let said = walctl(&dir, &["repair", "log", "--yes"]);
    assert_eq!((said.code, json(&said.out)["repaired"].clone()), (0, false.into()), "nothing to repair");
    damage(&log, 50);
    let before = content(&log);
    let said = walctl(&dir, &["repair", "log", "--human"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("Lost: seq 50 to 80; kept: seq 1 to 49. Appending goes on at seq 81."), "{}", said.out);
    assert!(said.out.ends_with("Nothing was changed; --yes does it.\n"), "{}", said.out);
    assert_eq!(content(&log), before, "it said so");
    let said = walctl(&dir, &["repair", "log", "--yes", "--human"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("damage took the records with seq 50 to 80"), "{}", said.out);
    assert!(said.out.contains("Lost: seq 50 to 80; kept: seq 1 to 49. Appending goes on at seq 81."), "{}", said.out);
    assert_eq!(walctl(&dir, &["verify", "log"]).code, 0);
    // What was cut off is still there, byte by byte.
    let after = content(&log);
    for (path, bytes) in &before {
        let name = path.file_name().unwrap().to_string_lossy();
        let kept = after.iter().any(|(_, now)| now == bytes) || name.ends_with(".spare") || name == "LOCK";
        let used_again = !bytes.windows(4).any(|window| window == b"key:");
        assert!(kept || used_again, "{name} is gone");
    }
    assert!(after.iter().any(|(path, _)| path.ends_with("MANIFEST.before-repair-1")));
    let dumped = walctl(&dir, &["dump", "log"]);
    assert_eq!((dumped.code, dumped.out.lines().count()), (1, 49), "the hole is no silent end");
    assert!(dumped.err.contains("--skip-lost"), "{}", dumped.err);
    let reopened = open(&log, &small());
    assert_eq!(reopened.append(1, b"", b"after the repair").unwrap(), 81);
    reopened.close().unwrap();
    assert_eq!(walctl(&dir, &["dump", "--skip-lost", "log"]).out.lines().count(), 50);
}

#[test]
fn a_lost_manifest_is_rebuilt() {
    let dir = place("repair-manifest");
    closed(&dir.join("log"), 80);
    fs::remove_file(dir.join("log/MANIFEST")).unwrap();
    let said = walctl(&dir, &["stat", "log"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(walctl(&dir, &["repair", "log"]).code, 1);
    let said = json(&walctl(&dir, &["repair", "log", "--yes"]).out);
    assert_eq!((&said["repaired"], &said["lost_first_seq"], &said["manifest_copy"]), (&true.into(), &Value::Null, &Value::Null));
    assert_eq!(walctl(&dir, &["dump", "log"]).out.lines().count(), 80);
}

#[test]
fn what_is_no_log_is_told_apart() {
    let dir = place("none");
    fs::create_dir(dir.join("stranger")).unwrap();
    fs::write(dir.join("stranger/notes.txt"), "not a log").unwrap();
    fs::write(dir.join("file"), "not a directory").unwrap();
    for command in ["dump", "stat", "verify", "repair"] {
        // A file is taken for the image of a flash chip by all that read one.
        let file = if command == "repair" { 5 } else { 3 };
        for (place, code) in [("missing", 3), ("stranger", 3), ("file", file)] {
            let said = walctl(&dir, &[command, place]);
            assert_eq!((said.code, said.out.as_str()), (code, ""), "{command} {place}: {}", said.err);
            assert!(said.err.starts_with("walctl: ") && said.err.contains(place), "{}", said.err);
        }
    }
    assert_eq!(content(&dir.join("stranger")).len(), 1, "nothing was created");
    assert!(!dir.join("missing").exists());
    assert_eq!(walctl(&dir, &["frobnicate"]).code, 2);
    assert_eq!(walctl(&dir, &["dump"]).code, 2);
}

/// What a name of a directory can do to a terminal: nothing.
#[test]
fn paths_are_escaped() {
    let dir = place("paths");
    closed(&dir.join("a\x1b[31m\nb"), 8);
    for arguments in [&["stat", "--human"][..], &["stat", "--json"], &["verify", "--human"], &["stat", "--prometheus"]] {
        let said = walctl(&dir, &[arguments, &["a\x1b[31m\nb"]].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(arguments[1] == "--prometheus" || !said.out.contains('\x1b'), "{}", said.out);
        assert!(!said.out.contains("m\nb"), "{}", said.out);
    }
    let said = walctl(&dir, &["stat", "missing\x1b[31m"]);
    assert!(said.code == 3 && !said.err.contains('\x1b'), "{:?}", said.err);
}

#[test]
fn bench_measures_and_leaves_nothing_behind() {
    let dir = place("bench");
    let said = walctl(&dir, &["bench", ".", "--seconds", "1", "--methods", "overwrite,growing"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let found = json(&said.out);
    let methods = found["methods"].as_array().unwrap();
    assert_eq!(methods.iter().map(|one| one["method"].as_str().unwrap()).collect::<Vec<_>>(), ["overwrite", "growing"]);
    for one in methods {
        let figure = |name: &str| one[name].as_f64().unwrap();
        assert!(figure("syncs") >= 1.0 && figure("p50_us") > 0.0, "{one}");
        assert!(figure("p50_us") <= figure("p99_us") && figure("p99_us") <= figure("max_us"), "{one}");
    }
    assert!(["memory", "implausible", "doubtful", "plausible"].contains(&found["verdict"].as_str().unwrap()));
    assert_eq!(content(&dir), []);
    assert_eq!(walctl(&dir, &["bench", "missing"]).code, 5);
    // Past the cache, where that can be.
    let said = walctl(&dir, &["bench", ".", "--seconds", "1", "--methods", "direct"]);
    assert!(
        if said.code == 0 { said.out.contains("\"direct\"") } else { said.err.contains("Invalid argument") },
        "{} {}",
        said.out,
        said.err
    );
    assert_eq!(content(&dir), []);
}

#[test]
fn completions_and_man_pages_are_whole() {
    let dir = place("pages");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = walctl(&dir, &["completions", shell]);
        assert!(said.code == 0 && said.out.contains("skip-lost") && said.out.contains("prometheus"), "{shell}");
    }
    let bash = walctl(&dir, &["completions", "bash"]).out;
    fs::write(dir.join("walctl.bash"), bash).unwrap();
    assert!(Command::new("bash").args(["-n", "walctl.bash"]).current_dir(&dir).status().unwrap().success());
    fs::create_dir(dir.join("man")).unwrap();
    assert_eq!(walctl(&dir, &["man", "man"]).code, 0);
    let pages: Vec<String> =
        content(&dir.join("man")).iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let expected = [
        "walctl-bench.1",
        "walctl-completions.1",
        "walctl-dump.1",
        "walctl-repair.1",
        "walctl-stat.1",
        "walctl-unpin.1",
        "walctl-verify.1",
        "walctl.1",
    ];
    assert_eq!(pages, expected);
    for (path, page) in content(&dir.join("man")) {
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH walctl") || page.contains(".TH WALCTL"), "{}", path.display());
    }
    assert_eq!(walctl(&dir, &["man", "missing"]).code, 5);
}

/// Name, labels and value.
type Metric = (String, Vec<(String, String)>, f64);

/// A parser of the text format that takes nothing it does not know, and the conventions for names.
fn metrics(text: &str) -> Vec<Metric> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.starts_with("wal_log_");
    let (mut found, mut current, mut seen) = (Vec::new(), String::new(), Vec::new());
    assert!(text.ends_with('\n'));
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a name and its help");
            assert!(is_name(name) && words.ends_with('.') && !seen.contains(&name), "{line}");
            assert!(!name.ends_with("_total") && !name.ends_with("_us") && !name.ends_with("_size"), "gauges in base units: {name}");
            assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
            seen.push(name);
            current = name.to_string();
            continue;
        }
        let (name, rest) = line.split_once('{').expect("labels");
        assert_eq!(name, current, "a metric's lines stand together, behind its type");
        let (mut labels, mut rest) = (Vec::new(), rest);
        loop {
            let (label, value) = rest.split_once("=\"").expect("a label");
            let mut content = String::new();
            let mut chars = value.char_indices();
            let end = loop {
                match chars.next().expect("the label ends") {
                    (_, '\\') => match chars.next().expect("an escape").1 {
                        'n' => content.push('\n'),
                        c @ ('\\' | '"') => content.push(c),
                        c => panic!("\\{c} is no escape"),
                    },
                    (at, '"') => break at,
                    (_, c) => content.push(c),
                }
            };
            labels.push((label.to_string(), content));
            match value[end + 1..].strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = value[end + 1..].strip_prefix("} ").expect("the labels end");
                    break;
                }
            }
        }
        found.push((name.to_string(), labels, rest.parse().expect("a number")));
    }
    found
}

#[test]
fn prometheus_reads_what_stat_prints() {
    let dir = place("prometheus");
    closed(&dir.join("a"), 60);
    closed(&dir.join("b \"quoted\" \\ back"), 8);
    let used = open(&dir.join("used"), &small());
    fill(&used, 20);
    used.checkpoint(20).unwrap();
    let logs = ["a", "b \"quoted\" \\ back", "used", "missing"];
    let said = walctl(&dir, &[&["stat", "--prometheus"][..], &logs].concat());
    assert_eq!(said.code, 3, "one is missing, the others are told: {}", said.err);
    let found = metrics(&said.out);
    let value = |name: &str, dir: &str| {
        let is_it = |labels: &[(String, String)]| labels.contains(&("dir".into(), dir.into()));
        found.iter().find(|(found, labels, _)| found == name && is_it(labels)).map(|(_, _, value)| *value)
    };
    assert_eq!(logs.map(|log| value("wal_log_up", log)), [Some(1.0), Some(1.0), Some(1.0), Some(0.0)]);
    assert_eq!(logs.map(|log| value("wal_log_last_seq", log)), [Some(60.0), Some(8.0), Some(21.0), None]);
    assert_eq!(logs.map(|log| value("wal_log_in_use", log)), [Some(0.0), Some(0.0), Some(1.0), None]);
    assert_eq!(logs.map(|log| value("wal_log_damaged", log)), [Some(0.0), Some(0.0), None, None]);
    assert_eq!(value("wal_log_segment_size_bytes", "a"), Some(4096.0));
    let on_disk: u64 = content(Path::new(&dir.join("a"))).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(value("wal_log_disk_bytes", "a"), Some(on_disk as f64));
    let ids: Vec<_> = found.iter().filter(|(name, _, _)| name == "wal_log_info").map(|(_, labels, _)| labels[1].1.len()).collect();
    assert_eq!(ids, [32, 32, 32]);
    used.close().unwrap();
}

#[test]
fn pins_are_told_and_dropped() {
    let dir = place("pins");
    let log = open(&dir.join("log"), &small());
    fill(&log, 200);
    let storage = directory(&dir.join("log"));
    let pin = |name: &str, seq, max_bytes, refuses| {
        let name = PinName::new(name.as_bytes()).unwrap();
        pins::create(&storage, name, seq, Limit { max_bytes, refuses }).unwrap()
    };
    pin("backup", 20, 0, false);
    pin("feed", 150, 1 << 30, true);
    pin("slow", 0, 4096, false);
    log.truncate(190, true).unwrap();
    let check = |in_use: bool| {
        let said = walctl(&dir, &["stat", "--human", "log"]);
        let lines: Vec<&str> = said.out.lines().filter(|line| line.contains(": keeps") || line.contains(": lost")).collect();
        assert_eq!(
            (said.code, lines),
            (
                0,
                vec![
                    "   pins        backup: keeps what is above seq 20, 24.0 KiB",
                    "               feed: keeps what is above seq 150, 4.0 KiB of at most 1.0 GiB, above which appends",
                    "               slow: lost at its limit of 4.0 KiB; seq 1 to 190 may be gone",
                ]
            ),
            "{}",
            said.out
        );
        let told = json(&walctl(&dir, &["stat", "log"]).out);
        assert_eq!((told["in_use"].as_bool(), told["pins"][0]["name"].as_str()), (Some(in_use), Some("backup")));
        assert_eq!((told["pins"][1]["refuses"].as_bool(), told["pins"][2]["lost"].as_bool()), (Some(true), Some(true)));
        let metrics = walctl(&dir, &["stat", "--prometheus", "log"]).out;
        assert!(metrics.contains("wal_log_pin_seq{dir=\"log\",pin=\"backup\"} 20\n"), "{metrics}");
        assert!(metrics.contains("wal_log_pin_lost{dir=\"log\",pin=\"slow\"} 1\n"), "{metrics}");
    };
    check(true);
    log.close().unwrap();
    check(false);
    let said = walctl(&dir, &["dump", "--from", "21", "log"]);
    let forgotten = "walctl: log: the records up to seq 190 have been forgotten, but for what pins keep: see --pinned\n";
    assert_eq!((said.code, said.err.as_str()), (1, forgotten));
    let said = walctl(&dir, &["dump", "--from", "21", "--pinned", "log"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 180));
    for name in ["backup", "slow"] {
        let said = walctl(&dir, &["unpin", "--human", "log", name]);
        let dropped = format!("{name}: dropped. The space comes back when the log is truncated next, or opened.\n");
        assert_eq!((said.code, said.out, said.err), (0, dropped, String::new()));
    }
    let said = walctl(&dir, &["unpin", "log", "backup"]);
    assert_eq!((said.code, said.err.as_str()), (5, "walctl: log: there is no pin \"backup\"\n"));
    assert_eq!(json(&walctl(&dir, &["unpin", "log", "feed"]).out)["unpinned"], "feed");
    assert_eq!(walctl(&dir, &["unpin", "nowhere", "feed"]).code, 3);
    assert_eq!(json(&walctl(&dir, &["stat", "log"]).out)["pins"], json("[]"));
    // A damaged one is called by its file, and holds up everything.
    let name = PinName::new(b"damaged").unwrap();
    pins::create(&storage, name, 195, Limit::default()).unwrap();
    fs::write(dir.join("log/0000000001.pin"), [7; 8192]).unwrap();
    let said = walctl(&dir, &["stat", "--human", "log"]).out;
    assert!(said.contains("pins        0000000001.pin: damaged: no segment is dropped"), "{said}");
    assert_eq!(walctl(&dir, &["unpin", "log", "0000000001.pin"]).code, 0);
}

#[test]
fn damage_that_only_pins_meet_is_told_and_not_repaired() {
    let dir = place("pinned-damage");
    let log = open(&dir.join("log"), &small());
    fill(&log, 200);
    pins::create(&directory(&dir.join("log")), PinName::new(b"backup").unwrap(), 20, Limit::default()).unwrap();
    log.truncate(190, true).unwrap();
    log.close().unwrap();
    assert_eq!(walctl(&dir, &["verify", "log"]).code, 0);
    damage(&dir.join("log"), 100);
    let before = content(&dir.join("log"));
    let said = walctl(&dir, &["verify", "log"]);
    assert_eq!((said.code, json(&said.out)["damages"][0]["seq"].as_u64()), (1, Some(100)));
    assert_eq!(walctl(&dir, &["stat", "log"]).code, 0, "an opening does not meet it");
    for arguments in [&["repair", "--human", "log"][..], &["repair", "--human", "--yes", "log"]] {
        let said = walctl(&dir, arguments);
        assert!(said.code == 1 && said.out.contains("Only pins need"), "{}", said.out);
    }
    assert_eq!(content(&dir.join("log")), before);
    assert_eq!(walctl(&dir, &["unpin", "log", "backup"]).code, 0);
    assert_eq!(walctl(&dir, &["verify", "log"]).code, 0);
}

#[test]
fn what_is_not_there_is_said_in_words_for_readers() {
    let dir = place("not-there");
    closed(&dir.join("log"), 60);
    let said = walctl(&dir, &["dump", "--from", "61", "log"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let said = walctl(&dir, &["dump", "--from", "62", "log"]);
    assert_eq!((said.code, said.err.as_str()), (1, "walctl: log: the log ends at seq 60\n"));
    let said = walctl(&dir, &["dump", "nowhere"]);
    assert_eq!((said.code, said.err.as_str()), (3, "walctl: nowhere: no such directory\n"));
}
