//! Times to live as settings: `ods=7d,dwd=30d,dwd_metric_point=90d`.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use crate::{
    client::{self, Client},
    schema::{Relation, Ttl, relations, ttl_of_engine},
};

/// Days to keep the rows of tables. A rule names a table or the beginning of tables' names up to an underscore (`dwd`,
/// `dws_step`); of several that fit, the longest holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TtlRules(Vec<(String, Days)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Days {
    /// This many; 0 keeps rows for ever.
    Fixed(u32),
    /// As the migration says.
    Default,
}

/// A rule that can't be read or fits nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TtlRulesError {
    /// Not `name=days`.
    #[error(
        "`{0}` is not a rule for how long to keep rows: write NAME=DAYS such as dwd=30d, 0 to keep for ever, or NAME=default"
    )]
    Form(String),
    /// No table with a TTL begins so.
    #[error("`{name}` names no table whose rows expire; those are: {tables}")]
    NoTable {
        /// What was given.
        name: String,
        /// What there is.
        tables: String,
    },
}

/// One change of a table's TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlChange {
    /// The table.
    pub table: String,
    /// Days before; 0 is for ever.
    pub from_days: u32,
    /// Days now; 0 is for ever.
    pub to_days: u32,
}

impl fmt::Display for TtlChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |n: u32| {
            if n == 0 {
                "for ever".to_owned()
            } else {
                format!("{n} days")
            }
        };
        write!(
            f,
            "{}: kept {}, was {}",
            self.table,
            days(self.to_days),
            days(self.from_days)
        )
    }
}

impl FromStr for TtlRules {
    type Err = TtlRulesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rules = Vec::new();
        for rule in text
            .split(',')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
        {
            let form = || TtlRulesError::Form(rule.to_owned());
            let (name, days) = rule.split_once('=').ok_or_else(form)?;
            let days = match days.trim() {
                "default" => Days::Default,
                days => {
                    let number = days.strip_suffix('d').unwrap_or(days);
                    Days::Fixed(number.parse().map_err(|_| form())?)
                }
            };
            let name = name.trim();
            if !expiring().any(|table| begins(&table.name, name)) {
                let tables: Vec<_> = expiring().map(|t| &*t.name).collect();
                return Err(TtlRulesError::NoTable {
                    name: name.to_owned(),
                    tables: tables.join(", "),
                });
            }
            rules.push((name.to_owned(), days));
        }
        Ok(Self(rules))
    }
}

impl TtlRules {
    /// The days that the rules give a table, `None` when no rule names it.
    fn days(&self, table: &Relation) -> Option<u32> {
        let fitting = self.0.iter().filter(|(name, _)| begins(&table.name, name));
        let (_, days) = fitting.max_by_key(|(name, _)| name.len())?;
        match days {
            Days::Fixed(days) => Some(*days),
            Days::Default => table.ttl.as_ref().map(|ttl| ttl.days),
        }
    }
}

/// Tables with a time to live that people may set; the probe's is our own affair.
fn expiring() -> impl Iterator<Item = &'static Relation> {
    relations()
        .iter()
        .filter(|r| r.ttl.is_some() && !r.name.starts_with("ops_"))
}

fn begins(table: &str, name: &str) -> bool {
    table
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[derive(Deserialize)]
struct TableRow {
    name: String,
    engine_full: String,
}

/// What the tables' times to live are now, by name; tables that keep rows for ever are left out.
///
/// # Errors
/// See [`client::Error`].
pub(crate) async fn current(client: &Client) -> Result<Vec<(String, Ttl)>, client::Error> {
    let sql = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    let rows: Vec<TableRow> = client.rows(sql, &[]).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.name, ttl_of_engine(&row.engine_full)?)))
        .collect())
}

/// Alters the tables whose time to live differs from what the rules say.
pub(super) async fn apply(
    client: &Client,
    rules: &TtlRules,
) -> Result<Vec<TtlChange>, client::Error> {
    if rules.0.is_empty() {
        return Ok(Vec::new());
    }
    let current = current(client).await?;
    let mut changes = Vec::new();
    for table in expiring() {
        let now = current.iter().find(|(name, _)| *name == table.name);
        let from_days = now.map_or(0, |(_, ttl)| ttl.days);
        let Some(to_days) = rules.days(table).filter(|days| *days != from_days) else {
            continue;
        };
        let sql = alter(table, to_days);
        client.execute(&sql).await?;
        changes.push(TtlChange {
            table: table.name.clone(),
            from_days,
            to_days,
        });
    }
    Ok(changes)
}

fn alter(table: &Relation, days: u32) -> String {
    match &table.ttl {
        Some(ttl) if days > 0 => format!(
            "ALTER TABLE {} MODIFY TTL {} + toIntervalDay({days})",
            table.name, ttl.expression
        ),
        _ => format!("ALTER TABLE {} REMOVE TTL", table.name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::relation;

    fn days(rules: &str, table: &str) -> Option<u32> {
        rules
            .parse::<TtlRules>()
            .unwrap()
            .days(relation(table).unwrap())
    }

    #[test]
    fn the_longest_rule_that_fits_a_table_holds() {
        let rules = "dwd=10d, dwd_metric_point=20d,dws_step=5";
        assert_eq!(days(rules, "dwd_span"), Some(10));
        assert_eq!(days(rules, "dwd_metric_point"), Some(20));
        assert_eq!(days(rules, "dws_step_1h"), Some(5));
        assert_eq!(days(rules, "dws_trace"), None);
    }

    #[test]
    fn zero_keeps_for_ever_and_default_goes_back() {
        assert_eq!(days("ods=0", "ods_record"), Some(0));
        assert_eq!(days("ods=0,ods_record=default", "ods_record"), Some(7));
        let table = relation("ods_record").unwrap();
        assert_eq!(alter(table, 0), "ALTER TABLE ods_record REMOVE TTL");
        assert_eq!(
            alter(table, 3),
            "ALTER TABLE ods_record MODIFY TTL toDateTime(ingest_time) + toIntervalDay(3)"
        );
    }

    #[test]
    fn a_rule_for_nothing_and_a_rule_without_days_are_refused() {
        let refuse = |text: &str| text.parse::<TtlRules>().unwrap_err().to_string();
        assert!(refuse("dwd_sp=3d").contains("dwd_span"));
        assert!(refuse("dwd").contains("NAME=DAYS"));
        assert!(refuse("dwd=a week").contains("NAME=DAYS"));
        assert!(refuse("ops_probe=3d").contains("names no table"));
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let default = |table: &str| relation(table).unwrap().ttl.as_ref().unwrap().days;
        let days = [
            ("ods_record", 7),
            ("ods_dead_letter", 7),
            ("dwd_span", 30),
            ("dwd_content", 30),
            ("dwd_event", 30),
            ("dwd_metric_point", 90),
            ("dws_step_1m", 90),
            ("dws_step_5m", 90),
            ("dws_step_1h", 730),
            ("dws_user_1d", 730),
            ("dws_trace", 180),
            ("dws_session", 180),
            ("ads_anomaly", 180),
        ];
        for (table, days) in days {
            assert_eq!(default(table), days, "{table}");
        }
    }
}
