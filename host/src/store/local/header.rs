//! The header: what the store is, in the lock file. It outlives boots and damage of the data.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format version |
//! | 16..32 | boot id |
//! | 32..40 | time namespace |
//! | 40..48 | the highest fence |
//! | 48..80 | the data file after the last transaction: inode, size, time of change in seconds and nanoseconds |
//! | 80..88 | the last transaction of the data file |
//! | 120..128 | checksum |

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::record::checksum;

const MAGIC: [u8; 8] = *b"lockerL\0";
const LENGTH: usize = 128;
/// Programs refuse stores with a higher one.
pub(super) const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) boot_id: u128,
    pub(super) time_namespace: u64,
    pub(super) fence: u64,
    pub(super) data: DataFile,
    pub(super) transaction: u64,
}

/// The data file as the last transaction left it. If it differs, that transaction was interrupted, or another program changed the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

impl From<&Metadata> for DataFile {
    fn from(file: &Metadata) -> Self {
        Self { inode: file.ino(), size: file.size(), seconds: file.mtime(), nanos: file.mtime_nsec() }
    }
}

pub(super) enum ReadHeader {
    /// There is none yet.
    Empty,
    Header(Header),
    /// A later program wrote it.
    Newer(u32),
    Damaged,
}

impl Header {
    pub(super) fn read(file: &File) -> io::Result<ReadHeader> {
        let mut bytes = [0; LENGTH];
        let mut length = 0;
        while length < LENGTH {
            match file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        Ok(if length == 0 { ReadHeader::Empty } else { Self::decode(&bytes) })
    }

    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        // Less than a page: a process that is killed has written all of it or nothing.
        file.write_all_at(&self.encode(), 0)
    }

    fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let DataFile { inode, size, seconds, nanos } = self.data;
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.boot_id.to_le_bytes());
        let fields = [self.time_namespace, self.fence, inode, size, seconds as u64, nanos as u64, self.transaction];
        for (place, field) in bytes[32..88].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let sum = checksum(&[&bytes[..LENGTH - 8]]);
        bytes[LENGTH - 8..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LENGTH]) -> ReadHeader {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let version = u32::from_le_bytes(std::array::from_fn(|byte| bytes[8 + byte]));
        if bytes[..8] != MAGIC || checksum(&[&bytes[..LENGTH - 8]]) != number(LENGTH - 8) {
            return ReadHeader::Damaged;
        }
        if version > VERSION {
            return ReadHeader::Newer(version);
        }
        ReadHeader::Header(Self {
            boot_id: u128::from_le_bytes(std::array::from_fn(|byte| bytes[16 + byte])),
            time_namespace: number(32),
            fence: number(40),
            data: DataFile {
                inode: number(48),
                size: number(56),
                seconds: number(64) as i64,
                nanos: number(72) as i64,
            },
            transaction: number(80),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_a_flipped_bit_is_noticed() {
        let data = DataFile { inode: 3, size: 4, seconds: -5, nanos: 6 };
        let header = Header { boot_id: 1 << 100, time_namespace: 1, fence: 2, data, transaction: 7 };
        let mut bytes = header.encode();
        assert!(matches!(Header::decode(&bytes), ReadHeader::Header(read) if read == header));
        for bit in 0..8 * LENGTH {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Header::decode(&bytes), ReadHeader::Damaged), "{bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
