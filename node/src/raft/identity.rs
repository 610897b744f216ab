//! Who a data directory belongs to: `node.json`, replaced as a whole and durably; and the lock that
//! keeps a second process out.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::api::{PeerAddress, StartError};
use crate::ids::NodeId;

const FILE_NAME: &str = "node.json";
const LOCK_NAME: &str = "LOCK";

/// How far the node is on its way into a cluster. (DESIGN, section 8, Founding.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It founds a cluster with `members`, and waits until each of them has stored the same.
    Ready,
    /// It has a cluster.
    Member,
}

/// The content of `node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Format of this file and of the directory.
    pub(crate) version: u32,
    /// The node. Never used again once this directory is gone.
    pub(crate) node_id: NodeId,
    /// How far it is.
    pub(crate) stage: Stage,
    /// The cluster; empty while [`Stage::Ready`].
    pub(crate) cluster_id: String,
    /// Number of Raft groups.
    pub(crate) groups: u32,
    /// True once every group has its log: from then on a missing one is lost data.
    pub(crate) initialized: bool,
    /// Founding members; empty for a node that was added later.
    pub(crate) founders: Vec<Founder>,
}

/// A founding member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its peer address at founding.
    pub(crate) address: String,
}

/// Format written by this version.
const VERSION: u32 = 2;

impl Identity {
    /// Of a node that is ready to found a cluster.
    pub(crate) fn ready(node_id: NodeId, groups: u32, members: &[PeerAddress]) -> Self {
        let founder = |m: &PeerAddress| Founder {
            id: m.id,
            address: m.address.clone(),
        };
        Self {
            version: VERSION,
            node_id,
            stage: Stage::Ready,
            cluster_id: String::new(),
            groups,
            initialized: false,
            founders: members.iter().map(founder).collect(),
        }
    }

    /// Of a node that was added to a cluster.
    pub(crate) fn added(node_id: NodeId, groups: u32, cluster_id: String) -> Self {
        let ready = Self::ready(node_id, groups, &[]);
        Self {
            stage: Stage::Member,
            cluster_id,
            ..ready
        }
    }

    /// Reads the directory's identity; `None` when it has none. Blocks.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, StartError> {
        let path = dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StartError::DataDir {
                    dir: dir.to_owned(),
                    source,
                });
            }
        };
        let damaged = |reason: String| StartError::Damaged {
            path: path.clone(),
            reason,
        };
        let identity: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if identity.version != VERSION {
            return Err(damaged(format!("format {} is unknown", identity.version)));
        }
        if identity.stage == Stage::Member && identity.cluster_id.is_empty() {
            return Err(damaged("a member without a cluster".to_owned()));
        }
        Ok(Some(identity))
    }

    /// Whose log is in the directory: another node's or cluster's files are refused.
    pub(crate) fn log_owner(&self) -> u64 {
        let text = format!("{}/{}", self.cluster_id, self.node_id);
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }

    /// Replaces the directory's identity durably. Blocks.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), StartError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
            let temporary = dir.join(format!("{FILE_NAME}.tmp"));
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, dir.join(FILE_NAME))?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| StartError::DataDir {
            dir: dir.to_owned(),
            source,
        })
    }
}

/// The number of groups of the cluster that a data directory belongs to, `None` for a new one.
///
/// # Errors
/// An unreadable directory.
pub fn stored_groups(dir: &Path) -> Result<Option<u32>, StartError> {
    Ok(Identity::load(dir)?.map(|identity| identity.groups))
}

/// The directory of the log of all groups.
pub(crate) fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The directory of a group's files.
pub(crate) fn group_dir(dir: &Path, group: u32) -> PathBuf {
    dir.join("groups").join(group.to_string())
}

/// Creates the directory if need be and locks it for this process; the lock goes with the file.
pub(crate) fn lock(dir: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::DataDir {
        dir: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let file = File::create(dir.join(LOCK_NAME)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_and_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let members = [PeerAddress {
            id: 3,
            address: "h:1".to_owned(),
        }];
        let identity = Identity::ready(3, 4, &members);
        identity.store(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity));
        assert_eq!(stored_groups(dir.path()).unwrap(), Some(4));
        fs::write(dir.path().join(FILE_NAME), "{\"node_id\": ").unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(StartError::Damaged { .. })
        ));
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(StartError::Locked(_))));
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }
}
