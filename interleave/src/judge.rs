//! What must hold at the end of a run, and after a power cut at any of its moments.

use std::collections::BTreeSet;

use wal_engine::config::Config;
use wal_engine::format::constants::{OP_CHECKPOINT, OP_PUT};
use wal_engine::log::{Log, ReplayOptions};
use wal_engine::seq::{self, Seq};
use wal_sim::{Budget, Disk, Image};

use crate::world::{Fate, Id, Ledger, World, id_of};

/// How many moments of a run, beside its last, the power goes at.
const CUTS: usize = 2;

/// Judges a run that is over.
pub fn judge(world: &World) {
    world.disk.assert_ordered();
    world.moment();
    let moments = world.moments();
    let Some((last, earlier)) = moments.split_last() else { return };
    let none = last.point.none_survives();
    reopen(world, &none, &last.ledger, false, true);
    reopen(world, &last.point.all_survive(), &last.ledger, false, false);
    // Which moments is as good as random, but follows from the run.
    let mut choice = none.hash();
    for _ in 0..CUTS.min(earlier.len()) {
        choice = choice.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) | 1;
        let moment = &earlier[(choice >> 8) as usize % earlier.len()];
        match choice >> 60 {
            0..6 => reopen(world, &moment.point.none_survives(), &moment.ledger, false, false),
            6..8 => reopen(world, &moment.visible, &moment.ledger, true, false),
            _ => {
                let budget = Budget { exhaustive: 0, samples: 1, torn: 1, seed: choice };
                for image in moment.point.images(&budget) {
                    reopen(world, &image, &moment.ledger, false, false);
                }
            }
        }
    }
}

/// Opens what a crash left, and holds it against what was known. The process alone has died if `process_only`.
fn reopen(world: &World, image: &Image, ledger: &Ledger, process_only: bool, go_on: bool) {
    let disk = Disk::from_image(image, 2);
    let saved = ledger.store.as_ref().map_or(0, |store| store.saved);
    let own = Config { segment_bytes: world.config.segment_bytes, background: false, ..Config::default() };
    let config = Config { store_seq: (saved > 0).then_some(saved), ..own };
    let log = Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("after the crash: {error}; {ledger:?}"));
    let stat = log.stat();
    let promised = if process_only { ledger.written.max(ledger.durable) } else { ledger.durable };
    assert!(stat.last_seq >= promised, "lost: the log ends at {}; {ledger:?}", stat.last_seq);
    assert!(stat.last_seq <= ledger.most, "invented: the log ends at {}; {ledger:?}", stat.last_seq);
    assert!(stat.checkpoint_seq >= ledger.checkpoint, "the checkpoint went back to {}; {ledger:?}", stat.checkpoint_seq);
    assert!((ledger.floor..=ledger.asked_floor.max(ledger.floor)).contains(&stat.floor_seq), "floor {}; {ledger:?}", stat.floor_seq);
    let (seqs, seen) = read(&log, ledger);
    assert_eq!(seqs, (stat.floor_seq + 1..=stat.last_seq).collect::<Vec<_>>(), "holes; {ledger:?}");
    for (id, fate) in &ledger.records {
        let Fate::At(seq) = *fate else { continue };
        assert!(seq > promised || seq <= stat.floor_seq || seen.contains(&(seq, *id)), "lost: record {id} at {seq}; {ledger:?}");
        if let Some(store) = &ledger.store {
            let replayed = seq > saved && seen.contains(&(seq, *id));
            assert!(
                seq > promised || replayed || store.durable.contains(id),
                "neither in the store nor replayed: {id} at {seq}; {ledger:?}"
            );
        }
    }
    if go_on {
        let next = log.append(OP_PUT, b"", b"next").unwrap_or_else(|error| panic!("appends do not go on: {error}; {ledger:?}"));
        assert_eq!(next, stat.last_seq + 1);
        log.close().unwrap_or_else(|error| panic!("the next close: {error}; {ledger:?}"));
        let log = Log::open(disk.storage(), &config).unwrap_or_else(|error| panic!("the next opening: {error}; {ledger:?}"));
        assert_eq!((log.last_seq(), log.report().clean), (next, true), "{ledger:?}");
    }
}

/// Every record, each held against what was known of it.
fn read(log: &Log<wal_sim::SimStorage>, ledger: &Ledger) -> (Vec<Seq>, BTreeSet<(Seq, Id)>) {
    let options = ReplayOptions { raw: true, ..ReplayOptions::default() };
    let mut cursor = log.replay(seq::OLDEST, options).unwrap_or_else(|error| panic!("replay: {error}; {ledger:?}"));
    let (mut seqs, mut seen, mut ids, mut batch_last) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), 0);
    while let Some(record) = cursor.next().unwrap_or_else(|error| panic!("replay: {error}; {ledger:?}")) {
        seqs.push(record.seq);
        batch_last = record.batch_last_seq;
        if record.op == OP_CHECKPOINT {
            continue;
        }
        let id = id_of(record.value).unwrap_or_else(|| panic!("wrong bytes in seq {}; {ledger:?}", record.seq));
        match ledger.records.get(&id) {
            None | Some(Fate::Refused) => panic!("invented: record {id} at {}; {ledger:?}", record.seq),
            Some(Fate::At(seq)) => assert_eq!(record.seq, *seq, "record {id} is at another place; {ledger:?}"),
            Some(Fate::UnderWay | Fate::InDoubt) => {}
        }
        assert!(ids.insert(id), "record {id} is there twice; {ledger:?}");
        seen.insert((record.seq, id));
    }
    assert!(batch_last <= seqs.last().copied().unwrap_or(0), "half a batch; {ledger:?}");
    (seqs, seen)
}
