//! What the system says about a disk, and blocks that are allocated and not written.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands under a directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// The file system, by name if it is a common one.
    pub(crate) file_system: String,
    /// Whether it is only memory.
    pub(crate) is_memory: bool,
    /// The block device's name, if there is one.
    pub(crate) device: Option<String>,
    /// Whether it turns.
    pub(crate) rotational: Option<bool>,
    /// `write back` or `write through`.
    pub(crate) write_cache: Option<String>,
}

impl Disk {
    pub(crate) fn under(dir: &Path) -> io::Result<Disk> {
        let (file_system, is_memory) = file_system(dir)?;
        let number = fs::metadata(dir)?.dev();
        let link = PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number)));
        let Ok(device) = fs::canonicalize(link) else {
            return Ok(Disk { file_system, is_memory, ..Disk::default() });
        };
        // A partition's queue is its disk's.
        let queue = [device.join("queue"), device.join("../queue")].into_iter().find(|queue| queue.is_dir());
        let said =
            |name: &str| queue.as_ref().and_then(|queue| fs::read_to_string(queue.join(name)).ok()).map(|text| text.trim().to_string());
        Ok(Disk {
            file_system,
            is_memory,
            device: device.file_name().map(|name| name.to_string_lossy().into_owned()),
            rotational: said("rotational").map(|text| text == "1"),
            write_cache: said("write_cache"),
        })
    }
}

fn file_system(dir: &Path) -> io::Result<(String, bool)> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut about = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a path that ends with NUL, and a place for the answer.
    if unsafe { libc::statfs(path.as_ptr(), about.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the struct.
    let magic = unsafe { about.assume_init() }.f_type as u32;
    Ok(match magic {
        0xEF53 => ("ext4".into(), false),
        0x5846_5342 => ("xfs".into(), false),
        0x9123_683E => ("btrfs".into(), false),
        0x2FC1_2FC1 => ("zfs".into(), false),
        0xF2F5_2010 => ("f2fs".into(), false),
        0x794C_7630 => ("overlay".into(), false),
        0x0102_1994 => ("tmpfs".into(), true),
        0x8584_58F6 => ("ramfs".into(), true),
        0x6969 => ("nfs".into(), false),
        magic => (format!("file system {magic:#x}"), false),
    })
}

/// Allocates blocks from the file's start without writing them.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: a descriptor that is open.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
