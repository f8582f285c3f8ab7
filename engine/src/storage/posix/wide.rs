//! The C library's calls about files by the names under which offsets, sizes and numbers of inodes have 64 bits.
//!
//! A 32-bit glibc has each of them twice. The plain ones cannot list a directory, or look at a file, where the file system numbers above 2^32 or hashes
//! names to more than 31 bits, which is most file systems; and they reach no byte behind 2 GiB. Elsewhere the plain ones are wide.

#[cfg(target_os = "freebsd")]
pub(super) use libc::posix_fadvise;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32"))
))]
pub(super) use libc::{fallocate, posix_fadvise};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32"))]
pub(super) use libc::{
    fallocate64 as fallocate, fstat64 as fstat, fstatat64 as fstatat, off64_t as off_t, openat64 as openat,
    posix_fadvise64 as posix_fadvise, pread64 as pread, pwrite64 as pwrite, readdir64 as readdir, stat64 as Stat,
};
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32")))]
pub(super) use libc::{fstat, fstatat, off_t, openat, pread, pwrite, readdir, stat as Stat};
