//! CRC-32 with a table of 64 bytes, where sixteen kilobytes of tables are more than the rest of a firmware.

/// The reflected polynomial's table for four bits at a time.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut entry = 0;
    while entry < 16 {
        let mut crc = entry as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[entry] = crc;
        entry += 1;
    }
    table
};

/// The same calls as the hasher of `crc32fast`.
#[derive(Clone, Debug)]
pub(super) struct Hasher(u32);

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher::new_with_initial(0)
    }

    /// Goes on from a finished checksum.
    pub(super) fn new_with_initial(finished: u32) -> Hasher {
        Hasher(!finished)
    }

    #[inline(never)]
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        for &byte in bytes {
            crc ^= u32::from(byte);
            crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
            crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        }
        self.0 = crc;
    }

    pub(super) fn finalize(self) -> u32 {
        !self.0
    }
}
