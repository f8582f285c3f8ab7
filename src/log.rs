//! Opening, shutting down, closing.

use core::ffi::c_char;

use wal_engine::config::OpenKind;
use wal_engine::log::Log;
use wal_engine::storage::posix::fork;

use crate::boundary::Callback;
use crate::error::WalError;
use crate::files::Files;
use crate::handle::{Room, Wal};
use crate::options::WalOptions;
use crate::status::{WAL_OK, WalStatus};

/// Opens a log, or creates it where there is none (unless the options say otherwise). After a
/// crash it first makes sure that everything it will ever show is durable; that takes as long
/// as reading and copying one segment, not the log.
///
/// dir       the log's directory, created if need be, its parent not; the log's alone.
/// options   NULL: defaults.
/// out       receives the handle.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID, with the option's name in the message;
///           WAL_E_NOT_FOUND (no log, and it was not to be created), WAL_E_EXISTS (WAL_OPEN_NEW);
///           WAL_E_LOCKED (open elsewhere, in this process or another);
///           WAL_E_GAP (the store is older than what the log has forgotten, or newer than its
///           end; seq to seq_last are missing), WAL_E_WRONG_LOG;
///           WAL_E_CORRUPT (file, offset and records at risk in err), WAL_E_FORMAT;
///           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY, WAL_E_PANIC.
///           On every error nothing can have been appended, and no handle exists; a log that was
///           to be created may be there, empty.
/// Threads:  any, any time.
/// Lifetime: the handle lives until wal_close. dir and options are not kept, but for log_callback
///           and log_context, which must be good until wal_close has returned, and what `storage`
///           names, which its cursors use until wal_replay_close.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_open(dir: *const c_char, options: *const WalOptions, out: *mut *mut Wal, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    let name = caller.dir_name(dir);
    caller.guard(err, &name, || {
        let path = caller.path(dir)?;
        caller.need(out, "out is NULL")?;
        let options = caller.options(options)?;
        let config = options.config()?;
        let create = matches!(config.checked()?.open, OpenKind::Any | OpenKind::New);
        let modes = options.modes()?;
        let storage = caller.storage(&options)?;
        let room = Room::new()?;
        // A log that takes no lock of the system's must learn of forks, too.
        fork::watch().map_err(|io| io.in_directory("the system has no memory to tell the log of forks"))?;
        let generation = fork::generation();
        let listener = Callback::of(&options, name)?;
        let files = Files::open(storage.as_ref(), path, create, modes, options.is_direct())?;
        let engine = Log::open_heard(files, &config, listener)?;
        caller.put(out, room.fill(Wal::new(engine, name, generation)));
        Ok(WAL_OK)
    })
}

/// Ends the log's work without freeing it: every thread that waits in a call on it is woken, and
/// every later call on it and its cursors returns WAL_E_CLOSED. For programs with several
/// threads: wal_shutdown, join the threads, wal_close. An append under way may still complete.
/// Shutting down twice is allowed.
///
/// Returns:  WAL_OK, WAL_E_INVALID (wal is NULL), WAL_E_FORKED, WAL_E_PANIC.
/// Threads:  any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_shutdown(wal: *mut Wal, err: *mut WalError) -> WalStatus {
    caller!().log(wal, err, |log| {
        log.engine.shutdown()?;
        Ok(WAL_OK)
    })
}

/// Makes everything durable, marks the log clean, and frees the handle, whatever it returns.
/// Only after WAL_OK was everything appended durable in every sync mode.
///
/// wal       an open log that no other thread is using.
///
/// Returns:  WAL_OK;
///           WAL_E_INVALID (wal is NULL);
///           WAL_E_IO, WAL_E_NO_SPACE (the final write or sync failed; the next opening treats
///           the log like after a crash);
///           WAL_E_FAILED (the handle was poisoned; likewise);
///           WAL_E_FORKED (in a child that inherited the handle: it is freed, nothing else
///           happens, the parent's log is not touched);
///           WAL_E_PANIC.
/// Threads:  no other call on this handle may be under way or follow.
/// Lifetime: ends the handle. Its cursors stay valid, answer WAL_E_CLOSED, and are closed on
///           their own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_close(wal: *mut Wal, err: *mut WalError) -> WalStatus {
    caller!().close_log(wal, err)
}
