//! Rows of DWS and ADS: each table has one owner, which sorts and cuts its block at the end of every run of epochs.

use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use super::window::WindowKind;
use crate::sink::block::{Block, cut};
use crate::sink::tables::ads_anomaly::{self, AnomalyRow};
use crate::sink::tables::ads_freshness::{self, FreshnessRow};
use crate::sink::tables::ads_top::{self, TopErrorRow, TopSpanRow};
use crate::sink::tables::dws_edge::{self, EdgeRow};
use crate::sink::tables::dws_resource::{self, ResourceRow};
use crate::sink::tables::dws_session::{self, SessionRow};
use crate::sink::tables::dws_step::{self, StepRow};
use crate::sink::tables::dws_trace::{self, TraceRow};
use crate::sink::tables::dws_user::{self, UserRow};
use crate::sink::tables::{RowTable, Table};

/// DWS and ADS tables have one sink shard.
const SHARD: u16 = 0;

/// A row of a DWS or ADS table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Row {
    /// `dws_step_1m`, `_5m` or `_1h`.
    Step(WindowKind, StepRow),
    /// `dws_trace`.
    Trace(Box<TraceRow>),
    /// `dws_session`.
    Session(Box<SessionRow>),
    /// `ads_anomaly`.
    Anomaly(Box<AnomalyRow>),
    /// `ads_top_slow`.
    Slow(Box<TopSpanRow>),
    /// `ads_top_cost`.
    Cost(Box<TopSpanRow>),
    /// `ads_top_error`.
    Error(Box<TopErrorRow>),
    /// `ads_freshness`.
    Freshness(Box<FreshnessRow>),
    /// `dws_edge_1m`.
    Edge(Box<EdgeRow>),
    /// `dws_resource_1m`.
    Resource(Box<ResourceRow>),
    /// `dws_user_1d`.
    User(Box<UserRow>),
}

/// The tables, by [`Row::table`].
pub const TABLES: [&str; 13] = [
    "dws_step_1m",
    "dws_step_5m",
    "dws_step_1h",
    "dws_trace",
    "dws_session",
    "ads_anomaly",
    "ads_top_slow",
    "ads_top_cost",
    "ads_top_error",
    "ads_freshness",
    "dws_edge_1m",
    "dws_resource_1m",
    "dws_user_1d",
];

impl Row {
    /// The table's number; its owner is the worker of that number.
    #[must_use]
    pub fn table(&self) -> u64 {
        match self {
            Row::Step(WindowKind::Minute, _) => 0,
            Row::Step(WindowKind::FiveMinutes, _) => 1,
            Row::Step(WindowKind::Hour, _) => 2,
            Row::Trace(_) => 3,
            Row::Session(_) => 4,
            Row::Anomaly(_) => 5,
            Row::Slow(_) => 6,
            Row::Cost(_) => 7,
            Row::Error(_) => 8,
            Row::Freshness(_) => 9,
            Row::Edge(_) => 10,
            Row::Resource(_) => 11,
            Row::User(_) => 12,
        }
    }
}

/// The flags among rows.
pub fn flags(rows: &[Row]) -> impl Iterator<Item = &AnomalyRow> {
    rows.iter().filter_map(|row| match row {
        Row::Anomaly(flag) => Some(&**flag),
        _ => None,
    })
}

/// The tables that one worker owns.
pub struct Collected {
    steps: [RowTable<StepRow>; 3],
    traces: RowTable<TraceRow>,
    sessions: RowTable<SessionRow>,
    anomalies: RowTable<AnomalyRow>,
    slow: RowTable<TopSpanRow>,
    cost: RowTable<TopSpanRow>,
    errors: RowTable<TopErrorRow>,
    freshness: RowTable<FreshnessRow>,
    edges: RowTable<EdgeRow>,
    resources: RowTable<ResourceRow>,
    users: RowTable<UserRow>,
}

impl Default for Collected {
    fn default() -> Self {
        Self {
            steps: [
                dws_step::one_minute(),
                dws_step::five_minutes(),
                dws_step::one_hour(),
            ],
            traces: dws_trace::traces(),
            sessions: dws_session::sessions(),
            anomalies: ads_anomaly::anomalies(),
            slow: ads_top::slowest(),
            cost: ads_top::dearest(),
            errors: ads_top::errors(),
            freshness: ads_freshness::freshness(),
            edges: dws_edge::edges(),
            resources: dws_resource::resources(),
            users: dws_user::users(),
        }
    }
}

impl Collected {
    /// Adds rows in any order.
    pub fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            match row {
                Row::Step(kind, row) => self.steps[kind as usize].push(row),
                Row::Trace(row) => self.traces.push(*row),
                Row::Session(row) => self.sessions.push(*row),
                Row::Anomaly(row) => self.anomalies.push(*row),
                Row::Slow(row) => self.slow.push(*row),
                Row::Cost(row) => self.cost.push(*row),
                Row::Error(row) => self.errors.push(*row),
                Row::Freshness(row) => self.freshness.push(*row),
                Row::Edge(row) => self.edges.push(*row),
                Row::Resource(row) => self.resources.push(*row),
                Row::User(row) => self.users.push(*row),
            }
        }
    }

    /// Cuts the blocks of everything added.
    pub fn close(&mut self, epoch: Epoch) -> Vec<Block> {
        let [minute, five_minutes, hour] = &mut self.steps;
        let tables: [&mut dyn Table; 13] = [
            minute,
            five_minutes,
            hour,
            &mut self.traces,
            &mut self.sessions,
            &mut self.anomalies,
            &mut self.slow,
            &mut self.cost,
            &mut self.errors,
            &mut self.freshness,
            &mut self.edges,
            &mut self.resources,
            &mut self.users,
        ];
        tables
            .into_iter()
            .flat_map(|table| cut(table, SHARD, epoch))
            .collect()
    }
}
