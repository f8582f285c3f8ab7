//! A device that fails for a moment is no damage: who opens or inspects hears of the error, and nothing is decided by it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::config::{Config, OpenKind, Recovery, SyncMode};
use wal_engine::error::{Code, Error};
use wal_engine::format::constants::DATA_START;
use wal_engine::format::frame::Kind;
use wal_engine::log::{Log, Report, inspect};
use wal_engine::names::FileName;
use wal_engine::storage::{IoError, IoKind};
use wal_prove::forge::{changed, flipped, frames};
use wal_prove::host::{bounded, config, put};
use wal_sim::{Call, Disk, Fault, Image};

/// A way of asking what a disk holds.
type Ask = dyn Fn(&Disk) -> Told;

fn strict() -> Config {
    config(SyncMode::Always, true)
}

fn prefix() -> Config {
    Config { recovery: Recovery::Prefix, ..strict() }
}

fn left(segments: u64, clean: bool) -> Image {
    let disk = Disk::new(3);
    let log = Log::open(disk.storage(), &strict()).unwrap();
    while log.stat().segments < segments {
        put(&log, 400);
    }
    put(&log, 100);
    if clean {
        log.close().unwrap();
    }
    disk.visible_image()
}

/// Killed behind the END of the second segment, and the third, which it names, has lost its header.
fn without_a_successor() -> Image {
    let image = left(3, false);
    let second = frames(image.read(FileName::Segment(2)).unwrap()).1;
    assert_eq!(second[second.len() - 1].kind, Kind::End);
    changed(&image, FileName::Segment(3), |bytes| {
        bytes[10] ^= 1;
        bytes[DATA_START as usize..].fill(0);
    })
}

fn without_manifest(mut image: Image) -> Image {
    image.remove(FileName::Manifest);
    image
}

/// With a segment that another log made: nothing tells which of the two this is.
fn with_a_stranger(mut image: Image) -> Image {
    let disk = Disk::new(4);
    put(&Log::open(disk.storage(), &strict()).unwrap(), 100);
    let stranger = disk.visible_image().read(FileName::Segment(1)).unwrap().to_vec();
    image.remove(FileName::Segment(1));
    image.write(FileName::Segment(1), stranger);
    image
}

/// What somebody is told: everything but how much was read and how long it took.
type Told = Result<String, Error>;

fn told(report: Report, damages: &[Error]) -> String {
    format!("{:?} {damages:?}", Report { duration_us: 0, bytes_read: 0, ..report })
}

fn opened(disk: &Disk, config: &Config) -> Told {
    Log::open(disk.storage(), config).map(|log| told(log.report(), &[]))
}

fn inspected(disk: &Disk) -> Told {
    let mut damages = Vec::new();
    let report = inspect(&disk.storage(), &Config { open: OpenKind::Existing, ..strict() }, true, &mut |damage| damages.push(*damage))?;
    Ok(told(report, &damages))
}

#[test]
fn each_call_that_reads_fails_once() {
    bounded(|| {
        let images = [
            ("clean", left(3, true)),
            ("killed", left(3, false)),
            ("damaged", flipped(&left(4, true), 3, 900)),
            ("a header is damaged", flipped(&left(4, true), 3, 10)),
            ("no successor", without_a_successor()),
            ("no manifest", without_manifest(left(3, false))),
            ("one segment and no manifest", without_manifest(left(1, false))),
            ("no manifest and a segment of another log", with_a_stranger(without_manifest(left(3, false)))),
            ("no manifest and damage", flipped(&without_manifest(left(3, false)), 2, 900)),
        ];
        for (what, image) in &images {
            let asks: [(&str, &Ask); 3] = [
                ("strictly", &|disk| opened(disk, &Config { open: OpenKind::Existing, ..strict() })),
                ("prefix", &|disk| opened(disk, &prefix())),
                ("inspected", &inspected),
            ];
            for (how, ask) in asks {
                let expected = ask(&Disk::from_image(image, 4));
                for call in [Call::Open, Call::Len, Call::ReadAt] {
                    for nth in 1.. {
                        let disk = Disk::from_image(image, 4);
                        disk.fail(Fault::nth(nth).of(call));
                        let found = ask(&disk);
                        if disk.injected() == 0 {
                            break;
                        }
                        let is_error = found.as_ref().is_err_and(|error| error.code == Code::Io && error.seq == 0);
                        assert!(is_error || found == expected, "{what}, {how}, {call:?} {nth}: {found:?} and not {expected:?}");
                    }
                }
            }
        }
    });
}

/// Symlinks, pipes and what else has a segment's name are nobody's segments: a log is made or made anew beside them.
#[test]
fn a_name_that_is_no_file() {
    bounded(|| {
        let beside = |image: &Image, config: &Config| {
            let disk = Disk::from_image(image, 4);
            let error = IoError { kind: IoKind::NotAFile, os_error: 40 };
            disk.fail(Fault::nth(1).of(Call::Open).on(FileName::Segment(77)).error(error).forever());
            Log::open(disk.storage(), config).map(|log| (log.report().created, log.last_seq()))
        };
        let mut empty = Image::new();
        empty.write(FileName::Segment(77), Vec::new());
        assert_eq!(beside(&empty, &strict()), Ok((true, 0)));
        let mut image = without_manifest(left(3, false));
        let last = Log::open(Disk::from_image(&image, 4).storage(), &prefix()).unwrap().last_seq();
        image.write(FileName::Segment(77), Vec::new());
        assert_eq!(beside(&image, &prefix()), Ok((false, last)));
    });
}
