//! A directory in memory, behind the functions of a `wal_storage_t`. It holds the log to what the header promises to such layers.

use core::ffi::{CStr, c_char, c_void};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use wal::{WAL_STORAGE_CREATE, WAL_STORAGE_READ_ONLY, WAL_STORAGE_SHARED, WalStorage, WalStorageEach};

// Error numbers, which are the same on every system that fuzzes.
const ENOENT: i32 = 2;
const EAGAIN: i32 = 11;
const EEXIST: i32 = 17;

const MAX_TRANSFER_BYTES: usize = 1 << 30;

#[derive(Default)]
struct Names {
    /// Whether the directory has been made.
    is_made: bool,
    files: BTreeMap<Vec<u8>, Arc<Mutex<Vec<u8>>>>,
    /// How many hold each lock; -1 for one who does not share it.
    locks: BTreeMap<Vec<u8>, i32>,
    open_files: u32,
}

/// What a file's handle points to.
struct Open {
    content: Arc<Mutex<Vec<u8>>>,
    read_only: bool,
}

/// What a lock's handle points to.
struct Held {
    name: Vec<u8>,
    is_shared: bool,
}

/// The directory, whatever it is called.
#[derive(Default)]
pub(crate) struct Memory {
    names: Mutex<Names>,
}

impl Memory {
    /// Functions and context: good as long as this is not moved.
    pub(crate) fn storage(&self) -> WalStorage {
        WalStorage {
            struct_size: size_of::<WalStorage>() as u32,
            reserved: 0,
            context: core::ptr::from_ref(self).cast_mut().cast(),
            make_dir: Some(make_dir),
            list: Some(list),
            open: Some(open),
            close: Some(close),
            size: Some(size),
            read: Some(read),
            write: Some(write),
            sync: Some(sync),
            drop_cache: None,
            rename: Some(rename),
            remove: Some(remove),
            sync_dir: Some(sync_dir),
            lock: Some(lock),
            unlock: Some(unlock),
            random: None,
        }
    }

    /// Every file was closed, and every lock given back.
    pub(crate) fn assert_at_rest(&self) {
        let names = held(&self.names);
        assert!(names.open_files == 0 && names.locks.is_empty(), "{} files are open, {} locks held", names.open_files, names.locks.len());
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under it")
}

fn names<'a>(context: *mut c_void) -> MutexGuard<'a, Names> {
    // SAFETY: the context is the `Memory` that outlives every log on it.
    held(unsafe { &(*context.cast::<Memory>()).names })
}

fn opened<'a>(file: *mut c_void) -> &'a Open {
    // SAFETY: what `open` made and `close` has not taken back.
    unsafe { &*file.cast::<Open>() }
}

fn text<'a>(name: *const c_char) -> &'a [u8] {
    // SAFETY: names and directories are strings.
    unsafe { CStr::from_ptr(name) }.to_bytes()
}

unsafe extern "C" fn make_dir(context: *mut c_void, _dir: *const c_char) -> i32 {
    names(context).is_made = true;
    0
}

unsafe extern "C" fn list(context: *mut c_void, _dir: *const c_char, each: WalStorageEach, listing: *mut c_void) -> i32 {
    let names = names(context);
    if !names.is_made {
        return -ENOENT;
    }
    for name in names.files.keys() {
        let mut entry = name.clone();
        entry.push(0);
        // SAFETY: the log's function with what it is to be called with, and a string.
        unsafe { each.expect("a function")(listing, entry.as_ptr().cast()) };
    }
    0
}

unsafe extern "C" fn open(context: *mut c_void, _dir: *const c_char, name: *const c_char, flags: u32, file: *mut *mut c_void) -> i32 {
    let (mut names, name) = (names(context), text(name));
    assert!([0, WAL_STORAGE_CREATE, WAL_STORAGE_READ_ONLY].contains(&flags) && name.len() <= 18);
    let content = match (names.files.get(name), flags == WAL_STORAGE_CREATE) {
        (Some(_), true) => return -EEXIST,
        (None, false) => return -ENOENT,
        (None, true) if !names.is_made => return -ENOENT,
        (Some(content), false) => Arc::clone(content),
        (None, true) => Arc::clone(names.files.entry(name.to_vec()).or_default()),
    };
    names.open_files += 1;
    // SAFETY: room for the answer.
    unsafe { *file = Box::into_raw(Box::new(Open { content, read_only: flags == WAL_STORAGE_READ_ONLY })).cast() };
    0
}

unsafe extern "C" fn close(context: *mut c_void, file: *mut c_void) {
    names(context).open_files -= 1;
    // SAFETY: what `open` made, closed once.
    drop(unsafe { Box::from_raw(file.cast::<Open>()) });
}

unsafe extern "C" fn size(_context: *mut c_void, file: *mut c_void) -> i64 {
    held(&opened(file).content).len() as i64
}

unsafe extern "C" fn read(_context: *mut c_void, file: *mut c_void, offset: u64, bytes: *mut c_void, len: usize) -> i64 {
    assert!((1..=MAX_TRANSFER_BYTES).contains(&len));
    let content = held(&opened(file).content);
    let Some(rest) = content.get(offset as usize..) else { return 0 };
    let count = rest.len().min(len);
    // SAFETY: both are at least `count` bytes long, and the log's is nobody else's meanwhile.
    unsafe { core::ptr::copy_nonoverlapping(rest.as_ptr(), bytes.cast(), count) };
    count as i64
}

unsafe extern "C" fn write(_context: *mut c_void, file: *mut c_void, offset: u64, bytes: *const c_void, len: usize) -> i64 {
    let file = opened(file);
    let mut content = held(&file.content);
    assert!((1..=MAX_TRANSFER_BYTES).contains(&len) && !file.read_only && offset <= content.len() as u64);
    // SAFETY: readable and as long as said.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    let offset = offset as usize;
    let (over, behind) = bytes.split_at(len.min(content.len() - offset));
    content[offset..offset + over.len()].copy_from_slice(over);
    content.extend_from_slice(behind);
    len as i64
}

unsafe extern "C" fn sync(_context: *mut c_void, _file: *mut c_void) -> i32 {
    0
}

unsafe extern "C" fn rename(context: *mut c_void, _dir: *const c_char, from: *const c_char, to: *const c_char) -> i32 {
    let mut names = names(context);
    let Some(content) = names.files.remove(text(from)) else { return -ENOENT };
    assert!(names.files.insert(text(to).to_vec(), content).is_none(), "a file was renamed over another");
    0
}

unsafe extern "C" fn remove(context: *mut c_void, _dir: *const c_char, name: *const c_char) -> i32 {
    if names(context).files.remove(text(name)).is_some() { 0 } else { -ENOENT }
}

unsafe extern "C" fn sync_dir(context: *mut c_void, _dir: *const c_char) -> i32 {
    if names(context).is_made { 0 } else { -ENOENT }
}

unsafe extern "C" fn lock(context: *mut c_void, _dir: *const c_char, name: *const c_char, flags: u32, lock: *mut *mut c_void) -> i32 {
    let (mut names, name, is_shared) = (names(context), text(name).to_vec(), flags == WAL_STORAGE_SHARED);
    assert!(flags == 0 || is_shared);
    if !names.is_made {
        return -ENOENT;
    }
    let holders = names.locks.get(&name).copied().unwrap_or(0);
    if holders < 0 || holders > 0 && !is_shared {
        return -EAGAIN;
    }
    names.locks.insert(name.clone(), if is_shared { holders + 1 } else { -1 });
    // SAFETY: room for the answer.
    unsafe { *lock = Box::into_raw(Box::new(Held { name, is_shared })).cast() };
    0
}

unsafe extern "C" fn unlock(context: *mut c_void, lock: *mut c_void) {
    // SAFETY: what `lock` made, given back once.
    let Held { name, is_shared } = *unsafe { Box::from_raw(lock.cast::<Held>()) };
    let mut names = names(context);
    let holders = names.locks.remove(&name).expect("a lock that is held");
    if is_shared && holders > 1 {
        names.locks.insert(name, holders - 1);
    }
}
