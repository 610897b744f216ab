//! What a follower is told.

use roomcast_proto::api::followed::{Gap, Logged, Mark, What as Told};
use roomcast_proto::api::lifecycle::Kind;
use roomcast_proto::api::{self, Lifecycle};

use super::event::{event_of, text};
use crate::socketio::{Followed, What};
use crate::state::{self, LifecycleKind, LifecycleRecord};

/// One thing that happened.
pub(crate) fn followed(followed: Followed) -> api::Followed {
    api::Followed {
        offset: followed.offset.to_string(),
        last: followed.last,
        what: Some(match followed.what {
            What::Event(event) => Told::Event(logged(event)),
            What::Lifecycle(record) => Told::Lifecycle(lifecycle(&record)),
            What::Gap => Told::Gap(Gap {}),
            What::Mark => Told::Mark(Mark {}),
        }),
    }
}

fn logged(event: state::Event) -> Logged {
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(ToString::to_string).collect();
    Logged {
        rooms: names(&event.rooms),
        except: names(&event.except),
        event: Some(event_of(&event.event, event.attachments)),
        at: event.wall_ms,
    }
}

fn lifecycle(record: &LifecycleRecord) -> Lifecycle {
    let (mut room, mut reason) = (String::new(), String::new());
    let kind = match &record.kind {
        LifecycleKind::Connected => Kind::Connected,
        LifecycleKind::Joined { room: joined } => {
            room = joined.to_string();
            Kind::Joined
        }
        LifecycleKind::Left { room: left } => {
            room = left.to_string();
            Kind::Left
        }
        LifecycleKind::Away => Kind::Away,
        LifecycleKind::Back => Kind::Back,
        LifecycleKind::Disconnected { reason: why } => {
            reason = why.to_string();
            Kind::Disconnected
        }
        LifecycleKind::Expired => Kind::Expired,
        LifecycleKind::Updated => Kind::Updated,
    };
    Lifecycle {
        kind: kind.into(),
        socket: record.socket.to_string(),
        identity: record.identity.as_deref().map(str::to_owned),
        data: text(&record.data),
        room,
        reason,
    }
}
