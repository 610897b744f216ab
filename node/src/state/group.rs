//! The state of one group, and how an entry moves it: log time first, then what became due, then
//! the body of the command, then early drops.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use roomcast_proto::command;

use super::bucket::{BUCKET_COUNT, default_table};
use super::effect::Effect;
use super::forgotten::Forgotten;
use super::limited::Limited;
use super::namespace::Namespace;
use super::producer::Producer;
use super::records::Records;
use super::session::Session;
use super::settings::Settings;
use super::timers::Timers;
use crate::ids::{GroupId, Incarnation, Pid, Position, SocketId};

/// The command format that this build writes and understands.
pub const COMMAND_VERSION: u32 = 1;
/// The highest feature level that this build understands.
pub const FEATURE_LEVEL: u32 = 1;

/// Log time stops here (146,000 years), so that no sum with a window overflows.
const LOG_TIME_MAX_US: u64 = 1 << 62;

/// Why an entry cannot be applied. Each is fatal: a replica that skipped an entry would differ.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Written by a newer build.
    #[error("entry has command version {0}; this build understands {COMMAND_VERSION} only")]
    UnknownVersion(u32),
    /// Not a command at all.
    #[error("entry does not decode")]
    Undecodable(#[from] prost::DecodeError),
    /// A kind of command that this build does not have.
    #[error("entry has a body of unknown kind {0}")]
    UnknownBody(u32),
    /// A kind of operation that this build does not have.
    #[error("operation {0} of the entry's batch is of unknown kind")]
    UnknownOperation(usize),
    /// The cluster was raised to a level that this build does not have.
    #[error("entry needs feature level {0}; this build has {FEATURE_LEVEL}")]
    UnknownLevel(u32),
    /// The caller's mistake: entries come in order, each once.
    #[error("entry {index} follows entry {applied}")]
    OutOfOrder {
        /// Index of the entry.
        index: u64,
        /// Index of the last one applied.
        applied: u64,
    },
}

/// The replicated state of one group. Cloning is O(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// The last entry applied.
    pub(super) index: u64,
    /// Microseconds that leaders measured since the group was founded; only moves forward.
    pub(super) log_time_us: u64,
    /// What the first command said; nothing else is applied before it.
    pub(super) founding: Option<Identity>,
    /// Configuration in force.
    pub(super) settings: Settings,
    /// What all members are known to understand.
    pub(super) feature_level: u32,
    /// Registered incarnations.
    pub(super) producers: OrdMap<Incarnation, Producer>,
    /// Incarnations that ended, oldest first; at most `RETIRED_MAX`.
    pub(super) retired: Vector<Incarnation>,
    /// All sessions, away ones too.
    pub(super) sessions: OrdMap<SocketId, Arc<Session>>,
    /// Sessions by what a client resumes with.
    pub(super) pids: OrdMap<Pid, SocketId>,
    /// Pids of expired sessions, oldest first; at most `EXPIRED_MAX`.
    pub(super) expired: Vector<Pid>,
    /// The same, for lookup.
    pub(super) expired_set: OrdSet<Pid>,
    /// Durable subscribers that ended by a limit and have not come back.
    pub(super) limited: Limited,
    /// Those for which events are spared.
    pub(super) sparing: OrdSet<SocketId>,
    /// Those that are beyond their limits; empty between entries.
    pub(super) overrun: OrdSet<SocketId>,
    /// Namespaces that have a session, a replayable event or a key, and the dormant ones.
    pub(super) namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    /// Namespaces that are empty but had events: kept for what histories say of their rooms, at
    /// most `DORMANT_MAX`, by floor.
    pub(super) dormant: OrdSet<(Position, Arc<str>)>,
    /// Floors of deleted namespaces.
    pub(super) forgotten: Forgotten,
    /// What became of sessions lately.
    pub(super) records: Records,
    /// What is due when.
    pub(super) timers: Timers,
    /// Which namespaces are looked at for early drops when; what is due may wait for later entries.
    pub(super) looks: Timers<Arc<str>>,
}

/// What a founding fixes for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Part of every offset of this log.
    pub(super) epoch: u64,
    /// This group.
    pub(super) group: GroupId,
    /// Group of each bucket.
    pub(super) table: Arc<[GroupId]>,
}

/// Where and when an operation happens, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) position: Position,
    /// The producer of the batch; 0 where there is none.
    pub(super) incarnation: Incarnation,
    /// Leader's wall clock, Unix milliseconds.
    pub(super) wall_ms: u64,
}

impl Default for GroupState {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupState {
    /// Before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self {
            index: 0,
            log_time_us: 0,
            founding: None,
            settings: Settings::DEFAULT,
            feature_level: 0,
            producers: OrdMap::new(),
            retired: Vector::new(),
            sessions: OrdMap::new(),
            pids: OrdMap::new(),
            expired: Vector::new(),
            expired_set: OrdSet::new(),
            limited: Limited::default(),
            sparing: OrdSet::new(),
            overrun: OrdSet::new(),
            namespaces: OrdMap::new(),
            dormant: OrdSet::new(),
            forgotten: Forgotten::default(),
            records: Records::default(),
            timers: Timers::default(),
            looks: Timers::default(),
        }
    }

    /// Applies an entry as the log holds it. Payloads in the effects share its bytes.
    ///
    /// # Errors
    /// When this build cannot know what the entry means; the node must stop.
    pub fn apply_encoded(&mut self, index: u64, entry: &Bytes) -> Result<Vec<Effect>, ApplyError> {
        let command = command::Command::decode(entry.clone())?;
        if command.body.is_none() && command.version == COMMAND_VERSION {
            refuse_unknown_body(entry)?;
        }
        self.apply(index, &command)
    }

    /// Applies an entry; `index` grows from call to call.
    ///
    /// # Errors
    /// When this build cannot know what the entry means; the node must stop. Nothing was changed.
    pub fn apply(
        &mut self,
        index: u64,
        command: &command::Command,
    ) -> Result<Vec<Effect>, ApplyError> {
        use command::command::Body;
        if command.version != COMMAND_VERSION {
            return Err(ApplyError::UnknownVersion(command.version));
        }
        if index <= self.index {
            return Err(ApplyError::OutOfOrder {
                index,
                applied: self.index,
            });
        }
        let level = match &command.body {
            Some(Body::Founding(founding)) if self.founding.is_none() => founding.feature_level,
            Some(Body::RaiseLevel(raise)) if self.founding.is_some() => raise.feature_level,
            _ => 0,
        };
        if level > FEATURE_LEVEL {
            return Err(ApplyError::UnknownLevel(level));
        }
        let batch = match &command.body {
            Some(Body::Batch(bytes)) => Some(decode_batch(bytes)?),
            _ => None,
        };

        let mut effects = Vec::new();
        self.index = index;
        let log_time_us = self.log_time_us.saturating_add(command.elapsed_us);
        self.log_time_us = log_time_us.min(LOG_TIME_MAX_US);
        let moment = Moment {
            position: Position::new(index, 0),
            incarnation: 0,
            wall_ms: command.wall_ms,
        };
        self.run_timers(moment, &mut effects);
        if let Some(Body::Founding(founding)) = &command.body
            && self.founding.is_none()
        {
            self.found(founding, &mut effects);
            return Ok(effects);
        }
        if self.founding.is_none() {
            return Ok(effects);
        }
        match &command.body {
            None | Some(Body::Founding(_)) => {}
            Some(Body::Register(register)) => self.register(moment, *register, &mut effects),
            Some(Body::Detach(detach)) => self.detach(moment, detach.incarnation, &mut effects),
            Some(Body::Configure(configure)) => {
                self.configure(configure);
                self.run_timers(moment, &mut effects);
            }
            Some(Body::RaiseLevel(raise)) => {
                self.feature_level = self.feature_level.max(raise.feature_level);
            }
            Some(Body::Batch(_)) => {
                let batch = batch.expect("decoded above");
                self.apply_batch(moment, batch, &mut effects);
            }
        }
        self.run_looks();
        self.end_overrun(moment, &mut effects);
        self.settle_records();
        Ok(effects)
    }

    fn found(&mut self, founding: &command::Founding, effects: &mut Vec<Effect>) {
        if self.founding.is_some() {
            return;
        }
        let table = if founding.table.len() == BUCKET_COUNT as usize {
            founding.table.clone()
        } else {
            default_table(1)
        };
        self.founding = Some(Identity {
            epoch: founding.epoch,
            group: founding.group,
            table: table.into(),
        });
        if let Some(settings) = &founding.settings {
            self.settings = self.settings.with(settings);
        }
        self.feature_level = founding.feature_level;
        effects.push(Effect::Founded {
            epoch: founding.epoch,
            group: founding.group,
        });
    }

    fn configure(&mut self, configure: &command::Configure) {
        let Some(proposed) = &configure.settings else {
            return;
        };
        self.settings = self.settings.with(proposed);
        if self.settings.lifecycle_records == 0 {
            self.records.clear();
        }
        let names: Vec<_> = self.namespaces.keys().cloned().collect();
        for name in names {
            let settings = self.settings;
            if let Some(namespace) = self.namespaces.get_mut(&name) {
                let namespace = Arc::make_mut(namespace);
                namespace.enforce_size(&settings);
                namespace.keys.shrink(settings.keys_max);
            }
            self.settle(&name);
        }
        self.check_spared();
    }
}

/// Decodes a batch and makes sure that each of its operations is of a known kind.
fn decode_batch(bytes: &Bytes) -> Result<command::Batch, ApplyError> {
    let batch = command::Batch::decode(bytes.clone())?;
    match batch.ops.iter().position(|op| op.kind.is_none()) {
        Some(op) => Err(ApplyError::UnknownOperation(op)),
        None => Ok(batch),
    }
}

/// A command without a body that we know is a tick only if it has no body that we do not know.
fn refuse_unknown_body(entry: &Bytes) -> Result<(), ApplyError> {
    const KNOWN: [u32; 3] = [1, 2, 3];
    let mut rest = entry.clone();
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        if !KNOWN.contains(&tag) {
            return Err(ApplyError::UnknownBody(tag));
        }
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
    }
    Ok(())
}
