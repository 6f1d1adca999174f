//! Room on the disk, taken before sled needs it.
//!
//! Owns: blocks allocated behind the end of sled's file, which keeps its length: sled then grows into them. So a
//! full disk is noticed here, where a commit can be refused, and never inside sled, which would have to be opened
//! anew; and other programs cannot take the room between the question and the write.

use std::fs::File;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::rows::fault;
use crate::store::Fault;

/// Room is taken in steps of this size: two segments of sled.
const STEP: u64 = 1 << 20;

/// What is allocated.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes that are kept allocated behind the end, beyond what a group needs.
    reserve: u64,
    /// Up to which offset blocks are allocated.
    until: u64,
    /// The file system cannot allocate blocks ahead, or nothing shall be.
    off: bool,
}

impl Room {
    /// Nothing allocated yet.
    pub(super) fn new(reserve: u64) -> Room {
        Room { reserve, until: 0, off: reserve == 0 }
    }

    /// Makes sure that the file can grow by `need` bytes and the reserve.
    pub(super) fn take(&mut self, file: &File, need: u64) -> Result<(), Fault> {
        let io = |error| fault(::sled::Error::Io(error));
        if self.off {
            return Ok(());
        }
        let length = file.metadata().map_err(io)?.len();
        let until = length + need + self.reserve;
        if until <= self.until {
            return Ok(());
        }
        let until = until.next_multiple_of(STEP);
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, length, until - length) {
            Ok(()) => {
                self.until = until;
                Ok(())
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                tracing::info!(
                    "this file system cannot set room aside: a full disk interrupts the store shortly"
                );
                self.off = true;
                Ok(())
            }
            Err(error) => Err(io(error.into())),
        }
    }

    /// The file was opened anew and may have been cut.
    pub(super) fn forget(&mut self) {
        self.until = 0;
    }
}
