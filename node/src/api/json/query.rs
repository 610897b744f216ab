//! Query parameters: each known by name, each given once, lists by giving one again.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use roomcast_proto::api;

use crate::api::refused::Refused;
use crate::socketio::Refusal;

/// As the router hands them over.
pub(in crate::api) type Given = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Parameters that were not asked for yet.
pub(in crate::api) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(in crate::api) fn of(given: Given) -> Result<Self, Refused> {
        let Query(pairs) = given?;
        Ok(Self(pairs))
    }

    /// All values of a list.
    fn all(&mut self, name: &str) -> Vec<String> {
        let found = self.0.extract_if(.., |(given, _)| given == name);
        found.map(|(_, value)| value).collect()
    }

    /// A parameter that is there once or not at all.
    pub(in crate::api) fn one(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let mut all = self.all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(Refusal::invalid(format!("{name} is given more than once"))),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, Refusal> {
        Ok(self.one(name)?.unwrap_or_default())
    }

    /// Where a page of sockets starts; given, it is an id.
    fn after_socket(&mut self) -> Result<String, Refusal> {
        match self.one("after")?.as_deref() {
            Some("") => Err(Refusal::invalid("after is no socket's id")),
            after => Ok(after.unwrap_or_default().to_owned()),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        // `parse` would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        let no_number = || Refusal::invalid(format!("{name} is no number"));
        number.map(Some).ok_or_else(no_number)
    }

    fn flag(&mut self, name: &str, absent: bool) -> Result<bool, Refusal> {
        match self.one(name)?.as_deref() {
            None => Ok(absent),
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::invalid(format!("{name} is true or false"))),
        }
    }

    /// A page has at least one thing.
    fn limit(&mut self) -> Result<u32, Refusal> {
        match self.number("limit")? {
            Some(0) => Err(Refusal::invalid("limit is at least 1")),
            limit => Ok(limit.unwrap_or(0)),
        }
    }

    /// Nothing else may be there: a misspelt parameter would be silently without effect.
    pub(in crate::api) fn end(self) -> Result<(), Refusal> {
        match self.0.first() {
            Some((name, _)) => Err(Refusal::invalid(format!("there is no parameter {name:?}"))),
            None => Ok(()),
        }
    }
}

pub(super) fn fetch_sockets(given: Given) -> Result<api::FetchSocketsRequest, Refused> {
    let mut query = Parameters::of(given)?;
    let request = api::FetchSocketsRequest {
        namespace: query.text("namespace")?,
        target: Some(api::Target {
            rooms: query.all("room"),
            except: query.all("except"),
        }),
        after: query.after_socket()?,
        limit: query.limit()?,
    };
    query.end()?;
    Ok(request)
}

pub(super) fn members(given: Given) -> Result<api::MembersRequest, Refused> {
    let mut query = Parameters::of(given)?;
    let request = api::MembersRequest {
        namespace: query.text("namespace")?,
        room: query.text("room")?,
        after: query.after_socket()?,
        limit: query.number("limit")?,
        away: query.flag("away", false)?,
    };
    query.end()?;
    Ok(request)
}

pub(super) fn rooms(given: Given) -> Result<api::RoomsRequest, Refused> {
    let mut query = Parameters::of(given)?;
    let request = api::RoomsRequest {
        namespace: query.text("namespace")?,
        after: query.text("after")?,
        limit: query.limit()?,
    };
    query.end()?;
    Ok(request)
}

pub(super) fn history(given: Given) -> Result<api::HistoryRequest, Refused> {
    let mut query = Parameters::of(given)?;
    let from = match (query.one("after")?, query.number("last")?) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid("after and last exclude each other").into());
        }
        (Some(after), None) => Some(api::history_request::From::After(after)),
        (None, Some(last)) => Some(api::history_request::From::Last(last)),
        (None, None) => None,
    };
    let request = api::HistoryRequest {
        namespace: query.text("namespace")?,
        room: query.text("room")?,
        from,
        limit: query.limit()?,
    };
    query.end()?;
    Ok(request)
}

/// `last`: what the follower was told last, which wins over the query of its first request.
pub(super) fn follow(given: Given, last: &str) -> Result<api::FollowRequest, Refused> {
    let mut query = Parameters::of(given)?;
    let after = query.text("after")?;
    let request = api::FollowRequest {
        namespace: query.text("namespace")?,
        rooms: query.all("room"),
        after: if last.is_empty() {
            after
        } else {
            last.to_owned()
        },
        events: query.flag("events", true)?,
        lifecycle: query.flag("lifecycle", true)?,
    };
    query.end()?;
    Ok(request)
}
