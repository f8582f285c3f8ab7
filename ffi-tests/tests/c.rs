//! Every C test of `c/`, one Rust test for each, against `libwal.a`. A name that stands only here, or only there, is a failure.

use wal_ffi_tests::{Library, RUNNER, build, list, run_static};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

macro_rules! c_tests {
    ($($group:ident { $($test:ident,)+ })+) => {
        $(mod $group {
            $(#[test]
            #[allow(non_snake_case)]
            fn $test() {
                super::run_static(super::TMP, concat!(stringify!($group), ".", stringify!($test)));
            })+
        })+

        const NAMES: &[&str] = &[$($(concat!(stringify!($group), ".", stringify!($test)),)+)+];
    };
}

c_tests! {
    appending {
        three_appends_get_1_2_3_and_truncate_2_leaves_only_seq_3,
        the_next_seq_follows_after_reopening,
        the_next_seq_follows_after_everything_was_truncated,
        the_next_seq_follows_after_everything_was_truncated_and_a_kill,
        records_of_0_bytes_and_100_kB_and_more_come_back,
        the_largest_record_fits_and_a_byte_more_is_refused,
        ops_come_back_and_reserved_ones_are_refused,
        a_batch_gets_consecutive_seqs,
        a_wrong_entry_is_named_and_nothing_is_appended,
        what_is_appended_is_not_kept_by_pointer,
        batch_flags_overrule_the_mode,
        small_segments_rotate_and_replay_in_order,
        batches_go_whole_into_the_next_segment,
    }
    packed {
        a_packed_batch_is_a_batch,
        packed_flags_overrule_the_mode,
        the_largest_packed_batch_fits_and_a_byte_more_is_refused,
        lengths_that_do_not_add_up_are_named,
        damage_to_a_packed_batch_is_refused_or_appended_as_it_stands,
        any_room_reads_the_same_records,
        a_record_without_room_stays_the_next,
        records_in_front_of_damage_are_handed_out_first,
        a_record_without_room_is_not_shown_once_it_is_in_doubt,
        packed_calls_check_their_arguments,
    }
    opening {
        a_new_log_is_created_and_an_existing_one_refused,
        where_a_log_must_exist_nothing_is_created,
        contradicting_options_are_refused,
        segment_sizes_are_checked,
        files_are_the_owners_unless_told_otherwise,
        read_only_reads_and_changes_nothing,
        read_only_shows_the_undecided_only_if_asked,
        another_stores_log_is_refused,
        a_store_of_the_right_age_is_accepted_and_others_have_a_gap,
        a_replay_from_the_wrong_place_has_a_gap,
        an_empty_store_needs_a_log_that_forgot_nothing,
        a_second_open_is_refused_in_this_process_and_in_another,
        an_unclean_opening_is_reported_and_counted,
        inspecting_changes_nothing_and_creates_nothing,
    }
    pins {
        a_pin_keeps_what_the_host_forgets,
        what_is_forgotten_cannot_be_pinned,
        a_pin_above_its_limit_is_lost_and_says_so,
        a_pin_may_refuse_appends_above_its_limit,
        wrong_arguments_are_refused,
        no_open_log_is_needed_and_a_forked_child_may_pin,
        files_of_pins_are_for_whom_the_manifest_is,
        an_inspection_reads_what_only_pins_need,
        a_damaged_pin_is_reported_and_keeps_everything,
        another_process_pins_while_the_host_forgets,
    }
    live {
        it_takes_no_lock_and_changes_nothing,
        it_follows_and_publishing_shows_the_last,
        what_is_not_synced_is_not_shown,
        a_reader_that_was_overtaken_has_a_gap,
        a_pin_keeps_it_from_being_overtaken,
        readers_keep_up_with_a_writer_that_forgets_recycles_and_dies,
    }
    forking {
        a_childs_calls_are_refused_and_its_close_discards,
        a_live_readers_child_is_told_apart_without_a_lock,
        a_child_does_not_hold_the_lock,
        a_child_may_open_other_logs_and_not_the_parents,
        a_child_may_open_the_log_when_the_parent_has_closed_it,
        forks_amid_appends_harm_neither_side,
        a_program_that_is_executed_inherits_no_file_of_the_log,
    }
    checkpoint {
        a_checkpoints_seq_follows_the_last_records,
        n_is_its_own_seq_if_nothing_stands_between_and_covered_otherwise,
        n_is_right_after_reopening,
        covered_above_the_last_seq_is_refused,
        a_checkpoint_makes_everything_durable,
        replay_after_a_checkpoint_is_empty,
        replay_after_n_yields_what_came_later,
        truncate_refuses_what_is_not_there_and_what_no_checkpoint_covers,
        what_a_store_says_at_opening_may_be_truncated,
        what_is_forgotten_stays_forgotten_and_the_rest_stays,
        an_open_cursor_keeps_what_it_still_has_to_read,
        disk_space_comes_back,
        recycled_segments_bring_nothing_back,
        a_truncation_inside_a_batch_leaves_the_rest,
        truncating_first_makes_durable_what_it_forgets,
    }
    replay {
        after_the_end_it_goes_on_with_what_came_since,
        a_replay_shows_what_is_durable_and_unsynced_all,
        raw_shows_checkpoints,
        many_cursors_read_independently,
        waiting_ends_when_there_is_more,
        waiting_for_a_seq_that_is_yet_to_come,
        a_shutdown_wakes_all_who_wait,
        after_a_shutdown_everything_answers_closed,
        a_record_longer_than_the_buffer_is_read_whole,
    }
    modes {
        always_loses_nothing_with_the_process,
        os_loses_nothing_with_the_process,
        batch_loses_no_more_than_its_bound_with_the_process,
        none_loses_its_buffer_with_the_process,
        always_is_durable_when_append_returns,
        batch_leaves_no_more_than_its_bound_unsynced,
        batch_syncs_when_its_interval_is_over,
        os_and_none_are_durable_when_asked,
        os_and_none_sync_in_the_background,
        a_clean_close_makes_everything_durable,
    }
    crash {
        the_protocol_survives_a_crash_at_every_step,
        a_new_log_survives_a_crash_at_every_call,
        a_new_log_survives_a_crash_amid_every_write,
        an_old_log_survives_a_crash_at_every_call,
        an_old_log_survives_a_crash_amid_every_write,
        a_log_with_its_thread_survives_a_crash_at_every_call,
        the_protocol_survives_a_crash_at_every_step_with_writers,
        a_store_of_another_log_is_told_apart_after_a_crash,
        an_old_copy_of_the_log_is_refused_by_the_store,
        a_truncation_keeps_what_is_above_wherever_the_process_dies,
        a_batch_whose_end_is_missing_never_shows,
        a_batch_whose_end_is_garbage_never_shows,
        a_torn_record_is_dropped_and_what_follows_is_found,
        torn_records_pile_up_without_harm,
    }
    failing {
        a_failed_sync_poisons_the_handle,
        a_failed_sync_reaches_everybody_who_waits_for_it,
        many_appends_share_a_sync,
        a_shutdown_amid_a_sync_lets_it_complete,
        a_failed_write_is_taken_back,
        a_failed_write_that_cannot_be_taken_back_poisons_the_handle,
        a_failed_write_of_accepted_records_poisons_the_handle,
        a_failed_sync_at_close_is_told,
        a_checkpoint_that_fails_licenses_nothing,
        every_call_fails_once,
        every_call_fails_for_good,
        every_call_lacks_space_once,
        every_call_lacks_space_for_good,
        an_interrupted_call_is_repeated,
        a_full_disk_is_found_before_anything_is_written,
        truncating_makes_room_on_a_full_disk,
        a_crashed_log_opens_on_a_full_disk,
        no_log_is_created_on_a_full_disk,
        a_limit_on_file_sizes_loses_nothing,
        a_small_file_system_that_fills_up,
    }
    damage {
        a_directory_that_cannot_be_created_is_named,
        foreign_files_are_left_alone,
        links_in_place_of_files_are_refused,
        a_newer_manifest_is_refused_and_not_touched,
        a_newer_writer_that_old_readers_understand_is_accepted,
        a_newer_segment_is_refused_and_not_touched,
        a_log_opens_with_any_copy_of_its_manifest_and_not_with_none,
        a_missing_or_cut_manifest_is_damage,
        a_missing_segment_is_damage,
        a_cut_segment_is_damage,
        the_seqs_at_risk_of_a_lost_segment_are_named,
        a_flipped_bit_is_reported_where_it_is,
        an_inspection_names_every_damage,
        a_last_record_damaged_after_a_clean_close_is_reported,
        prefix_keeps_what_precedes_the_damage_and_says_so,
        prefix_moves_damaged_segments_aside,
        an_old_copy_of_the_manifest_is_noticed,
    }
    threads {
        everything_at_once_with_group_commit,
        everything_at_once_with_batches,
        everything_at_once_without_a_background_thread,
        everything_at_once_in_small_segments,
        a_shutdown_in_full_flight_loses_nothing_acknowledged,
        threads_that_open_one_log_exclude_each_other,
    }
    arguments {
        no_handle_is_an_error_and_not_a_crash,
        no_place_for_a_result_is_an_error_where_it_is_needed,
        absurd_lengths_are_refused_before_anything_is_read,
        unknown_constants_are_refused,
        reserved_members_must_be_0,
        options_of_other_sizes_are_understood,
        options_init_writes_what_it_is_given_and_no_more,
        structs_that_grow_are_written_up_to_the_callers_size,
        a_path_that_is_too_long_is_an_error,
        every_status_has_a_name_and_a_sentence,
        structs_have_the_sizes_that_never_change,
    }
    panics {
        a_panic_in_an_append_poisons_the_handle,
        a_panic_of_the_background_thread_poisons_the_handle,
        a_panic_in_an_opening_leaves_nothing_behind,
        a_panic_in_a_cursor_breaks_that_cursor_alone,
    }
    storage {
        nothing_acknowledged_is_lost_to_a_power_cut_at_any_call,
        nothing_synced_is_lost_to_a_power_cut_at_any_call,
        nothing_is_lost_to_a_power_cut_amid_the_work_of_the_logs_thread,
        a_disk_that_calls_durable_what_is_not_is_noticed,
        every_call_fails,
        every_call_lacks_space,
        short_reads_and_writes_are_completed,
        counts_above_what_was_asked_for_are_errors,
        error_numbers_that_nobody_negated_are_errors,
        a_file_that_is_null_is_an_error,
    }
    layers {
        every_function_is_needed_but_two,
        structs_of_other_sizes_are_refused_or_understood,
        names_that_are_none_fail_the_listing,
        a_second_opening_is_locked_out,
        a_live_reader_follows_and_a_cursor_outlives_the_log,
        a_child_made_by_fork_calls_nothing,
        threads_use_it_at_once,
        logs_move_between_layers,
        a_cut_or_lost_manifest_is_written_from_its_end,
        a_live_reader_whose_file_is_gone_hears_of_a_gap,
    }
    direct {
        segments_are_written_past_the_cache_and_nothing_else_is,
        records_of_every_size_come_back_from_memory_and_from_disk,
        values_of_a_large_batch_may_end_where_blocks_do,
        a_log_may_be_opened_one_way_and_the_other,
        where_it_cannot_be_done_opening_says_so_and_leaves_nothing,
        where_blocks_are_larger_opening_says_so_and_leaves_nothing,
        a_cut_manifest_is_damage_also_past_the_cache,
        it_is_for_writers_that_sync_to_the_systems_files,
        live_readers_see_what_went_past_the_cache,
    }
    watching {
        a_logs_life_is_told_in_order,
        a_recovery_is_told,
        damage_is_told_with_what_it_took,
        a_poisoned_handle_is_told_once_and_remembered,
        a_callback_may_use_the_log,
        a_spare_that_cannot_be_had_is_told_by_the_background_thread,
        a_slow_sync_is_seen_while_it_runs_and_told_afterwards,
        the_numbers_add_up,
        messages_of_many_threads_come_one_at_a_time,
    }
}

#[test]
fn the_lists_agree() {
    let in_c = list(&build(RUNNER, Library::Static, TMP));
    let only_in_c: Vec<_> = in_c.iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
    let only_here: Vec<_> = NAMES.iter().filter(|name| !in_c.iter().any(|test| test == *name)).collect();
    assert!(only_in_c.is_empty() && only_here.is_empty(), "only in C: {only_in_c:?}, only in Rust: {only_here:?}");
}
