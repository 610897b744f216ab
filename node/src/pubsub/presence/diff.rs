//! What became of a room's membership between two positions, net: who came and went in between is
//! not told.

use serde_json::{Map, Value, json};

use crate::limits;
use crate::pubsub::members::{data_json, member_bytes, member_json};
use crate::state::Member;

/// The net change; bounded, whatever happened.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Diff {
    /// Members that have changed.
    ids: usize,
    /// About what it takes in an event.
    bytes: usize,
    join: Vec<Value>,
    leave: Vec<Value>,
    away: Vec<Value>,
    back: Vec<Value>,
    update: Vec<Value>,
}

impl Diff {
    /// What became of one socket: a member before, a member now, or not.
    pub(super) fn note(&mut self, before: Option<&Member>, now: Option<&Member>) {
        if same(before, now) {
            return;
        }
        self.ids += 1;
        let Some(any) = now.or(before) else { return };
        self.bytes += member_bytes(any);
        if self.is_too_large() {
            return;
        }
        let id = json!(any.id.to_string());
        match (before, now) {
            (Some(_), None) => self.leave.push(id),
            (Some(before), Some(now)) if before.identity == now.identity => {
                if before.data != now.data {
                    self.update
                        .push(json!({ "id": id, "data": data_json(now) }));
                }
                if before.connected != now.connected {
                    let list = if now.connected {
                        &mut self.back
                    } else {
                        &mut self.away
                    };
                    list.push(id);
                }
            }
            (_, _) => self.join.push(member_json(any)),
        }
    }

    /// Whether nothing has changed.
    pub(super) fn is_empty(&self) -> bool {
        self.ids == 0
    }

    /// Whether too much has changed to be told; then it is not kept either.
    pub(super) fn is_too_large(&self) -> bool {
        self.ids > limits::PRESENCE_DIFF_MAX || self.bytes > limits::PAGE_BYTES_MAX
    }

    /// Its lists, empty ones left out.
    pub(super) fn write(self, object: &mut Map<String, Value>) {
        for (name, list) in [
            ("join", self.join),
            ("leave", self.leave),
            ("away", self.away),
            ("back", self.back),
            ("update", self.update),
        ] {
            if !list.is_empty() {
                object.insert(name.into(), list.into());
            }
        }
    }
}

/// Whether a client would be shown the same; since when it is so is not told.
fn same(before: Option<&Member>, now: Option<&Member>) -> bool {
    let shown = |member: &Member| {
        (
            member.connected,
            member.identity.clone(),
            member.data.clone(),
        )
    };
    before.map(shown) == now.map(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SocketId;

    fn member(number: u16, connected: bool, data: &'static str) -> Member {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Member {
            id: SocketId(id),
            connected,
            since_ms: u64::from(number),
            identity: Some("ann".into()),
            data: data.as_bytes().into(),
        }
    }

    fn told(before: Option<&Member>, now: Option<&Member>) -> Value {
        let mut diff = Diff::default();
        diff.note(before, now);
        let mut object = Map::new();
        assert_eq!(diff.is_empty(), same(before, now));
        diff.write(&mut object);
        object.into()
    }

    #[test]
    fn only_what_has_changed_in_the_end_is_told() {
        let here = member(1, true, "1");
        let id = here.id.to_string();
        let away = member(1, false, "1");
        let other = member(1, true, "2");
        let later = Member {
            since_ms: 99,
            ..here.clone()
        };
        let renamed = Member {
            identity: None,
            ..here.clone()
        };
        let update = json!([{ "id": id, "data": 2 }]);
        for (before, now, expected) in [
            (None, None, json!({})),
            (Some(&here), Some(&here), json!({})),
            // It was away and is back, or has left and joined: nothing.
            (Some(&here), Some(&later), json!({})),
            (None, Some(&here), json!({ "join": [member_json(&here)] })),
            (Some(&here), None, json!({ "leave": [id] })),
            (Some(&here), Some(&away), json!({ "away": [id] })),
            (Some(&away), Some(&here), json!({ "back": [id] })),
            (Some(&here), Some(&other), json!({ "update": update })),
            (
                Some(&away),
                Some(&other),
                json!({ "back": [id], "update": update }),
            ),
            (
                Some(&here),
                Some(&renamed),
                json!({ "join": [member_json(&renamed)] }),
            ),
        ] {
            assert_eq!(told(before, now), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn too_many_members_and_too_many_bytes_are_not_told() {
        let mut diff = Diff::default();
        for number in 0..limits::PRESENCE_DIFF_MAX as u16 {
            diff.note(None, Some(&member(number, true, "1")));
        }
        assert!(!diff.is_too_large());
        diff.note(None, Some(&member(u16::MAX, true, "1")));
        assert!(diff.is_too_large());
        assert_eq!(diff.join.len(), limits::PRESENCE_DIFF_MAX);

        let mut diff = Diff::default();
        let mut large = member(1, true, "");
        large.data = vec![b'1'; limits::PAGE_BYTES_MAX].into();
        diff.note(None, Some(&large));
        assert!(diff.is_too_large() && diff.join.is_empty());
    }
}
