//! The tables for a ClickHouse cluster of shards and replicas, as SQL for a person to look at and run.
//!
//! Each table becomes `NAME_local`, replicated within its shard, and `NAME`, which is distributed over the shards and which
//! the job and all views go by. What the job relies on decides the sharding:
//!
//! - It sends a block again under its token until it is answered, and the shards' replicas drop what they have: so a block
//!   must be divided in the same way each time, and ODS and DWD are asked whether a block is there *whole*. A block of
//!   those has one `_shard`, which therefore is their sharding key: it lands on one shard of the cluster, or not at all.
//! - Revisions of a key replace each other only within a shard: DWS and ADS go by their whole sorting key. Such a block is
//!   divided, and what is sent again of it replaces itself.

use std::fmt::Write as _;

use super::plan::checksum;
use crate::quote::{quote_identifier, quote_text};
use crate::schema::{
    Relation, RelationKind, migrations, parse_alter, relation, statements, tokens,
};

/// Where replicas find each other in Keeper; the macros are the server's.
const REPLICA: &str = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
/// How long a replica remembers tokens, in seconds: 30 days. The default forgets them long before a stopped job is back.
const REMEMBERED_S: u32 = 30 * 24 * 3600;
/// The setting of a table without replicas that a replicated one does not heed.
const WINDOW: &str = "non_replicated_deduplication_window";

/// The statements that make `database` on all servers of `cluster`, in order.
///
/// # Errors
/// [`NotForClusters`] if a migration has a statement of a kind that is not known here.
pub fn cluster_sql(database: &str, cluster: &str) -> Result<Vec<String>, NotForClusters> {
    let place = Place { database, cluster };
    let mut sql = vec![format!(
        "CREATE DATABASE IF NOT EXISTS {} ON CLUSTER {}",
        quote_identifier(database),
        quote_text(cluster)
    )];
    for migration in migrations() {
        for statement in statements(migration.sql) {
            let translated = place.translate(statement);
            sql.extend(translated.ok_or(NotForClusters(migration.file))?);
        }
    }
    sql.push(place.note_migrations());
    Ok(sql)
}

/// A migration that does something to existing tables.
#[derive(Debug, thiserror::Error)]
#[error(
    "migration {0} has a statement that this program can't write for a cluster: it knows CREATE TABLE, VIEW and FUNCTION, and ALTER TABLE ADD COLUMN, ADD INDEX, ADD PROJECTION, MATERIALIZE INDEX and COMMENT COLUMN"
)]
pub struct NotForClusters(&'static str);

struct Place<'a> {
    database: &'a str,
    cluster: &'a str,
}

impl Place<'_> {
    /// What a statement of a migration becomes; `None` of one of another kind than is known.
    fn translate(&self, statement: &str) -> Option<Vec<String>> {
        if let Some((table, _)) = parse_alter(statement) {
            return self.alter(&table, statement);
        }
        let tokens = tokens(statement);
        let name = tokens
            .iter()
            .find_map(|token| relation(&token.unquoted()))?;
        let declared = tokens.iter().find(|token| token.unquoted() == name.name)?;
        if !tokens.first()?.is_word("CREATE") {
            return None;
        }
        let (before, after) = (&statement[..declared.start], &statement[declared.end()..]);
        let on_cluster = format!("ON CLUSTER {}", quote_text(self.cluster));
        if name.kind != RelationKind::Table {
            let owner = match name.kind {
                // Functions are the server's, not a database's.
                RelationKind::Function => name.name.clone(),
                _ => self.qualified(&name.name),
            };
            return Some(vec![format!("{before}{owner} {on_cluster}{after}")]);
        }
        let local = format!("{}_local", name.name);
        let stored = format!(
            "{before}{} {on_cluster}{}",
            self.qualified(&local),
            replicated(after)?
        );
        let distributed = format!(
            "CREATE TABLE IF NOT EXISTS {} {on_cluster} AS {}\nENGINE = Distributed({}, {}, {}, {})\nCOMMENT {}",
            self.qualified(&name.name),
            self.qualified(&local),
            quote_text(self.cluster),
            quote_text(self.database),
            quote_text(&local),
            sharding_key(name),
            quote_text(&name.comment),
        );
        Some(vec![stored, distributed])
    }

    /// A change of a table: of what its replicas store first, then of the table that is asked.
    fn alter(&self, table: &str, statement: &str) -> Option<Vec<String>> {
        let at = statement.find(table)?;
        let (before, after) = (&statement[..at], &statement[at + table.len()..]);
        let on_cluster = format!("ON CLUSTER {}", quote_text(self.cluster));
        let changed = |name: &str| {
            let name = self.qualified(name);
            format!("{before}{name} {on_cluster}{after}")
        };
        // A table that only distributes has no index.
        let stored = ["ADD INDEX", "ADD PROJECTION", "MATERIALIZE INDEX"];
        let change = after.trim_start();
        let is_stored_only = stored.iter().any(|what| change.starts_with(what));
        let mut changes = vec![changed(&format!("{table}_local"))];
        changes.extend((!is_stored_only).then(|| changed(table)));
        Some(changes)
    }

    /// Notes all migrations as applied, so that the job and `warehouse migrate` find nothing to do.
    fn note_migrations(&self) -> String {
        let mut rows = String::new();
        for migration in migrations() {
            let end = if rows.is_empty() { "" } else { ",\n" };
            let _ = write!(
                rows,
                "{end}    ({}, '{}', '{}', now64(3))",
                migration.number(),
                migration.name(),
                checksum(migration.sql)
            );
        }
        format!(
            "INSERT INTO {} (number, name, checksum, applied_time)\nSETTINGS distributed_foreground_insert = 1\nVALUES\n{rows}",
            self.qualified("ops_migration")
        )
    }

    fn qualified(&self, name: &str) -> String {
        format!(
            "{}.{}",
            quote_identifier(self.database),
            quote_identifier(name)
        )
    }
}

/// The clauses of a table with the replicated form of its engine, and tokens remembered by its replicas.
fn replicated(clauses: &str) -> Option<String> {
    let tokens = tokens(clauses);
    let at = tokens.iter().rposition(|token| token.is_word("ENGINE"))?;
    let engine = tokens.get(at + 2)?;
    let (end, comma) = match tokens.get(at + 3) {
        Some(open) if open.is_sign("(") => (open.end(), ", "),
        _ => (engine.end(), ")"),
    };
    let rest = clauses.get(end..)?.replacen(
        WINDOW,
        &format!("replicated_deduplication_window_seconds = {REMEMBERED_S}, replicated_deduplication_window"),
        1,
    );
    let before = clauses.get(..engine.start)?;
    Some(format!(
        "{before}Replicated{}({REPLICA}{comma}{rest}",
        engine.text
    ))
}

/// What decides on which shard a row lands.
fn sharding_key(table: &Relation) -> String {
    if table.columns.iter().any(|column| column.name == "_shard") {
        return "_shard".to_owned();
    }
    let of_a_block = match &*table.name {
        // Blocks of several epochs and of one probe.
        "ops_epoch" => "timeline",
        "ops_probe" => "probe",
        _ => table.order_by.trim_start_matches('(').trim_end_matches(')'),
    };
    format!("cityHash64({of_a_block})")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::relations;

    fn tables() -> impl Iterator<Item = &'static Relation> {
        relations()
            .iter()
            .filter(|relation| relation.kind == RelationKind::Table)
    }

    #[test]
    fn every_table_is_stored_by_replicas_and_distributed_under_its_own_name() {
        let sql = cluster_sql("spanflow", "prod").unwrap();
        for table in tables() {
            let one = |start: &str| {
                let found: Vec<&String> = sql.iter().filter(|s| s.starts_with(start)).collect();
                assert_eq!(found.len(), 1, "{start}");
                found[0].clone()
            };
            let name = &table.name;
            let local = one(&format!(
                "CREATE TABLE IF NOT EXISTS `spanflow`.`{name}_local` ON CLUSTER 'prod'\n("
            ));
            let (engine, arguments) = table.engine.split_once('(').unwrap_or((&table.engine, ")"));
            let comma = if arguments == ")" { "" } else { ", " };
            let expected = format!("ENGINE = Replicated{engine}({REPLICA}{comma}{arguments}\n");
            assert!(local.contains(&expected), "{local}");
            assert!(!local.contains(WINDOW), "{local}");
            let distributed = one(&format!(
                "CREATE TABLE IF NOT EXISTS `spanflow`.`{name}` ON CLUSTER 'prod' AS `spanflow`.`{name}_local`"
            ));
            let engine = format!("Distributed('prod', 'spanflow', '{name}_local', ");
            assert!(distributed.contains(&engine), "{distributed}");
        }
    }

    #[test]
    fn tables_whose_blocks_are_asked_for_keep_them_whole_and_others_keep_keys_together() {
        for table in tables() {
            let expected = match &*table.name {
                "ops_epoch" => "cityHash64(timeline)".to_owned(),
                "ops_probe" => "cityHash64(probe)".to_owned(),
                name if name.starts_with("ods_") || name.starts_with("dwd_") => "_shard".to_owned(),
                _ => {
                    assert!(table.engine.starts_with("ReplacingMergeTree("));
                    let key = table.order_by.trim_matches(['(', ')']);
                    assert!(!key.contains('('), "{}: an expression", table.name);
                    format!("cityHash64({key})")
                }
            };
            assert_eq!(sharding_key(table), expected, "{}", table.name);
        }
    }

    #[test]
    fn a_change_goes_to_what_is_stored_and_to_what_is_asked() {
        let place = Place {
            database: "d",
            cluster: "c",
        };
        let change = "ALTER TABLE dwd_span ADD COLUMN IF NOT EXISTS `a` UInt8";
        let on = |table: &str| {
            format!("ALTER TABLE `d`.`{table}` ON CLUSTER 'c' ADD COLUMN IF NOT EXISTS `a` UInt8")
        };
        assert_eq!(
            place.translate(change),
            Some(vec![on("dwd_span_local"), on("dwd_span")])
        );
        let index = "ALTER TABLE dwd_span ADD INDEX IF NOT EXISTS i a TYPE minmax";
        assert_eq!(place.translate(index).map(|sql| sql.len()), Some(1));
        assert_eq!(place.translate("ALTER TABLE dwd_span DROP COLUMN a"), None);
    }

    #[test]
    fn names_with_quotes_stay_names() {
        let sql = cluster_sql("a`b", "it's").unwrap();
        assert_eq!(
            sql[0],
            "CREATE DATABASE IF NOT EXISTS `a\\`b` ON CLUSTER 'it\\'s'"
        );
    }
}
