//! What followers are told, against the reference model: everything once, or that there is a gap.

use roomcast::ids::Position;
use roomcast::state::{FollowItem, FollowPage, FollowQuery, GroupState};

use crate::model::ModelEvent;
use crate::model_records::ModelRecord;
use crate::print;
use crate::script::{self, Words};
use crate::steps::NAMESPACES;
use crate::world::World;

/// What a follower is told from a position on.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Where it goes on, where it cannot go on as it wanted.
    gap: Option<Position>,
    items: Vec<(Position, String)>,
}

impl World {
    pub(crate) fn check_followers(&self, salt: u64) {
        for (number, (events, lifecycle)) in (0..).zip([(true, true), (true, false), (false, true)])
        {
            let back = (salt / 3) % (self.index + 2);
            let after = Position::new(self.index + 1 - back, (salt % 3) as u32);
            for namespace in NAMESPACES {
                let own = self.model.sessions.keys().nth(salt as usize % 5);
                let own = own.map_or("nobody".to_owned(), ToString::to_string);
                let rooms = [vec![], vec!["a".to_owned()], vec!["b".to_owned(), own]];
                let query = FollowQuery {
                    namespace,
                    rooms: &rooms[(salt as usize + number) % 3],
                    events,
                    lifecycle,
                    limit: 1 + salt as usize % 4,
                    bytes_max: 100,
                };
                let told = read(&self.state, &query, after);
                let owed = self.owed_to_follower(&query, after);
                assert_eq!(told, owed, "{query:?} after {after}");
            }
        }
    }

    fn owed_to_follower(&self, query: &FollowQuery<'_>, after: Position) -> Told {
        let mut complete_after = Position::ZERO;
        let of_query = |event: &&ModelEvent| {
            let to_rooms = event.rooms.iter().any(|room| query.rooms.contains(room));
            event.namespace == query.namespace && (query.rooms.is_empty() || to_rooms)
        };
        let events = self
            .model
            .events
            .iter()
            .filter(|_| query.events)
            .filter(of_query);
        for event in events.clone() {
            // Of a whole namespace, what is kept for its subscribers alone is not told.
            if event.dropped || (event.beyond && query.rooms.is_empty()) {
                complete_after = complete_after.max(event.position);
            }
        }
        let records = &self.model.records;
        if query.lifecycle {
            complete_after = complete_after.max(records.complete_after());
        }
        let gap = Some(complete_after).filter(|complete| *complete > after);
        let start = gap.unwrap_or(after);
        let mut items: Vec<_> = events
            .filter(|event| event.position > start)
            .map(|event| (event.position, "event".to_owned()))
            .collect();
        let concerns = |record: &&ModelRecord| {
            let own = record.socket.to_string();
            let named = |room: &String| record.rooms.contains(room) || *room == own;
            query.rooms.is_empty() || query.rooms.iter().any(named)
        };
        let records = records
            .all
            .iter()
            .filter(|_| query.lifecycle)
            .filter(concerns);
        let records = records.filter(|record| record.namespace == query.namespace);
        let records = records.filter(|record| record.position > start);
        items.extend(records.map(|record| (record.position, record.text.clone())));
        items.sort();
        Told { gap, items }
    }
}

/// Page by page to the end; then in an order that does not tell one position's items apart.
fn read(state: &GroupState, query: &FollowQuery<'_>, after: Position) -> Told {
    let (mut gap, mut items) = (None, Vec::new());
    let mut cursor = state.follow_cursor(after);
    let mut split = None;
    loop {
        match state.follow_page(query, cursor) {
            FollowPage::Gap(at) => {
                assert!(items.is_empty() && gap.is_none(), "a gap comes first");
                gap = Some(at);
                cursor = state.follow_cursor(at);
            }
            FollowPage::Told {
                items: page,
                next,
                is_split,
            } => {
                assert!(page.len() <= 2 * query.limit);
                assert!(page.is_sorted_by_key(FollowItem::position));
                if let Some(split) = split.take() {
                    assert_eq!(page.first().map(FollowItem::position), Some(split));
                } else if let Some((last, _)) = items.last() {
                    assert!(page.iter().all(|item| item.position() > *last));
                }
                if is_split {
                    split = page.last().map(FollowItem::position);
                    assert_eq!(split, Some(next.after));
                }
                items.extend(page.iter().map(|item| (item.position(), text(item))));
                cursor = next;
                if next.after >= state.position() && !is_split {
                    break;
                }
            }
        }
    }
    items.sort();
    Told { gap, items }
}

fn text(item: &FollowItem) -> String {
    match item {
        FollowItem::Event(_) => "event".to_owned(),
        FollowItem::Record(record) => print::record(record),
    }
}

/// `show follow / [rooms=a,b] [after=3.0] [limit=10] [only=events]`: one page.
pub(crate) fn show(state: &GroupState, words: &mut Words<'_>) -> String {
    let (namespace, rooms) = (words.word(), words.rooms("rooms"));
    let only = words.value("only");
    let after = script::position(words.value("after").unwrap_or("0.0"));
    let query = FollowQuery {
        namespace,
        rooms: &rooms,
        events: only != Some("lifecycle"),
        lifecycle: only != Some("events"),
        limit: words.number("limit").unwrap_or(100),
        bytes_max: u64::MAX,
    };
    let (items, next, is_split) = match state.follow_page(&query, state.follow_cursor(after)) {
        FollowPage::Gap(at) => return format!("> GAP, go on after {}\n", print::position(at)),
        FollowPage::Told {
            items,
            next,
            is_split,
        } => (items, next, is_split),
    };
    let mut out = String::new();
    for item in &items {
        out += &match item {
            FollowItem::Event(at) => format!("> {} event\n", print::position(*at)),
            FollowItem::Record(record) => format!("> {}\n", print::record(record)),
        };
    }
    let split = if is_split { ", in its middle" } else { "" };
    out + &format!("> through {}{split}\n", print::position(next.after))
}
