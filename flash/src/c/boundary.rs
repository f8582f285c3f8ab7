//! Where C's pointers become Rust's values and back, and where the driver is called: the only file that follows them.

#![expect(clippy::mut_from_ref, reason = "what is lent stands in the caller's memory, not in this value")]

use core::ffi::c_void;
use core::marker::PhantomData;
use core::slice;

use wal_engine::error::Code;
use wal_engine::segment::payload::{Entries, Entry};

use super::types::{
    WAL_END, WAL_FLASH_BAD_BLOCK, WAL_FLASH_UNREADABLE, WAL_OK, WalFlashConfig, WalFlashCursor, WalFlashDriver, WalFlashEntry,
    WalFlashError, WalStatus,
};
use crate::chip::{Chip, Fault};
use crate::fail::{Detail, Miss, Result};
use crate::log::{Log, Settings};
use crate::replay::Cursor;

/// Says that the memory behind a handle was made by `wal_flash_init`.
const OPEN: u32 = 0x4C57_A10F;

/// The caller's driver.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks(WalFlashDriver);

/// An answer of the driver's, whatever it is.
fn answer(status: i32) -> core::result::Result<(), Fault> {
    match status {
        0 => Ok(()),
        WAL_FLASH_UNREADABLE => Err(Fault::Unreadable),
        WAL_FLASH_BAD_BLOCK => Err(Fault::BadBlock),
        other => Err(Fault::Driver(other)),
    }
}

const MISSING: Fault = Fault::Driver(0);

impl Chip for Callbacks {
    #[inline(never)]
    fn read(&self, offset: u32, bytes: &mut [u8]) -> core::result::Result<(), Fault> {
        let call = self.0.read.ok_or(MISSING)?;
        // SAFETY: the driver's function, with its own context and memory that is there for the call.
        answer(unsafe { call(self.0.ctx, offset, bytes.as_mut_ptr().cast(), bytes.len() as u32) })
    }

    fn program(&self, offset: u32, bytes: &[u8]) -> core::result::Result<(), Fault> {
        let call = self.0.program.ok_or(MISSING)?;
        // SAFETY: as above.
        answer(unsafe { call(self.0.ctx, offset, bytes.as_ptr().cast(), bytes.len() as u32) })
    }

    fn erase(&self, block: u32) -> core::result::Result<(), Fault> {
        let call = self.0.erase.ok_or(MISSING)?;
        // SAFETY: as above.
        answer(unsafe { call(self.0.ctx, block) })
    }

    fn sync(&self) -> core::result::Result<(), Fault> {
        match self.0.sync {
            // SAFETY: as above.
            Some(call) => answer(unsafe { call(self.0.ctx) }),
            None => Ok(()),
        }
    }
}

/// What stands in the caller's memory.
pub struct WalFlash {
    open: u32,
    log: Log<'static, Callbacks>,
}

pub(crate) type FlashLog = Log<'static, Callbacks>;

/// The promises of whoever calls an export, as the header states them: a pointer is NULL or points to as much memory of its kind as the call says,
/// valid and unchanged by others until the call returns.
pub(crate) struct Caller(PhantomData<*const ()>);

/// The first word of an export.
macro_rules! caller {
    () => {
        // SAFETY: it is made by an export, called from C, for that call alone.
        unsafe { $crate::c::boundary::Caller::trust() }
    };
}
pub(crate) use caller;

/// The sizes that an opening needs.
pub(crate) struct Sizes {
    pub(crate) slots: usize,
    pub(crate) page: usize,
    pub(crate) window: usize,
}

impl Sizes {
    /// All together, with the log itself.
    pub(crate) fn total(&self) -> usize {
        size_of::<WalFlash>() + 4 * self.slots + self.page + self.window
    }
}

impl Caller {
    /// # Safety
    ///
    /// To be called only by an export, which passes only its own arguments to the methods.
    pub(crate) unsafe fn trust() -> Caller {
        Caller(PhantomData)
    }

    /// Reports the result of a call on a log.
    #[inline(never)]
    pub(crate) fn report(&self, log: *mut WalFlash, err: *mut WalFlashError, result: Result<()>) -> WalStatus {
        match result {
            Ok(()) => WAL_OK,
            Err(code) => {
                // SAFETY: as in `log`.
                let handle = unsafe { log.as_ref() }.filter(|handle| handle.open == OPEN);
                self.fail(err, code, &handle.map_or(Detail::default(), |handle| handle.log.detail()))
            }
        }
    }

    /// The same for a call that may have nothing more to do.
    #[inline(never)]
    pub(crate) fn report_end(&self, log: *mut WalFlash, err: *mut WalFlashError, result: core::result::Result<(), Miss>) -> WalStatus {
        match result {
            Ok(()) => WAL_OK,
            Err(Miss::None) => WAL_END,
            Err(Miss::Fail(code)) => self.report(log, err, Err(code)),
        }
    }

    /// Reports that there is no log behind a handle.
    #[inline(never)]
    pub(crate) fn no_log(&self, log: *mut WalFlash, err: *mut WalFlashError) -> WalStatus {
        self.report(log, err, Err(if log.is_null() { Code::Invalid } else { Code::Misuse }))
    }

    /// Reports a failure.
    pub(crate) fn fail(&self, err: *mut WalFlashError, code: Code, detail: &Detail) -> WalStatus {
        let code = code as i32;
        // SAFETY: NULL or the caller's to be written.
        if let Some(err) = unsafe { err.as_mut() } {
            *err = WalFlashError { seq: detail.seq, offset: detail.offset.into(), code, driver: detail.driver };
        }
        code
    }

    /// Writes the number that a call made, where one is wanted.
    pub(crate) fn put(&self, to: *mut u64, value: u64, result: &Result<()>) {
        if result.is_ok()
            && let Some(to) = self.answer(to)
        {
            *to = value;
        }
    }

    /// The config that a pointer leads to.
    pub(crate) fn config(&self, config: *const WalFlashConfig) -> Option<&WalFlashConfig> {
        // SAFETY: NULL or the caller's to be read; its first member that is looked at says how long it is.
        unsafe { config.as_ref() }.filter(|config| config.struct_size as usize == size_of::<WalFlashConfig>())
    }

    /// The log behind a handle.
    #[inline(never)]
    pub(crate) fn log(&self, log: *mut WalFlash) -> Option<&mut FlashLog> {
        // SAFETY: NULL or what `wal_flash_init` returned, used by one thread at a time.
        let handle = unsafe { log.as_mut() }.filter(|handle| handle.open == OPEN)?;
        handle.log.forget_detail();
        Some(&mut handle.log)
    }

    /// The caller's bytes.
    #[inline(never)]
    pub(crate) fn bytes(&self, bytes: *const c_void, len: u32) -> Option<&[u8]> {
        if len == 0 {
            return Some(&[]);
        }
        if bytes.is_null() || len > i32::MAX as u32 {
            return None;
        }
        // SAFETY: not NULL, and as many as the caller says.
        Some(unsafe { slice::from_raw_parts(bytes.cast(), len as usize) })
    }

    /// The caller's buffer.
    pub(crate) fn buffer(&self, bytes: *mut c_void, len: u32) -> Option<&mut [u8]> {
        self.bytes(bytes, len)?;
        // SAFETY: as many as the caller says; none are at an address that is not NULL.
        Some(if len == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(bytes.cast(), len as usize) } })
    }

    /// The entries of a batch.
    pub(crate) fn entries(&self, entries: *const WalFlashEntry, count: u32) -> Option<Batch<'_>> {
        if entries.is_null() || count == 0 || count > i32::MAX as u32 / size_of::<WalFlashEntry>() as u32 {
            return None;
        }
        // SAFETY: not NULL, and as many as the caller says.
        let entries = unsafe { slice::from_raw_parts(entries, count as usize) };
        for entry in entries {
            self.bytes(entry.key, entry.key_len)?;
            self.bytes(entry.value, entry.value_len)?;
            if entry.op > u32::from(u8::MAX) || entry.reserved != 0 {
                return None;
            }
        }
        Some(Batch { caller: self, entries })
    }

    /// The caller's memory for a cursor, which holds one from now on.
    pub(crate) fn new_cursor(&self, cursor: *mut WalFlashCursor) -> Option<&mut Cursor> {
        if cursor.is_null() {
            return None;
        }
        // SAFETY: large and aligned enough, as is asserted where it is declared. All zeros are a cursor: it has numbers and a bool.
        unsafe {
            cursor.write_bytes(0, 1);
            cursor.cast::<Cursor>().as_mut()
        }
    }

    /// The cursor in the caller's memory.
    pub(crate) fn cursor(&self, cursor: *mut WalFlashCursor) -> Option<&mut Cursor> {
        // SAFETY: NULL or what `new_cursor` made.
        unsafe { cursor.cast::<Cursor>().as_mut() }
    }

    /// What an answer goes to.
    pub(crate) fn answer<T>(&self, to: *mut T) -> Option<&mut T> {
        // SAFETY: NULL or the caller's to be written.
        unsafe { to.as_mut() }
    }

    /// The driver, as a chip.
    pub(crate) fn chip(&self, driver: &WalFlashDriver) -> Result<Callbacks> {
        let is_whole = driver.read.is_some() && driver.program.is_some() && driver.erase.is_some();
        if is_whole { Ok(Callbacks(*driver)) } else { Err(Code::Invalid) }
    }

    /// Lays a log out in the caller's memory. It is not open yet.
    #[inline(never)]
    pub(crate) fn lay_out(
        &self,
        memory: *mut c_void,
        len: usize,
        chip: Callbacks,
        settings: &Settings,
        sizes: &Sizes,
    ) -> Result<&mut WalFlash> {
        if memory.is_null() || memory.addr() & (align_of::<WalFlash>() - 1) != 0 {
            return Err(Code::Invalid);
        }
        if len < sizes.total() {
            return Err(Code::NoMemory);
        }
        let handle: *mut WalFlash = memory.cast();
        // SAFETY: one behind the other in memory that is aligned for the log, which comes first, and long enough for all; 4-byte words follow a type
        // whose size is a multiple of its alignment, which is at least 4. The caller keeps its hands off it for as long as it uses the handle.
        unsafe {
            let slots: *mut u32 = handle.add(1).cast();
            let page: *mut u8 = slots.add(sizes.slots).cast();
            let window = page.add(sizes.page);
            slots.write_bytes(0, sizes.slots);
            page.write_bytes(0, sizes.page + sizes.window);
            let slots = slice::from_raw_parts_mut(slots, sizes.slots);
            let page = slice::from_raw_parts_mut(page, sizes.page);
            let window = slice::from_raw_parts_mut(window, sizes.window);
            handle.write(WalFlash { open: 0, log: Log::new(chip, settings, slots, page, window) });
            Ok(&mut *handle)
        }
    }
}

impl WalFlash {
    /// Opens it; only then can it be used.
    pub(crate) fn open(&mut self, settings: &Settings) -> core::result::Result<*mut WalFlash, (Code, Detail)> {
        self.log.open(settings).map_err(|code| (code, self.log.detail()))?;
        self.open = OPEN;
        Ok(self)
    }
}

/// A batch in the caller's memory, checked.
pub(crate) struct Batch<'a> {
    caller: &'a Caller,
    entries: &'a [WalFlashEntry],
}

impl Entries for Batch<'_> {
    fn count(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, index: usize) -> Entry<'_> {
        let Some(entry) = self.entries.get(index) else { return Entry { op: 0, key: &[], value: &[] } };
        Entry {
            op: entry.op as u8,
            key: self.caller.bytes(entry.key, entry.key_len).unwrap_or_default(),
            value: self.caller.bytes(entry.value, entry.value_len).unwrap_or_default(),
        }
    }
}

/// What the header says of it.
#[cfg(target_pointer_width = "32")]
const _: () = assert!(size_of::<WalFlash>() <= 512);

const _: () = assert!(align_of::<WalFlash>() <= 8 && align_of::<Cursor>() <= align_of::<WalFlashCursor>());

/// A panic is a mistake in this library; none can be reached in an archive that was linked without one. The firmware says what happens then.
#[cfg(target_os = "none")]
#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn wal_flash_panicked() -> !;
    }
    // SAFETY: the firmware's own function, which takes nothing and does not return.
    unsafe { wal_flash_panicked() }
}
