//! `dws_session` and the loops in it: the sum of a session's traces, at the end of every block.

use std::collections::{BTreeMap, BTreeSet};

use stream_job::ops::settings::Settings;
use xxhash_rust::xxh3::xxh3_128;

use super::micros;
use super::tables::{Row, Tables, put, row, texts};
use super::traces::{Call, Root, SOURCES, SessionKey, Told, Totals, longest_run};

struct Session {
    segment: u64,
    parts: BTreeMap<(u128, u64), Told>,
    /// When the first call of a loop started that was first told, and how many calls were last told, by tool and arguments.
    loops: BTreeMap<(String, u64), (i64, usize)>,
    /// Its time was over before this epoch's data, and no trace of it has changed since.
    over: bool,
    told_last_us: i64,
}

pub struct Sessions {
    idle_us: i64,
    ttl_us: i64,
    min_repeats: usize,
    sessions: BTreeMap<SessionKey, Session>,
    /// The session that a trace was in when last told.
    session_of: BTreeMap<(u128, u64), SessionKey>,
}

impl Sessions {
    pub fn new(settings: &Settings) -> Self {
        let idle_us = micros(settings.session_idle);
        Self {
            idle_us,
            ttl_us: micros(settings.session_ttl).max(idle_us),
            min_repeats: settings.loop_min_repeats as usize,
            sessions: BTreeMap::new(),
            session_of: BTreeMap::new(),
        }
    }

    pub fn before_data(&mut self, watermark_us: i64) {
        for session in self.sessions.values_mut() {
            let last_us = session.parts.values().map(|part| part.last_us).max();
            session.over = last_us.unwrap() + self.ttl_us <= watermark_us;
        }
    }

    /// Takes in what the traces say that have changed, and writes the row of every session.
    pub fn end_block(&mut self, epoch: u64, watermark_us: i64, told: &[Told], tables: &mut Tables) {
        for part in told.iter().filter(|part| part.changed) {
            self.take(epoch, part, tables);
        }
        let idle_us = self.idle_us;
        for (key, session) in &mut self.sessions {
            let seen = look(key, session, self.min_repeats, idle_us, watermark_us);
            if let Some(flag) = seen.loop_flag {
                put(tables, "ads_anomaly", flag);
            }
            put(tables, "dws_session", seen.row);
        }
        self.sessions.retain(|_, session| !session.over);
    }

    fn take(&mut self, epoch: u64, part: &Told, tables: &mut Tables) {
        let id = (part.trace, part.segment);
        let before = self.session_of.insert(id, part.session.clone());
        if let Some(before) = before.filter(|before| *before != part.session)
            && let Some(session) = self.sessions.get_mut(&before)
        {
            session.parts.remove(&id);
            session.over = false;
            if session.parts.is_empty() {
                let (namespace, session_id) = &before;
                let gone = row! {
                    "namespace": namespace, "session_id": session_id, "segment": session.segment,
                    "last_time": session.told_last_us, "is_deleted": true,
                };
                put(tables, "dws_session", gone);
                self.sessions.remove(&before);
            }
        }
        let new = || Session {
            segment: epoch,
            parts: BTreeMap::new(),
            loops: BTreeMap::new(),
            over: false,
            told_last_us: 0,
        };
        let session = self
            .sessions
            .entry(part.session.clone())
            .or_insert_with(new);
        session.parts.insert(id, part.clone());
        session.over = false;
    }
}

struct Seen {
    row: Row,
    loop_flag: Option<Row>,
}

fn look(
    key: &SessionKey,
    session: &mut Session,
    min_repeats: usize,
    idle_us: i64,
    watermark_us: i64,
) -> Seen {
    let parts: Vec<&Told> = session.parts.values().collect();
    let mut totals = Totals::default();
    for part in &parts {
        totals.spans += part.totals.spans;
        totals.steps += part.totals.steps;
        totals.llm_calls += part.totals.llm_calls;
        totals.tool_calls += part.totals.tool_calls;
        totals.errors += part.totals.errors;
        totals.input_tokens += part.totals.input_tokens;
        totals.output_tokens += part.totals.output_tokens;
        totals.cost_nanousd += part.totals.cost_nanousd;
    }
    let roots: BTreeSet<&Root> = parts.iter().filter_map(|part| part.root.as_ref()).collect();
    let agent = match roots.first() {
        Some(root) => root.2.clone(),
        None => {
            let first = parts.iter().min_by_key(|part| (part.first_us, &part.agent));
            first.unwrap().agent.clone()
        }
    };
    let last_us = parts.iter().map(|part| part.last_us).max().unwrap();
    // A later segment of a trace has no root of its own.
    let rooted = parts.iter().filter(|part| part.root.is_some());
    let rooted: BTreeSet<u128> = rooted.map(|part| part.trace).collect();
    session.told_last_us = last_us;
    let is_whole = parts.iter().all(|part| rooted.contains(&part.trace));
    let state = match roots.last() {
        Some((.., true)) if is_whole => "failed",
        Some(_) if is_whole => "done",
        _ if last_us + idle_us <= watermark_us => "idle",
        _ => "open",
    };
    let mut calls: Vec<(Call, u128)> = parts
        .iter()
        .flat_map(|part| part.calls.iter().map(|call| (call.clone(), part.trace)))
        .collect();
    calls.sort();
    let only_calls: Vec<Call> = calls.iter().map(|(call, _)| call.clone()).collect();
    let (start, length) = longest_run(&only_calls);
    let is_loop = length >= min_repeats;
    let mut loop_flag = None;
    if is_loop {
        let run = &calls[start..start + length];
        let (place, _, tool_name, args_hash) = &run[0].0;
        let kind = (tool_name.clone(), *args_hash);
        let before = session.loops.get(&kind).copied();
        let opened_us = before.map_or(place.0, |(opened_us, _)| opened_us);
        if before.is_none_or(|(_, told)| told != length) {
            session.loops.insert(kind, (opened_us, length));
            let is_first = before.is_none();
            loop_flag = Some(flag_row(key, &agent, run, min_repeats, opened_us, is_first));
        }
    }
    let orphans: u64 = parts.iter().map(|part| part.orphans).sum();
    let truncated = parts.iter().any(|part| part.truncated);
    let flags = [
        (is_loop, "loop"),
        (orphans > 0, "orphans"),
        (truncated, "truncated"),
    ];
    let agents: BTreeSet<&String> = parts.iter().flat_map(|part| &part.agents).collect();
    let user = parts.iter().filter_map(|part| part.user.as_ref()).min();
    let traces: BTreeSet<u128> = parts.iter().map(|part| part.trace).collect();
    let row = row! {
        "namespace": &key.0, "session_id": &key.1, "segment": session.segment,
        "session_source": SOURCES[parts.iter().map(|part| part.source).min().unwrap()],
        "agent": agent, "agents": texts(agents), "user_id": user.map_or("", |(_, user)| user.as_str()),
        "first_time": parts.iter().map(|part| part.first_us).min().unwrap(), "last_time": last_us,
        "state": state, "traces": traces.len() as u64,
        "turns": parts.iter().map(|part| part.turns).sum::<u64>(), "steps": totals.steps,
        "llm_calls": totals.llm_calls, "tool_calls": totals.tool_calls, "errors": totals.errors,
        "input_tokens": totals.input_tokens, "output_tokens": totals.output_tokens,
        "cost_nanousd": totals.cost_nanousd, "max_repeat": length as u32,
        "flags": texts(flags.iter().filter(|f| f.0).map(|f| f.1)), "spans": totals.spans,
        "is_deleted": false,
    };
    Seen { row, loop_flag }
}

fn flag_row(
    (namespace, session_id): &SessionKey,
    agent: &str,
    run: &[(Call, u128)],
    min_repeats: usize,
    opened_us: i64,
    is_first: bool,
) -> Row {
    let ((place, _, tool_name, args_hash), trace) = &run[0];
    let ((_, last_end_us, ..), _) = run.last().unwrap();
    let start_s = place.0.div_euclid(1_000_000);
    let scope = format!("{namespace}\0{session_id}\0{args_hash:016x}");
    let named = format!("loop\u{1f}\u{1f}act\u{1f}{tool_name}\u{1f}\u{1f}{scope}\u{1f}{opened_us}");
    let score = run.len() as f64 / min_repeats as f64;
    let evidence = run
        .iter()
        .take(10)
        .map(|(call, _)| format!("span_id={:016x}", call.0.1));
    row! {
        "anomaly_id": format!("{:032x}", xxh3_128(named.as_bytes())), "detector": "loop",
        "severity": if score >= 2.0 { "critical" } else { "warning" },
        "agent": agent, "step_type": "act", "tool_name": tool_name, "model": "",
        "session_id": session_id, "trace_id": format!("{trace:032x}"),
        "window_start": start_s, "window_end": last_end_us.div_euclid(1_000_000) + 1,
        "value": run.len() as f64, "expected": 1.0, "evidence": texts(evidence),
        "state": if is_first { "open" } else { "updated" }, "is_deleted": false,
    }
}
