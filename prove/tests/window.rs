//! The buffer that scans read through: the right bytes wherever it is asked, each byte read once as long as there is room, memory not touched without
//! need.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wal_engine::format::checksum;
use wal_engine::segment::scan::Window;
use wal_prove::memory::{Memory, SMALL};

/// A number below `end`, another one each time.
fn below(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) % end
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + (at >> 8) * 13 + (at >> 16)) as u8).collect()
}

/// The bytes that a file has in a range; `None` if it ends before.
fn slice(bytes: &[u8], offset: usize, len: usize) -> Option<&[u8]> {
    bytes.get(offset..offset + len)
}

#[test]
fn the_right_bytes_in_any_order() {
    for file_len in [0, 1, 5000, 3 * SMALL, 40_000] {
        let bytes = content(file_len);
        let file = Memory::new(&bytes);
        for buffer_len in [SMALL, SMALL + 100, 4 * SMALL] {
            for keeps in [false, true] {
                let mut random = (file_len + buffer_len) as u64;
                let mut buffer = vec![0; buffer_len];
                let mut window = Window::new(&file, &mut buffer);
                let mut read = 0;
                for _ in 0..2000 {
                    let offset = below(&mut random, file_len as u64 + 3000) as usize;
                    let len = below(&mut random, buffer_len as u64) as usize + 1;
                    if keeps {
                        window.keep(below(&mut random, offset as u64 + 200));
                    }
                    if below(&mut random, 2) == 0 {
                        assert_eq!(window.bytes(offset as u64, len).unwrap(), slice(&bytes, offset, len), "{len} at {offset}");
                    } else {
                        let to = (offset + len).min(file_len);
                        let expected = slice(&bytes, offset, to.saturating_sub(offset)).unwrap_or(&[]);
                        assert_eq!(window.up_to(offset as u64, len).unwrap(), expected, "up to {len} at {offset}");
                    }
                    assert!(window.bytes_read() >= read);
                    read = window.bytes_read();
                    let (start, held) = window.held();
                    assert!(held <= buffer_len && (held == 0 || start as usize + held <= file_len));
                }
                // What another window held is not read again.
                let place = window.held();
                let mut resumed = Window::resume(&file, &mut buffer, place);
                assert_eq!(resumed.held(), place);
                let expected = slice(&bytes, place.0 as usize, place.1).unwrap_or(&[]);
                assert_eq!(resumed.bytes(place.0, place.1).unwrap(), Some(expected));
                assert_eq!(resumed.bytes_read(), 0);
            }
        }
    }
}

#[test]
fn what_is_read_in_order_is_read_once() {
    let bytes = content(10 * SMALL);
    // With and without room for everything; what is kept is as little as a header, or all of it.
    for (buffer_len, keep_from) in [(2 * SMALL, None), (10 * SMALL, Some(64)), (20 * SMALL, Some(0))] {
        let file = Memory::new(&bytes);
        let mut buffer = vec![0; buffer_len];
        let mut window = Window::new(&file, &mut buffer);
        assert!(!window.keeps());
        let from = keep_from.unwrap_or(0);
        for at in (from..10 * SMALL as u64 - 24).step_by(8) {
            // Whoever goes on keeps what it has not looked at yet.
            window.keep(keep_from.unwrap_or(at));
            assert!(window.keeps());
            assert!(window.bytes(at, 24).unwrap().is_some());
        }
        assert_eq!(file.read_twice(), 0, "{buffer_len} bytes, kept from {keep_from:?}");
        assert_eq!(window.bytes_read(), 10 * SMALL as u64 - from);
        if keep_from.is_some() {
            assert_eq!(window.held(), (from, 10 * SMALL - from as usize));
        }
    }
}

/// A window over a file of 8 MiB that holds the first `held` bytes, and the buffer of 4 MiB behind it.
fn with_held<'a>(file: &'a Memory, buffer: &'a mut [u8], held: usize) -> Window<'a, Memory> {
    file.read_at_once(buffer, held);
    Window::resume(file, buffer, (0, held))
}

/// Asks for `len` bytes at `offset` of a window that holds the first `held` bytes and keeps those from `keep` on; what it holds then, and whether it
/// keeps that.
fn asked_of(file: &Memory, held: usize, keep: usize, offset: usize, len: usize) -> (usize, usize, bool) {
    let mut buffer = vec![0; 4 * MIB];
    let mut window = with_held(file, &mut buffer, held);
    window.keep(keep as u64);
    assert_eq!(window.bytes(offset as u64, len).unwrap(), slice(file.bytes(), offset, len));
    let (start, held) = window.held();
    (start as usize, held, window.keeps())
}

/// Moving little is cheaper than touching memory that was not touched yet; moving much is done only for want of room; and what cannot be kept is given up.
#[test]
fn what_is_moved_and_what_is_given_up() {
    let file = Memory::new(&content(8 * MIB));
    let asked = |held, keep, offset, len| asked_of(&file, held, keep, offset, len);
    // At most 64 KiB are moved to the front, more stays where it is.
    assert_eq!(asked(MIB, MIB - 64 * KIB, MIB - 8, 24), (MIB - 64 * KIB, MIB + 64 * KIB, true));
    assert_eq!(asked(MIB, MIB - 64 * KIB - 8, MIB - 8, 24), (0, 2 * MIB, true));
    // Without room for another MiB behind it, it is moved all the same.
    assert_eq!(asked(3 * MIB, 3 * MIB - 128 * KIB, 3 * MIB, 24), (0, 4 * MIB, true));
    assert_eq!(asked(3 * MIB + 8, 3 * MIB - 128 * KIB, 3 * MIB + 8, 24), (3 * MIB - 128 * KIB, MIB + 128 * KIB + 8, true));
    // What is asked for may need more than a MiB.
    assert_eq!(
        asked(2 * MIB, 2 * MIB - 128 * KIB, 2 * MIB - 100 * KIB, 2 * MIB + 101 * KIB),
        (2 * MIB - 128 * KIB, 3 * MIB + 128 * KIB, true)
    );
    // Just enough room for what is asked for, and too little: then what was kept is given up.
    assert_eq!(asked(2 * MIB, MIB, 2 * MIB, 3 * MIB), (MIB, 4 * MIB, true));
    assert_eq!(asked(2 * MIB, MIB, 2 * MIB, 3 * MIB + 1), (2 * MIB, 4 * MIB, false));
    // Less than an eighth of the buffer left: reading would go in crumbs.
    let eighth = 512 * KIB;
    assert_eq!(asked(4 * MIB, eighth, 4 * MIB, 24), (eighth, 4 * MIB, true));
    assert_eq!(asked(4 * MIB, eighth - 8, 4 * MIB, 24), (4 * MIB, MIB, false));
    // Gone already, or not come yet.
    let mut buffer = vec![0; 4 * MIB];
    let mut window = Window::new(&file, &mut buffer);
    window.keep(5 * MIB as u64);
    assert!(window.bytes(5 * MIB as u64, 24).unwrap().is_some());
    assert_eq!((window.held(), window.keeps()), ((5 * MIB as u64, MIB), true));
    window.keep(4 * MIB as u64);
    assert!(window.bytes(6 * MIB as u64, 24).unwrap().is_some());
    assert_eq!((window.held(), window.keeps()), ((6 * MIB as u64, MIB), false));
    window.keep(3 * MIB as u64);
    assert!(window.bytes(3 * MIB as u64 + 8, 24).unwrap().is_some());
    assert_eq!((window.held(), window.keeps()), ((3 * MIB as u64 + 8, MIB), false));
    // Where nothing is missing, nothing is read.
    let before = window.bytes_read();
    assert!(window.bytes(4 * MIB as u64 - 16, 24).unwrap().is_some());
    assert_eq!(window.bytes_read(), before);
    assert!(window.bytes(4 * MIB as u64 - 15, 24).unwrap().is_some());
    assert_eq!(window.bytes_read(), before + MIB as u64);
}

#[test]
fn checksums_of_any_length() {
    let bytes = content(5 * SMALL);
    let file = Memory::new(&bytes);
    let mut buffer = vec![0; SMALL];
    for offset in [0, 1, 24, SMALL, 2 * SMALL + 17] {
        for len in [0, 1, 23, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 2 * SMALL + 1000] {
            let mut window = Window::new(&file, &mut buffer);
            let expected = slice(&bytes, offset, len).map(checksum::of);
            assert!(expected.is_some());
            assert_eq!(window.checksum(offset as u64, len as u64).unwrap(), expected, "{len} at {offset}");
        }
        let mut window = Window::new(&file, &mut buffer);
        let rest = bytes.len() - offset;
        assert_eq!(window.checksum(offset as u64, rest as u64).unwrap(), Some(checksum::of(&bytes[offset..])));
        assert_eq!(window.checksum(offset as u64, rest as u64 + 1).unwrap(), None);
        // The file ends before, and nothing is asked of it twice.
        assert_eq!(window.checksum(u64::MAX / 2, 8).unwrap(), None);
    }
}
