//! Three numbers that change for three reasons.

use core::ffi::{CStr, c_char};

/// ## Versions
/// Incompatible changes of the library.
pub const WAL_VERSION_MAJOR: u32 = 0;
/// Additions.
pub const WAL_VERSION_MINOR: u32 = 1;
/// Corrections.
pub const WAL_VERSION_PATCH: u32 = 0;
/// major * 10000 + minor * 100 + patch.
pub const WAL_VERSION_NUMBER: u32 = 100;
/// Changes when compiled programs would break.
pub const WAL_ABI_VERSION: u32 = 0;
/// Newest disk format this library reads and writes.
pub const WAL_FORMAT_VERSION: u32 = 1;

const _: () = assert!(WAL_VERSION_NUMBER == WAL_VERSION_MAJOR * 10000 + WAL_VERSION_MINOR * 100 + WAL_VERSION_PATCH);
const _: () = assert!(WAL_FORMAT_VERSION == wal_engine::format::constants::FORMAT_VERSION as u32);

const VERSION: &CStr = c"0.1.0";

/// ## Versions
/// The version of the library that the program runs with, as a number: compare it with
/// WAL_VERSION_NUMBER, the one it was compiled with.
///
/// Returns:  major * 10000 + minor * 100 + patch.
/// Threads:  any, any time.
#[unsafe(no_mangle)]
pub extern "C" fn wal_version_number() -> u32 {
    WAL_VERSION_NUMBER
}

/// The same as text, for people.
///
/// Returns:  for example "0.1.0".
/// Threads:  any, any time.
/// Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn wal_version_string() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the binary interface. A program compiled with WAL_ABI_VERSION runs with every
/// library that answers the same number; the shared library's name carries it (libwal.so.0).
///
/// Returns:  WAL_ABI_VERSION of the running library.
/// Threads:  any, any time.
#[unsafe(no_mangle)]
pub extern "C" fn wal_abi_version() -> u32 {
    WAL_ABI_VERSION
}

/// The version of the files on disk that the library writes; it reads this one and all older
/// ones. A log that needs a newer reader is refused with WAL_E_FORMAT.
///
/// Returns:  WAL_FORMAT_VERSION of the running library.
/// Threads:  any, any time.
#[unsafe(no_mangle)]
pub extern "C" fn wal_format_version() -> u32 {
    WAL_FORMAT_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_the_version_of_the_header() {
        assert_eq!(VERSION.to_str(), Ok(env!("CARGO_PKG_VERSION")));
        assert_eq!(VERSION.to_str(), Ok(format!("{WAL_VERSION_MAJOR}.{WAL_VERSION_MINOR}.{WAL_VERSION_PATCH}").as_str()));
    }
}
