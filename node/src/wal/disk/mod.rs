//! What the log needs of a disk: flat names, positioned reads and writes, and an explicit sync. A
//! trait, so that tests can crash, tear, fill and corrupt one.

mod real;
#[cfg(test)]
pub(crate) mod simulated;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use real::RealDisk;

/// One directory. All calls block.
pub(crate) trait Disk: Send + Sync + Debug {
    /// The names of its files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file with room for `len` bytes, all zero; replaces one of that name. It is there after
    /// a crash only once [`Disk::sync_names`] has returned.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, replacing a file of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; open ones can still be read.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Bytes that can still be written to it.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One file. All calls block.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// Its length in bytes, preallocated ones included.
    fn len(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all pieces, one behind the other, at `offset`.
    fn write_at(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()>;
    /// Makes what was written durable. After an error nothing that was written since the last sync
    /// can be trusted, and a repeated sync would lie.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
}
