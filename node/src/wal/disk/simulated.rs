//! A disk in memory that crashes at a chosen operation, keeps of what was not synced what a seed
//! says (whole, torn by sectors, or nothing), fills up, stalls, and can be corrupted.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskFile};

/// A write reaches the disk in pieces of this size, in any order.
const SECTOR_BYTES: usize = 512;

/// See the module's text; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>, Arc<Condvar>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    /// As seen now.
    names: BTreeMap<String, usize>,
    /// Surely there after a crash.
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since they were synced, in order.
    renaming: Vec<NameChange>,
    /// Operations that change something, so far.
    operations: usize,
    /// The operation at which it crashes.
    crash_at: Option<usize>,
    /// The operation at which it fails, once.
    fail_at: Option<usize>,
    crashed: bool,
    /// Whoever changes something waits.
    stalled: bool,
    /// How many wait.
    waiting: usize,
    capacity: Option<u64>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(len) => to.resize(*len, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("the machine has crashed")
}

impl State {
    /// Counts an operation. `Ok(true)`: it is the one at which the machine crashes.
    fn operation(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(crashed());
        }
        let now = self.operations;
        self.operations += 1;
        if self.fail_at == Some(now) {
            return Err(io::Error::other("the disk has failed"));
        }
        self.crashed = self.crash_at == Some(now);
        Ok(self.crashed)
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        let crashes = self.operation()?;
        change.apply(&mut self.names)?;
        self.renaming.push(change);
        if crashes { Err(crashed()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        let files = self
            .names
            .values()
            .map(|file| self.files[*file].now.len() as u64);
        files.sum()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) -> io::Result<()> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        match self {
            Self::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Rename(from, to) => {
                let file = names.remove(from).ok_or_else(missing)?;
                names.insert(to.clone(), file);
            }
            Self::Remove(name) => drop(names.remove(name).ok_or_else(missing)?),
        }
        Ok(())
    }
}

impl SimulatedDisk {
    /// It crashes at the n-th operation that changes something.
    pub(crate) fn crash_at(&self, operation: usize) {
        self.0.lock().crash_at = Some(operation);
    }

    /// The n-th operation fails, and only that.
    pub(crate) fn fail_at(&self, operation: usize) {
        self.0.lock().fail_at = Some(operation);
    }

    /// It holds no more than so many bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// From here on what changes something waits; reads do not. False: it goes on.
    pub(crate) fn stall(&self, stalled: bool) {
        self.0.lock().stalled = stalled;
        self.1.notify_all();
    }

    /// How many operations wait for a disk that has stalled.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().waiting
    }

    /// The state, once the disk does not stall.
    fn working(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock();
        state.waiting += 1;
        while state.stalled {
            self.1.wait(&mut state);
        }
        state.waiting -= 1;
        state
    }

    /// Operations that changed something, so far.
    pub(crate) fn operations(&self) -> usize {
        self.0.lock().operations
    }

    /// What the machine finds after a crash: what was synced, and of the rest what the seed says.
    pub(crate) fn reboot(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let state = self.0.lock();
        let mut names = state.durable_names.clone();
        // A file system's journal keeps the order of names.
        let kept = random.random_range(0..=state.renaming.len());
        for change in &state.renaming[..kept] {
            // What it renames may have been created and removed before.
            change.apply(&mut names).ok();
        }
        let files: Vec<_> = state
            .files
            .iter()
            .map(|file| file.after_crash(&mut random))
            .collect();
        Self::with(State {
            files,
            durable_names: names.clone(),
            names,
            ..State::default()
        })
    }

    /// A copy of what is there now, as if everything had been synced.
    pub(crate) fn copy(&self) -> Self {
        let state = self.0.lock();
        let files = state.files.iter().map(|file| Content {
            now: file.now.clone(),
            durable: file.now.clone(),
            unsynced: Vec::new(),
        });
        Self::with(State {
            files: files.collect(),
            names: state.names.clone(),
            durable_names: state.names.clone(),
            ..State::default()
        })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)), Arc::default())
    }

    /// Names and lengths of the files.
    pub(crate) fn files(&self) -> Vec<(String, usize)> {
        let state = self.0.lock();
        let files = state.names.iter();
        files
            .map(|(name, file)| (name.clone(), state.files[*file].now.len()))
            .collect()
    }

    /// Flips one bit of a file.
    pub(crate) fn flip(&self, name: &str, byte: usize, bit: u8) {
        let mut state = self.0.lock();
        let file = state.names[name];
        let content = &mut state.files[file];
        content.now[byte] ^= 1 << bit;
        content.durable[byte] ^= 1 << bit;
    }

    /// Cuts a file.
    pub(crate) fn cut(&self, name: &str, len: usize) {
        let mut state = self.0.lock();
        let file = state.names[name];
        state.files[file].now.truncate(len);
        state.files[file].durable.truncate(len);
    }
}

impl Content {
    fn after_crash(&self, random: &mut StdRng) -> Self {
        let mut left = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Length(_) if random.random() => change.apply(&mut left),
                Change::Length(_) => {}
                Change::Write(offset, bytes) => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let in_sector = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                        let len = in_sector.min(bytes.len() - at);
                        if random.random() {
                            let piece = bytes[at..at + len].to_vec();
                            Change::Write(offset + at, piece).apply(&mut left);
                        }
                        at += len;
                    }
                }
            }
        }
        Self {
            now: left.clone(),
            durable: left,
            unsynced: Vec::new(),
        }
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.working();
        if state
            .capacity
            .is_some_and(|capacity| state.used() + len > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let file = state.files.len();
        state.files.push(Content {
            now: vec![0; len],
            durable: Vec::new(),
            unsynced: vec![Change::Length(len)],
        });
        state.rename(NameChange::Create(name.to_owned(), file))?;
        Ok(Arc::new(SimulatedFile(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.lock().names.get(name).copied();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.working()
            .rename(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.working().rename(NameChange::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.working();
        if state.operation()? {
            return Err(crashed());
        }
        state.renaming.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.0.lock();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        Ok(capacity.saturating_sub(state.used()))
    }
}

#[derive(Debug)]
struct SimulatedFile(SimulatedDisk, usize);

impl SimulatedFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.0.working();
        let crashes = state.operation()?;
        let file = &mut state.files[self.1];
        change.apply(&mut file.now);
        file.unsynced.push(change);
        if crashes { Err(crashed()) } else { Ok(()) }
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().files[self.1].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.0.lock();
        let bytes = &state.files[self.1].now;
        let from = usize::try_from(offset)
            .map_err(io::Error::other)?
            .min(bytes.len());
        let len = buffer.len().min(bytes.len() - from);
        buffer[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(Change::Write(offset, pieces.concat()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.working();
        if state.operation()? {
            return Err(crashed());
        }
        let file = &mut state.files[self.1];
        file.durable = file.now.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(
            usize::try_from(len).map_err(io::Error::other)?,
        ))
    }
}
