//! The directory in which everything is measured.

use std::env;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::abi::{Failure, Outcome};

/// A directory of this run's own, removed with everything in it at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    /// Under `BENCH_DIR`, or else beside the program, which is on a real disk more often than `/tmp`. Fails if `needed` bytes are not free.
    pub(crate) fn new(needed: u64) -> Outcome<Place> {
        let parent = match env::var_os("BENCH_DIR") {
            Some(given) => PathBuf::from(given),
            None => env::current_exe()?.parent().map_or(PathBuf::from("."), PathBuf::from),
        };
        let path = parent.join(format!("wal-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        // Programs that are started here may have other working directories.
        let place = Place(path.canonicalize()?);
        let free = place.free()?;
        if free < needed {
            return Err(Failure(format!(
                "{}: {} MiB are free, {} are needed; BENCH_DIR names another place",
                place.0.display(),
                free >> 20,
                needed >> 20
            )));
        }
        Ok(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it that nothing has used yet, and nothing else after.
    pub(crate) fn fresh(&self, name: &str) -> Outcome<Scratch> {
        let path = self.0.join(name);
        if path.exists() { Err(Failure(format!("{name} is there already"))) } else { Ok(Scratch(path)) }
    }

    fn statfs(&self) -> Outcome<libc::statfs> {
        let path = CString::new(self.0.as_os_str().as_bytes()).map_err(|_| Failure("the directory's name has a zero byte".into()))?;
        let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: a string, and a place for the answer.
        if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: filled when the call succeeds.
        Ok(unsafe { found.assume_init() })
    }

    fn free(&self) -> Outcome<u64> {
        let found = self.statfs()?;
        #[allow(clippy::unnecessary_cast)] // The types differ from system to system.
        Ok(found.f_bavail as u64 * found.f_bsize as u64)
    }

    /// The file system's name, if it is one of the usual ones. On one that lives in memory a sync costs nothing, and the figures mean nothing.
    pub(crate) fn file_system(&self) -> Outcome<&'static str> {
        #[cfg(target_os = "linux")]
        #[allow(clippy::unnecessary_cast)] // The types differ from target to target.
        return Ok(match self.statfs()?.f_type as i64 {
            0xEF53 => "ext4",
            0x5846_5342 => "xfs",
            0x9123_683E => "btrfs",
            0x2FC1_2FC1 => "zfs",
            0x794C_7630 => "overlayfs",
            0x0102_1994 => "tmpfs: IN MEMORY, durable figures mean nothing here",
            _ => "unknown file system",
        });
        #[cfg(not(target_os = "linux"))]
        Ok("unknown file system")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing more can be done about what cannot be removed.
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// A file or a directory that is removed when it is no longer needed, to keep the disk use small.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The segments in it that hold frames, in order, given the index of the last.
    pub(crate) fn segments(&self, last: u64) -> Vec<PathBuf> {
        (1..=last).map(|index| self.0.join(format!("{index:010}.wal"))).filter(|path| path.exists()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}
