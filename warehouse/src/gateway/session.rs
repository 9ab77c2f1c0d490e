//! Sessions: what `SET`, `USE` and temporary tables leave behind, kept for the next request with the same `session_id`.
//!
//! A session holds a connection of its own only once a statement has left something on one. Most clients send a
//! `session_id` with every request and never do so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request::Request;
use crate::embedded::{Connection, Exception, Query};
use crate::quote::quote_text;

/// Sessions with a state at the same time.
const MAX_SESSIONS: usize = 64;
/// ClickHouse's default and largest `session_timeout`, in seconds.
const DEFAULT_TIMEOUT: u64 = 60;
const MAX_TIMEOUT: u64 = 3600;

enum Slot {
    Busy,
    Idle {
        connection: Connection,
        until: Instant,
    },
}

/// The sessions of a gateway, by id.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Slot>>);

impl Sessions {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        slots.retain(|_, slot| !matches!(slot, Slot::Idle { until, .. } if *until <= now));
        slots
    }

    /// The session's connection, if it has one; from then on it is busy until [`Busy`] is dropped.
    pub(crate) fn take(&self, id: &str) -> Result<Option<(Connection, Busy<'_>)>, Exception> {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(id) else {
            return Ok(None);
        };
        match std::mem::replace(slot, Slot::Busy) {
            Slot::Idle { connection, .. } => Ok(Some((
                connection,
                Busy {
                    sessions: self,
                    id: id.to_owned(),
                },
            ))),
            Slot::Busy => Err(locked(id)),
        }
    }

    /// Marks a new session as busy.
    pub(crate) fn begin(&self, id: &str) -> Result<Busy<'_>, Exception> {
        let mut slots = self.slots();
        if slots.contains_key(id) {
            return Err(locked(id));
        }
        if slots.len() >= MAX_SESSIONS {
            let text = format_args!(
                "there are {MAX_SESSIONS} sessions with a state already; wait for one to time out"
            );
            return Err(Exception::new(202, "TOO_MANY_SIMULTANEOUS_QUERIES", text));
        }
        slots.insert(id.to_owned(), Slot::Busy);
        Ok(Busy {
            sessions: self,
            id: id.to_owned(),
        })
    }

    /// Closes the connections of all idle sessions; to be called once at the end.
    pub(crate) fn close(&self) {
        self.slots().clear();
    }
}

fn locked(id: &str) -> Exception {
    let text = format_args!(
        "Session {} is locked by a concurrent client",
        id.escape_default()
    );
    Exception::new(373, "SESSION_IS_LOCKED", text)
}

/// A session that runs a query; forgotten when dropped, unless its connection was given back.
pub(crate) struct Busy<'a> {
    sessions: &'a Sessions,
    id: String,
}

impl Busy<'_> {
    /// Keeps the session for the request's `session_timeout`.
    pub(crate) fn give_back(self, connection: Connection, timeout: Option<u64>) {
        let timeout = Duration::from_secs(timeout.unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT));
        let slot = Slot::Idle {
            connection,
            until: Instant::now() + timeout,
        };
        self.sessions.slots().insert(self.id.clone(), slot);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut slots = self.sessions.slots();
        if matches!(slots.get(&self.id), Some(Slot::Busy)) {
            slots.remove(&self.id);
        }
    }
}

/// The statement that takes back the settings of a request in a session; `None` when it has none.
pub(crate) fn restoring(
    connection: &mut Connection,
    request: &Request,
) -> Result<Option<String>, Exception> {
    if request.settings.is_empty() {
        return Ok(None);
    }
    let names = request.settings.iter().map(|(name, _)| name.as_str());
    let list: Vec<String> = names.map(quote_text).collect();
    let sql = format!(
        "SELECT name, changed, value FROM system.settings WHERE name IN ({}) FORMAT TSVRaw",
        list.join(", ")
    );
    let output = connection.query(Query::new(&sql, "TSVRaw"))?;
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    let parts: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once('\t')?;
            let (changed, value) = rest.split_once('\t')?;
            Some(if changed == "1" {
                format!("{name} = {}", quote_text(value))
            } else {
                format!("{name} = DEFAULT")
            })
        })
        .collect();
    Ok((!parts.is_empty()).then(|| format!("SET {}", parts.join(", "))))
}
