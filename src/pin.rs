//! Pins: promises that what the host forgets stays on disk for somebody else.

use core::ffi::{CStr, c_char};
use core::fmt::Write;

use wal_engine::error::Error;
use wal_engine::format::constants::PIN_NAME_LEN;
use wal_engine::format::pin::PinName;
use wal_engine::names::FileName;
use wal_engine::pins::{self, Limit, PinInfo};
use wal_engine::seq;
use wal_engine::storage::posix::Directory;

use crate::check::{self, invalid};
use crate::error::WalError;
use crate::status::{WAL_OK, WalStatus};
use crate::text::Text;

/// ## wal_pin_create: seq and flags
/// As seq: all that is not yet forgotten.
pub const WAL_PIN_OLDEST: u64 = u64::MAX - 2;
/// Refuse appends rather than lose it.
pub const WAL_PIN_REFUSE: u32 = 1;

const _: () = assert!(WAL_PIN_OLDEST == seq::OLDEST);

/// A pin, and what it holds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WalPin {
    /// Every record above stays on disk.
    pub seq: u64,
    /// Bytes of forgotten segments that are on disk and that this pin needs. What several
    /// need is counted for each of them.
    pub held_bytes: u64,
    /// The most that may be, as given at its creation; 0: no limit.
    pub max_bytes: u64,
    /// If it is lost: records from seq + 1 to here may be gone. Otherwise 0.
    pub lost_seq_last: u64,
    /// As given at its creation: 0 or WAL_PIN_REFUSE.
    pub flags: u32,
    /// 1 if it reached max_bytes and was given up: it keeps nothing any more. Otherwise 0.
    pub lost: u32,
    /// 1 if its file is damaged, else 0. Then only `name` is set, to that of the file
    /// ("0000000003.pin"), and nothing at all is dropped until wal_pin_drop is called with it.
    pub damaged: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Its name, NUL-terminated.
    pub name: [c_char; 64],
    /// Reserved, 0.
    pub reserved_numbers: [u64; 4],
}

const _: () = assert!(size_of::<WalPin>() == 4 * 8 + 4 * 4 + PIN_NAME_LEN + 4 * 8);

impl From<&PinInfo> for WalPin {
    fn from(info: &PinInfo) -> WalPin {
        let mut name: Text<PIN_NAME_LEN> = Text::new();
        // Both names are shorter than the text.
        let _ = match info.pin {
            Some(pin) => name.write_str(pin.name.as_str()),
            None => write!(name, "{}", FileName::Pin(info.index)),
        };
        WalPin {
            seq: info.pin.map_or(0, |pin| pin.seq),
            held_bytes: if info.pin.is_some() { info.held_bytes } else { 0 },
            max_bytes: info.pin.map_or(0, |pin| pin.max_bytes),
            lost_seq_last: info.pin.and_then(|pin| pin.lost_to).unwrap_or(0),
            flags: info.pin.map_or(0, |pin| if pin.refuses { WAL_PIN_REFUSE } else { 0 }),
            lost: info.pin.is_some_and(|pin| pin.lost_to.is_some()).into(),
            damaged: info.pin.is_none().into(),
            reserved: 0,
            name: name.bytes().map(|byte| byte as c_char),
            reserved_numbers: [0; 4],
        }
    }
}

/// ## Pins
/// Makes a pin: a named, durable promise that every record with seq > `seq` stays on disk and can
/// be read, whatever the host has forgotten by wal_truncate, until the pin is moved up or dropped.
/// For whoever reads the log beside the host: a backup, a replica, a change feed. The host does
/// not notice: its own replays, and the WAL_E_GAP rule, know only what it has forgotten. Read
/// with wal_replay_open and WAL_REPLAY_PINNED.
///
/// A pin belongs to the log's directory, not to a handle: any process may call these functions,
/// whether the log is open, there or elsewhere, or not at all. Each is durable when it returns.
/// A forgotten pin fills the disk: give it a limit, and watch pinned_bytes in wal_stat. The pin
/// functions are for logs on the system's files, not for those on a wal_storage_t.
///
/// dir        the log's directory, as for wal_open. If it is a relative path, the current
///            directory must be the same as then.
/// name       1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', not that of a pin's file.
/// seq        the last record that is not needed, 0 for a new log; or WAL_PIN_OLDEST: keep all
///            that the host has not forgotten yet. A seq that the log has not reached yet is not
///            noticed.
/// max_bytes  the most that forgotten segments may hold for the sake of this pin; looked at
///            whenever the host truncates. 0: no limit.
/// flags      what happens above max_bytes. 0: the pin is lost: it keeps nothing any more, says
///            so durably (lost in wal_pin_t), and answers WAL_E_GAP to wal_pin_advance.
///            WAL_PIN_REFUSE: the host's appends that need another segment are refused with
///            WAL_E_NO_SPACE until the pin is moved up or dropped.
/// pinned     receives from where on the pin holds: `seq`, or the last forgotten seq if that is
///            higher and only CHECKPOINT records lie between. NULL: not wanted.
///
/// Returns:  WAL_OK;
///           WAL_E_GAP: records above seq have been forgotten already, seq to seq_last of them;
///           WAL_E_EXISTS (a pin of this name), WAL_E_NOT_FOUND (no log there), WAL_E_RANGE;
///           WAL_E_LOCKED (another process has been changing pins for five seconds);
///           WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_SPACE,
///           WAL_E_NO_MEMORY: the pin may be there or not; wal_pin_list tells; WAL_E_PANIC.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_pin_create(
    dir: *const c_char,
    name: *const c_char,
    seq: u64,
    max_bytes: u64,
    flags: u32,
    pinned: *mut u64,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.guard(err, &caller.dir_name(dir), || {
        check::flags(flags, WAL_PIN_REFUSE, "flags must be 0 or WAL_PIN_REFUSE")?;
        if flags != 0 && max_bytes == 0 {
            return Err(invalid("WAL_PIN_REFUSE needs max_bytes"));
        }
        let name = caller.string(name, "name is NULL")?.to_bytes();
        let name = PinName::new(name)
            .filter(|_| FileName::parse(name).is_none())
            .ok_or(invalid("name must be 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', and no name of the log's files"))?;
        let from = pins::create(&open(caller.path(dir)?)?, name, seq, Limit { max_bytes, refuses: flags & WAL_PIN_REFUSE != 0 })?;
        caller.put(pinned, from);
        Ok(WAL_OK)
    })
}

/// Moves a pin up: records up to `seq` are no longer needed. It is durable before it counts, so
/// that a crash never leaves a pin that asks for more than is there. The disk space comes back
/// when the host truncates next, or opens the log.
///
/// dir       the log's directory.
/// name      the pin's.
/// seq       at least its present one. Above the log's last record it promises less than the
///           caller may think, and is not noticed.
///
/// Returns:  WAL_OK;
///           WAL_E_NOT_FOUND (no such pin, or no log), WAL_E_RANGE (seq is below its present one);
///           WAL_E_GAP (the pin is lost: records seq to seq_last may be gone; drop it and begin
///           anew);
///           WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY:
///           it is where it was or where it was to go; WAL_E_PANIC.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_pin_advance(dir: *const c_char, name: *const c_char, seq: u64, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.guard(err, &caller.dir_name(dir), || {
        let name = text(caller.string(name, "name is NULL")?)?;
        pins::advance(&open(caller.path(dir)?)?, name, seq)?;
        Ok(WAL_OK)
    })
}

/// Takes a pin away. The disk space comes back when the host truncates next, or opens the log. A
/// replay that is open in the process of the host keeps what it still has to read.
///
/// dir       the log's directory.
/// name      the pin's; for a damaged one, the name of its file.
///
/// Returns:  WAL_OK, WAL_E_NOT_FOUND (no such pin, or no log);
///           WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY:
///           it may be there or not; WAL_E_PANIC.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_pin_drop(dir: *const c_char, name: *const c_char, err: *mut WalError) -> WalStatus {
    let caller = caller!();
    caller.guard(err, &caller.dir_name(dir), || {
        let name = text(caller.string(name, "name is NULL")?)?;
        pins::remove(&open(caller.path(dir)?)?, name)?;
        Ok(WAL_OK)
    })
}

/// Tells every pin of a log: where it is, what it holds, and whether it is lost or damaged.
///
/// dir       the log's directory.
/// pins      receives the first `capacity` of them, in the order of their making; NULL if capacity
///           is 0. Their content is undefined if the call fails.
/// count     receives how many there are, which may be more.
///
/// Returns:  WAL_OK, even if there is none;
///           WAL_E_NOT_FOUND (no log), WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT,
///           WAL_E_IO, WAL_E_NO_MEMORY, WAL_E_PANIC.
/// Threads:  any, any time.
/// Lifetime: nothing is kept.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn wal_pin_list(
    dir: *const c_char,
    pins: *mut WalPin,
    capacity: usize,
    count: *mut usize,
    err: *mut WalError,
) -> WalStatus {
    let caller = caller!();
    caller.guard(err, &caller.dir_name(dir), || {
        let path = caller.path(dir)?;
        if pins.is_null() && capacity > 0 {
            return Err(invalid("pins is NULL"));
        }
        caller.need(count, "count is NULL")?;
        let mut found = 0;
        pins::list(&open(path)?, &mut |info| {
            if found < capacity {
                caller.put(pins.wrapping_add(found), WalPin::from(info));
            }
            found += 1;
            Ok(())
        })?;
        caller.put(count, found);
        Ok(WAL_OK)
    })
}

fn open(path: &CStr) -> Result<Directory, Error> {
    Directory::of_log(path)
}

/// A name to look for. What is no name of a pin is simply not found.
fn text(name: &CStr) -> Result<&str, Error> {
    name.to_str().map_err(|_| invalid("name is not UTF-8"))
}
