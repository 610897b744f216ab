//! A directory of the file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use nix::sys::uio::pwritev;

use super::{Disk, DiskFile};

/// Pieces of one `pwritev`; Linux takes 1,024.
const WRITE_PIECES_MAX: usize = 1024;

/// See [`Disk`].
#[derive(Debug)]
pub(crate) struct RealDisk {
    dir: PathBuf,
    /// For syncing names.
    handle: File,
}

impl RealDisk {
    /// Over `dir`, which exists.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            handle: File::open(dir)?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // No name of ours is anything but ASCII: another one is none of our files.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(self.path(name))?;
        preallocate(&file, len)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = fstatvfs(&self.handle)?;
        Ok(space.blocks_available() as u64 * space.fragment_size() as u64)
    }
}

/// With its blocks, so that a write never needs new ones: it neither fails for want of space nor
/// makes its sync write meta data. A file system that cannot gives a sparse file.
fn preallocate(file: &File, len: u64) -> io::Result<()> {
    use nix::errno::Errno;
    if len == 0 {
        // Refused by the system call; an archive grows as it is written.
        return Ok(());
    }
    let bytes = i64::try_from(len).map_err(io::Error::other)?;
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => file.set_len(len),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, mut offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        for some in pieces.chunks(WRITE_PIECES_MAX) {
            let mut slices: Vec<_> = some.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = slices.as_mut_slice();
            while rest.iter().any(|slice| !slice.is_empty()) {
                let at = i64::try_from(offset).map_err(io::Error::other)?;
                match pwritev(&self.0, rest, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_one_behind_the_other_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let file = disk.create("a", 1 << 16).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 16);
        let pieces: Vec<_> = (0..2_500u16)
            .map(|n| Bytes::copy_from_slice(&n.to_le_bytes()))
            .collect();
        file.write_at(7, &pieces).unwrap();
        file.sync().unwrap();
        let mut read = vec![0; 5_000];
        assert_eq!(file.read_at(7, &mut read).unwrap(), 5_000);
        assert_eq!(read, pieces.concat());
        assert_eq!(file.read_at((1 << 16) - 3, &mut read).unwrap(), 3);
        file.truncate(10).unwrap();
        disk.rename("a", "b").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.open("b").unwrap().len().unwrap(), 10);
        disk.remove("b").unwrap();
        assert!(disk.open("b").is_err());
        assert_ne!(disk.free_bytes().unwrap(), 0);
        let grows = disk.create("c", 0).unwrap();
        grows
            .write_at(0, &[Bytes::from_static(b"an archive")])
            .unwrap();
        assert_eq!(grows.len().unwrap(), 10);
    }
}
