//! `dws_user_1d`: the traces of each user that ended on a day, summed again at the end of every block.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use stream_job::ops::settings::Settings;

use super::micros;
use super::tables::{Row, Tables, put, row};
use super::traces::{Told, Totals};

/// Day, namespace, user.
type Key = (NaiveDate, String, String);

/// A trace and its segment.
pub type Part = (u128, u64);

struct Day {
    segment: u64,
    parts: BTreeMap<Part, Told>,
}

pub struct Users {
    zone: Tz,
    kept_us: i64,
    days: BTreeMap<Key, Day>,
    /// Where each trace was when last told.
    day_of: BTreeMap<Part, Key>,
}

impl Users {
    pub fn new(settings: &Settings) -> Self {
        Self {
            zone: settings.business_time_zone.0,
            kept_us: micros(settings.trace_ttl).max(micros(settings.orphan_grace)),
            days: BTreeMap::new(),
            day_of: BTreeMap::new(),
        }
    }

    /// Takes in what all traces say, writes the row of every day, and drops the days that are over and hold no trace that
    /// is still `live`.
    pub fn end_block(
        &mut self,
        epoch: u64,
        watermark_us: i64,
        told: &[Told],
        live: &BTreeSet<Part>,
        tables: &mut Tables,
    ) {
        let shown: BTreeMap<Key, u64> = (self.days.iter())
            .map(|(key, day)| (key.clone(), day.segment))
            .collect();
        told.iter().for_each(|told| self.place(epoch, told));
        for (key, segment) in shown {
            if self.days.get(&key).is_some_and(|day| day.parts.is_empty()) {
                let mut gone = key_row(&key, segment);
                gone.insert("is_deleted", true.into());
                put(tables, "dws_user_1d", gone);
            }
        }
        self.days.retain(|_, day| !day.parts.is_empty());
        for (key, day) in &self.days {
            put(tables, "dws_user_1d", sum(key, day));
        }
        let (zone, kept_us) = (self.zone, self.kept_us);
        let is_over =
            |key: &Key| watermark_us == i64::MAX || end_us(key.0, zone) + kept_us <= watermark_us;
        self.days
            .retain(|key, day| !is_over(key) || day.parts.keys().any(|part| live.contains(part)));
    }

    fn place(&mut self, epoch: u64, told: &Told) {
        let part = (told.trace, told.segment);
        let key = told.user.as_ref().map(|(_, user)| {
            let last = DateTime::from_timestamp_micros(told.last_us).unwrap();
            let date = last.with_timezone(&self.zone).date_naive();
            (date, told.session.0.clone(), user.clone())
        });
        let before = self.day_of.remove(&part);
        if let Some(before) = before.filter(|before| Some(before) != key.as_ref()) {
            let day = self.days.get_mut(&before).unwrap();
            day.parts.remove(&part);
        }
        let Some(key) = key else {
            return;
        };
        let day = self.days.entry(key.clone()).or_insert(Day {
            segment: epoch,
            parts: BTreeMap::new(),
        });
        day.parts.insert(part, told.clone());
        self.day_of.insert(part, key);
    }
}

/// When a day ends, µs since 1970.
fn end_us(day: NaiveDate, zone: Tz) -> i64 {
    let midnight = (day + Days::new(1)).and_time(NaiveTime::MIN);
    let end = zone.from_local_datetime(&midnight).earliest().unwrap();
    end.timestamp_micros()
}

fn key_row((date, namespace, user): &Key, segment: u64) -> Row {
    let day = date.signed_duration_since(NaiveDate::default()).num_days();
    row! { "day": day, "namespace": namespace, "user_id": user, "segment": segment }
}

fn sum(key: &Key, day: &Day) -> Row {
    let parts = || day.parts.values();
    let total = |of: fn(&Totals) -> u64| parts().map(|part| of(&part.totals)).sum::<u64>();
    let sessions: BTreeSet<&String> = parts().map(|part| &part.session.1).collect();
    let mut row = key_row(key, day.segment);
    row.extend(row! {
        "sessions": sessions.len() as u64, "traces": day.parts.len() as u64,
        "turns": parts().map(|part| part.turns).sum::<u64>(), "steps": total(|totals| totals.steps),
        "llm_calls": total(|totals| totals.llm_calls), "tool_calls": total(|totals| totals.tool_calls),
        "errors": total(|totals| totals.errors), "input_tokens": total(|totals| totals.input_tokens),
        "output_tokens": total(|totals| totals.output_tokens), "cost_nanousd": total(|totals| totals.cost_nanousd),
        "first_time": parts().map(|part| part.first_us).min().unwrap(),
        "last_time": parts().map(|part| part.last_us).max().unwrap(), "is_deleted": false,
    });
    row
}
