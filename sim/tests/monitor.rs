//! The ordering monitor: silent on the right order, and each planted mistake is found under its own rule.

mod common;

use common::{
    HandMade, SEGMENT_BYTES, durable_file, first_record, frame, hand_made, header, manifest, open_frame, record, segment, spare,
    write_manifest,
};
use wal_engine::format::constants::{DATA_START, MANIFEST_LEN};
use wal_engine::format::control::How;
use wal_engine::format::frame::Kind;
use wal_engine::names::FileName;
use wal_engine::storage::{Access, File, Storage};
use wal_sim::{Call, Disk, Fault, Rule};

fn rules(disk: &Disk) -> Vec<Rule> {
    disk.violations().into_iter().map(|violation| violation.rule).collect()
}

fn second_record() -> u64 {
    first_record() + record(1, first_record(), 0).len() as u64
}

/// Seqs of the third segment begin at 30; record 30 is durable in it.
const NEXT_SEQ: u64 = 31;

/// Appends the next record to the last segment, unsynced.
fn append(log: &HandMade) {
    log.segments[2].write_at(second_record(), &record(3, second_record(), 1)).expect("write");
}

#[test]
fn the_right_order_of_append_and_acknowledgement_is_silent() {
    let log = hand_made();
    append(&log);
    log.disk.acknowledge(NEXT_SEQ - 1);
    log.segments[2].sync().expect("sync");
    log.disk.acknowledge(NEXT_SEQ);
    log.disk.assert_all_synced();
    assert_eq!(rules(&log.disk), []);
}

#[test]
fn a_record_acknowledged_before_its_sync_is_found() {
    let log = hand_made();
    append(&log);
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes]);
}

#[test]
fn unsynced_records_above_the_acknowledged_one_do_not_matter() {
    let log = hand_made();
    append(&log);
    log.segments[2].sync().expect("sync");
    let at = second_record() + record(3, second_record(), 1).len() as u64;
    log.segments[2].write_at(at, &record(3, at, 2)).expect("write");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), []);
    log.disk.acknowledge(NEXT_SEQ + 1);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes]);
}

#[test]
fn a_batch_that_begins_below_the_acknowledged_seq_has_to_be_durable() {
    let log = hand_made();
    log.segments[2].write_at(second_record(), &frame(3, second_record(), Kind::Batch, 1, &[1; 40])).expect("write");
    log.disk.acknowledge(NEXT_SEQ + 2);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes]);
}

#[test]
fn a_record_written_while_the_sync_ran_is_not_synced() {
    let log = hand_made();
    append(&log);
    let file = log.storage.open(segment(3), Access::Write).expect("open");
    let at = second_record() + record(3, second_record(), 1).len() as u64;
    log.disk.on_sync(move |_| file.write_at(at, &record(3, at, 2)).expect("write"));
    log.segments[2].sync().expect("sync");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), []);
    log.disk.acknowledge(NEXT_SEQ + 1);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes]);
}

#[test]
fn a_synced_record_behind_an_unsynced_open_frame_cannot_be_reached() {
    let log = hand_made();
    let file = durable_file(&log.storage, segment(4), SEGMENT_BYTES);
    file.write_at(0, &header(4)).expect("write");
    file.write_at(first_record(), &record(4, first_record(), 0)).expect("write");
    file.sync().expect("sync");
    file.write_at(DATA_START, &open_frame(4, How::Rotated, 3, NEXT_SEQ)).expect("write");
    log.disk.acknowledge(NEXT_SEQ - 1);
    assert_eq!(rules(&log.disk), []);
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes]);
}

#[test]
fn what_lies_before_the_segment_of_the_bound_is_superseded() {
    let log = hand_made();
    append(&log);
    let file = durable_file(&log.storage, segment(4), SEGMENT_BYTES);
    file.write_at(0, &header(4)).expect("write");
    file.write_at(DATA_START, &open_frame(4, How::Recovered, 3, NEXT_SEQ)).expect("write");
    file.write_at(first_record(), &record(4, first_record(), 0)).expect("write");
    file.sync().expect("sync");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedBytes], "the manifest does not name the copy yet");
    write_manifest(&log.manifest, &manifest(2, 1, 4, second_record()));
    log.manifest.sync().expect("sync");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk).len(), 1);
}

#[test]
fn a_missing_directory_sync_is_found() {
    let log = hand_made();
    // The successor is renamed into place, and nobody syncs the directory.
    let file = durable_file(&log.storage, spare(4), SEGMENT_BYTES);
    file.write_at(0, &header(4)).expect("write");
    file.sync().expect("sync");
    log.storage.rename(spare(4), segment(4)).expect("rename");
    log.disk.acknowledge(NEXT_SEQ - 1);
    assert_eq!(rules(&log.disk), [], "a prepared segment without frames may be under way");
    file.write_at(DATA_START, &open_frame(4, How::Rotated, 3, NEXT_SEQ)).expect("write");
    file.write_at(first_record(), &record(4, first_record(), 0)).expect("write");
    file.sync().expect("sync");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), [Rule::AcknowledgedName]);
    log.storage.sync_dir().expect("sync_dir");
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk).len(), 1);
}

#[test]
fn a_manifest_whose_name_is_not_durable_is_found() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = storage.create(FileName::Manifest).expect("create");
    file.fill_zeros(MANIFEST_LEN as u64).expect("fill");
    write_manifest(&file, &manifest(1, 1, 1, 64));
    file.sync().expect("sync");
    disk.acknowledge(1);
    assert_eq!(rules(&disk), [Rule::AcknowledgedName]);
}

#[test]
fn a_log_at_rest_has_nothing_unsynced() {
    let log = hand_made();
    append(&log);
    let found = std::panic::catch_unwind(|| log.disk.assert_all_synced());
    assert!(found.is_err());
    assert_eq!(rules(&log.disk), [Rule::AtRest]);
    let log = hand_made();
    write_manifest(&log.manifest, &manifest(2, 1, 2, first_record()));
    assert!(std::panic::catch_unwind(|| log.disk.assert_all_synced()).is_err());
    assert_eq!(rules(&log.disk), [Rule::AtRest]);
}

#[test]
fn believing_a_second_sync_is_found() {
    let log = hand_made();
    append(&log);
    log.disk.fail(Fault::nth(1).of(Call::Sync));
    assert!(log.segments[2].sync().is_err());
    assert_eq!(rules(&log.disk), []);
    log.segments[2].sync().expect("sync");
    assert_eq!(rules(&log.disk), [Rule::SyncRepeated]);
    log.disk.acknowledge(NEXT_SEQ);
    assert_eq!(rules(&log.disk), [Rule::SyncRepeated, Rule::AcknowledgedBytes], "the lost record is not durable either");
}

#[test]
fn a_later_opening_may_sync_the_file_whose_sync_failed() {
    let log = hand_made();
    write_manifest(&log.manifest, &manifest(2, 1, 2, first_record()));
    log.disk.fail(Fault::nth(1).of(Call::Sync));
    assert!(log.manifest.sync().is_err());
    let again = log.disk.storage().open(FileName::Manifest, Access::Write).expect("open");
    again.sync().expect("sync");
    again.drop_cache();
    assert_eq!(rules(&log.disk), []);
}

#[test]
fn a_second_directory_sync_is_found_if_it_matters() {
    let log = hand_made();
    log.disk.fail(Fault::nth(1).of(Call::SyncDir));
    log.storage.create(spare(9)).expect("create");
    assert!(log.storage.sync_dir().is_err());
    assert_eq!(rules(&log.disk), []);
    log.storage.sync_dir().expect("sync_dir");
    assert_eq!(rules(&log.disk), [Rule::SyncRepeated]);
}

#[test]
fn removing_a_segment_before_the_manifest_is_durable_is_found() {
    let log = hand_made();
    write_manifest(&log.manifest, &manifest(2, 2, 2, first_record()));
    log.storage.remove(segment(1)).expect("remove");
    assert_eq!(rules(&log.disk), [Rule::Taken]);
    assert!(log.disk.violations()[0].to_string().contains("generation 1"));
}

#[test]
fn removing_a_segment_below_the_oldest_is_right() {
    let log = hand_made();
    write_manifest(&log.manifest, &manifest(2, 2, 2, first_record()));
    log.manifest.sync().expect("sync");
    log.storage.remove(segment(1)).expect("remove");
    assert_eq!(rules(&log.disk), []);
}

#[test]
fn renaming_a_needed_segment_is_found_forward_of_the_bound_and_back_from_it() {
    for index in 1..=3 {
        let log = hand_made();
        log.storage.rename(segment(index), spare(index)).expect("rename");
        assert_eq!(rules(&log.disk), [Rule::Taken], "segment {index}");
    }
}

#[test]
fn segments_outside_the_chain_may_go() {
    let log = hand_made();
    // A recovery that no manifest names, a prepared segment, and what hangs on neither.
    for (index, how, predecessor) in [(4, Some(How::Recovered), 2), (5, None, 0), (6, Some(How::Rotated), 5)] {
        let file = durable_file(&log.storage, segment(index), SEGMENT_BYTES);
        file.write_at(0, &header(index)).expect("write");
        if let Some(how) = how {
            file.write_at(DATA_START, &open_frame(index, how, predecessor, 40)).expect("write");
        }
        file.sync().expect("sync");
        log.storage.rename(segment(index), spare(index)).expect("rename");
    }
    assert_eq!(rules(&log.disk), []);
    // After a recovery whose OPEN leads back to the second segment, the third is a leftover.
    let log = hand_made();
    let file = durable_file(&log.storage, segment(4), SEGMENT_BYTES);
    file.write_at(0, &header(4)).expect("write");
    file.write_at(DATA_START, &open_frame(4, How::Recovered, 2, 40)).expect("write");
    file.sync().expect("sync");
    write_manifest(&log.manifest, &manifest(2, 1, 4, first_record()));
    log.manifest.sync().expect("sync");
    log.storage.remove(segment(3)).expect("remove");
    assert_eq!(rules(&log.disk), []);
    log.storage.remove(segment(2)).expect("remove");
    assert_eq!(rules(&log.disk), [Rule::Taken]);
}

#[test]
fn damaged_segments_move_aside_only_as_the_manifest_says() {
    let log = hand_made();
    log.storage.rename(segment(3), FileName::Damaged(3)).expect("rename");
    assert_eq!(rules(&log.disk), [Rule::Taken]);
    let log = hand_made();
    let mut announced = manifest(2, 1, 2, first_record());
    announced.aside = (3, 3);
    write_manifest(&log.manifest, &announced);
    log.manifest.sync().expect("sync");
    log.storage.rename(segment(3), FileName::Damaged(3)).expect("rename");
    assert_eq!(rules(&log.disk), []);
}

#[test]
fn without_a_manifest_only_segments_without_frames_may_go() {
    let disk = Disk::new(1);
    let storage = disk.storage();
    let file = durable_file(&storage, segment(1), SEGMENT_BYTES);
    file.write_at(0, &header(1)).expect("write");
    file.sync().expect("sync");
    storage.rename(segment(1), spare(1)).expect("an unfinished creation is begun again");
    assert_eq!(rules(&disk), []);
    let file = durable_file(&storage, segment(2), SEGMENT_BYTES);
    file.write_at(0, &header(2)).expect("write");
    file.write_at(DATA_START, &open_frame(2, How::First, 0, 1)).expect("write");
    file.sync().expect("sync");
    storage.remove(segment(2)).expect("remove");
    assert_eq!(rules(&disk), [Rule::Taken]);
}

#[test]
fn removing_a_valid_manifest_is_found() {
    let log = hand_made();
    log.storage.remove(FileName::Manifest).expect("remove");
    assert_eq!(rules(&log.disk), [Rule::Taken]);
    let disk = Disk::new(1);
    let storage = disk.storage();
    durable_file(&storage, FileName::Manifest, 16384);
    storage.remove(FileName::Manifest).expect("an empty one belongs to an unfinished creation");
    assert_eq!(rules(&disk), []);
}

#[test]
fn overwriting_a_recycled_file_before_its_name_is_durable_is_found() {
    for synced in [false, true] {
        let log = hand_made();
        write_manifest(&log.manifest, &manifest(2, 2, 2, first_record()));
        log.manifest.sync().expect("sync");
        log.storage.rename(segment(1), spare(1)).expect("rename");
        if synced {
            log.storage.sync_dir().expect("sync_dir");
        }
        let file = log.storage.open(spare(1), Access::Write).expect("open");
        file.write_at(0, &header(4)).expect("write");
        let expected: &[Rule] = if synced { &[] } else { &[Rule::Recycled] };
        assert_eq!(rules(&log.disk), expected);
    }
}

#[test]
fn writing_into_a_removed_segment_before_its_removal_is_durable_is_found() {
    let log = hand_made();
    write_manifest(&log.manifest, &manifest(2, 2, 2, first_record()));
    log.manifest.sync().expect("sync");
    log.storage.remove(segment(1)).expect("remove");
    log.segments[0].write_at(0, &[0; 64]).expect("write");
    assert_eq!(rules(&log.disk), [Rule::Recycled]);
}

#[test]
fn changing_bytes_in_front_of_the_bound_is_found() {
    let log = hand_made();
    // The same bytes again change nothing, and behind the bound zeros may be put over frames.
    log.segments[0].write_at(first_record(), &record(1, first_record(), 0)).expect("write");
    log.segments[1].write_at(first_record(), &[0; 32]).expect("write");
    log.segments[2].write_at(first_record(), &[0; 32]).expect("write");
    assert_eq!(rules(&log.disk), []);
    log.segments[0].write_at(first_record(), &[0; 32]).expect("write");
    log.segments[1].write_at(first_record() - 1, &[1; 2]).expect("write");
    assert_eq!(rules(&log.disk), [Rule::Rewritten, Rule::Rewritten]);
}

#[test]
fn what_was_found_is_told_with_the_trace() {
    let log = hand_made();
    log.storage.remove(segment(2)).expect("remove");
    let message = std::panic::catch_unwind(|| log.disk.assert_ordered()).expect_err("there is a violation");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("Taken") && message.contains("remove 0000000002.wal"), "{message}");
}
