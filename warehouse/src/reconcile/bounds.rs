//! From when on the tables still hold everything: a time to live cuts what is older.

use serde::Deserialize;

use crate::{
    client::{self, Client},
    migrate::current_ttls,
};

/// The beginning of time for the engine: nothing is older.
const ALWAYS: &str = "1970-01-01 00:00:00";

/// The `ingest_time` before which a layer may have been cut, and how many epochs are older.
const INGESTED: &str = "
    WITH now64(3, 'UTC') - toIntervalDay({days:UInt32}) AS cut
    SELECT toString(cut) AS since, countIf(wall_time < cut) AS older
    FROM ops_epoch WHERE epoch <= {last_epoch:UInt64}";

/// The `window_start` before which windows may have been cut, or the spans or points that they hold: these are of at most a
/// day after their `ingest_time`. An hour of margin keeps a window from expiring while we compare.
const WINDOWS: &str = "
    WITH greatest(
        toDateTime({from:DateTime64(3, 'UTC')}, 'UTC') + toIntervalDay(1),
        if({days:UInt32} = 0, toDateTime(0, 'UTC'), now('UTC') - toIntervalDay({days:UInt32}) + toIntervalHour(1))
    ) AS cut
    SELECT toString(cut) AS since, countIf({time:Identifier} < cut AND NOT late) AS older
    FROM {rows:Identifier} WHERE _epoch <= {last_epoch:UInt64}";

/// The first day of users of which no trace may have been cut. Two days of margin: a day of another time zone may begin up to
/// one earlier, and none may expire while we compare.
const DAYS: &str = "
    WITH if({days:UInt32} = 0, toDate(0), today() - {days:UInt32} + 2) AS cut
    SELECT toString(cut) AS since, countIf(day < cut) AS older FROM dws_user_1d";

/// From when on rows can be compared; times as the engine writes them, in UTC.
pub(super) struct Bounds {
    /// `ingest_time` from which ODS is whole.
    pub(super) ods_from: String,
    /// `ingest_time` from which DWD is whole.
    pub(super) dwd_from: String,
    /// `ingest_time` from which metric points are whole.
    pub(super) points_from: String,
    /// What can't be compared, in words.
    pub(super) left_out: Vec<String>,
    last_epoch: String,
    /// Days by table; tables that keep rows for ever are not in it.
    days: Vec<(String, u32)>,
}

#[derive(Deserialize)]
struct Cut {
    since: String,
    older: u64,
}

impl Bounds {
    /// Asks the engine what its tables keep, up to `last_epoch`.
    pub(super) async fn read(client: &Client, last_epoch: &str) -> Result<Self, client::Error> {
        let ttls = current_ttls(client).await?;
        let mut bounds = Self {
            ods_from: ALWAYS.to_owned(),
            dwd_from: ALWAYS.to_owned(),
            points_from: ALWAYS.to_owned(),
            left_out: Vec::new(),
            last_epoch: last_epoch.to_owned(),
            days: ttls
                .into_iter()
                .map(|(table, ttl)| (table, ttl.days))
                .collect(),
        };
        bounds.ods_from = bounds
            .ingested(client, "ods_record", "ods_dead_letter")
            .await?;
        bounds.dwd_from = bounds.ingested(client, "dwd_span", "dwd_span").await?;
        let points = "dwd_metric_point";
        bounds.points_from = bounds.ingested(client, points, points).await?;
        Ok(bounds)
    }

    /// The start of the first window of `table`, one of steps, that can be compared.
    pub(super) async fn window_from(
        &mut self,
        client: &Client,
        table: &str,
    ) -> Result<String, client::Error> {
        let from = self.dwd_from.clone();
        let of = ("dwd_span", "end_time", "spans");
        self.first_window(client, table, &from, of).await
    }

    /// The start of the first window of `dws_resource_1m` that can be compared.
    pub(super) async fn resources_from(
        &mut self,
        client: &Client,
    ) -> Result<String, client::Error> {
        let (table, from) = ("dws_resource_1m", self.points_from.clone());
        let of = ("dwd_metric_point", "time", "metric points");
        self.first_window(client, table, &from, of).await
    }

    async fn first_window(
        &mut self,
        client: &Client,
        table: &str,
        from: &str,
        (rows, time, units): (&str, &str, &str),
    ) -> Result<String, client::Error> {
        let days = self.days(table).unwrap_or(0).to_string();
        let parameters = [
            ("last_epoch", &*self.last_epoch),
            ("from", from),
            ("days", &days),
            ("rows", rows),
            ("time", time),
        ];
        let cut = only(client.rows::<Cut>(WINDOWS, &parameters).await?)?;
        if cut.older > 0 {
            self.left_out.push(format!(
                "{table}: windows that start before {} UTC, with {} {units}, are past a time to live",
                cut.since, cut.older
            ));
        }
        Ok(cut.since)
    }

    /// The first day of users that can be compared.
    pub(super) async fn day_from(&mut self, client: &Client) -> Result<String, client::Error> {
        let tables = ["dws_trace", "dws_user_1d"].into_iter();
        let days = tables.filter_map(|table| self.days(table)).min();
        let days = days.unwrap_or(0).to_string();
        let cut = only(client.rows::<Cut>(DAYS, &[("days", &days)]).await?)?;
        if cut.older > 0 {
            self.left_out.push(format!(
                "dws_user_1d: {} rows of days before {}, as traces are kept {days} days",
                cut.older, cut.since
            ));
        }
        Ok(cut.since)
    }

    /// The `ingest_time` from which two tables of a layer are whole.
    async fn ingested(
        &mut self,
        client: &Client,
        one: &str,
        other: &str,
    ) -> Result<String, client::Error> {
        let Some(days) = self.days(one).into_iter().chain(self.days(other)).min() else {
            return Ok(ALWAYS.to_owned());
        };
        let parameters = [
            ("last_epoch", &*self.last_epoch),
            ("days", &days.to_string()),
        ];
        let cut = only(client.rows::<Cut>(INGESTED, &parameters).await?)?;
        if cut.older == 0 {
            return Ok(ALWAYS.to_owned());
        }
        self.left_out.push(format!(
            "{one}: {} epochs before {} UTC, kept {days} days",
            cut.older, cut.since
        ));
        Ok(cut.since)
    }

    fn days(&self, table: &str) -> Option<u32> {
        let found = self.days.iter().find(|(name, _)| name == table);
        found.map(|(_, days)| *days)
    }
}

fn only(rows: Vec<Cut>) -> Result<Cut, client::Error> {
    let missing = || client::Error::Answer("an aggregate without a row".to_owned());
    rows.into_iter().next().ok_or_else(missing)
}
