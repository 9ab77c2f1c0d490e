//! The tables as the migrations declare them: names, columns, types, comments, keys and time to live, read from the SQL
//! that is embedded in the binary, so that nothing about a table is written down twice.

mod ddl;
mod lex;
mod migrations;
mod reference;

use std::sync::LazyLock;

pub use ddl::{Column, Relation, RelationKind, Ttl};
pub(crate) use ddl::{parse_alter, ttl_of_engine};
pub use lex::statements;
pub(crate) use lex::tokens;
pub use migrations::{Migration, migrations};
pub use reference::markdown;

static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let all = || migrations().iter().flat_map(|of| statements(of.sql));
    let mut relations: Vec<Relation> = Vec::new();
    for declared in all().filter_map(ddl::parse) {
        // A view may be declared anew: the last time counts.
        match relations.iter_mut().find(|held| held.name == declared.name) {
            Some(held) => *held = declared,
            None => relations.push(declared),
        }
    }
    for (name, changes) in all().filter_map(ddl::parse_alter) {
        let changed = relations.iter_mut().find(|relation| relation.name == name);
        if let Some(relation) = changed {
            relation.change(changes);
        }
    }
    relations
});

/// All tables, views and functions, in the order of their migrations.
#[must_use]
pub fn relations() -> &'static [Relation] {
    &RELATIONS
}

/// The table, view or function of that name.
#[must_use]
pub fn relation(name: &str) -> Option<&'static Relation> {
    relations().iter().find(|relation| relation.name == name)
}

/// The columns of a table in the order in which it stores them; empty when there is no such table.
#[must_use]
pub fn columns(table: &str) -> &'static [Column] {
    relation(table).map_or(&[], |relation| &relation.columns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tables() -> impl Iterator<Item = &'static Relation> {
        relations()
            .iter()
            .filter(|relation| relation.kind == RelationKind::Table)
    }

    #[test]
    fn every_table_view_and_column_has_a_comment() {
        for relation in relations() {
            assert!(!relation.comment.is_empty(), "{}", relation.name);
            for column in &relation.columns {
                assert!(
                    !column.comment.is_empty(),
                    "{}.{}",
                    relation.name,
                    column.name
                );
            }
        }
    }

    #[test]
    fn a_column_that_came_later_is_one_of_its_table() {
        assert!(
            columns("ods_record")
                .iter()
                .any(|column| column.name == "points")
        );
        let altered = migrations().iter().flat_map(|of| statements(of.sql));
        for statement in altered.filter(|statement| statement.starts_with("ALTER ")) {
            let (name, _) = parse_alter(statement).unwrap();
            assert!(relation(&name).is_some(), "{statement}");
        }
    }

    #[test]
    fn a_table_is_declared_once_and_of_a_view_the_last_declaration_counts() {
        let all = migrations().iter().flat_map(|of| statements(of.sql));
        let declared: Vec<Relation> = all.filter_map(ddl::parse).collect();
        for table in declared.iter().filter(|r| r.kind == RelationKind::Table) {
            let same = declared.iter().filter(|r| r.name == table.name);
            assert_eq!(same.count(), 1, "{}", table.name);
        }
        let status = columns("ods_dead_letter_status");
        let unit = status.iter().find(|column| column.name == "unit").unwrap();
        assert!(unit.comment.contains("point"), "{}", unit.comment);
    }

    #[test]
    fn keys_are_those_of_the_contract() {
        let key = |name: &str| relation(name).unwrap().order_by.clone();
        assert_eq!(key("ods_record"), "(topic, partition, offset)");
        assert_eq!(key("ods_dead_letter"), "(topic, partition, offset, index)");
        assert_eq!(
            key("dwd_span"),
            "(agent, toStartOfMinute(start_time), trace_hash, span_id, content_hash)"
        );
        assert_eq!(key("dwd_content"), "hash");
        assert_eq!(
            key("dwd_metric_point"),
            "(agent, metric, toStartOfMinute(time))"
        );
        for step in ["dws_step_1m", "dws_step_5m", "dws_step_1h"] {
            assert_eq!(
                key(step),
                "(agent, step_type, tool_name, model, window_start)"
            );
        }
        assert_eq!(key("dws_trace"), "(trace_id, segment)");
        assert_eq!(key("dws_session"), "(namespace, session_id, segment)");
        assert_eq!(key("dws_user_1d"), "(day, namespace, user_id, segment)");
        assert_eq!(key("dws_edge_1m"), "(agent, window_start, `from`, `to`)");
        assert_eq!(key("dws_resource_1m"), "(agent, instance, window_start)");
        assert_eq!(key("ads_anomaly"), "anomaly_id");
        for top in ["ads_top_slow", "ads_top_error", "ads_top_cost"] {
            assert_eq!(key(top), "(window_start, agent, rank)");
        }
        assert_eq!(key("ads_freshness"), "window_start");
        assert_eq!(key("ops_epoch"), "epoch");
    }

    #[test]
    fn a_block_of_ods_or_dwd_is_one_part_of_one_day() {
        for table in tables() {
            if table.name.starts_with("ods_") || table.name.starts_with("dwd_") {
                assert_eq!(
                    table.partition_by.as_deref(),
                    Some("toDate(ingest_time)"),
                    "{}",
                    table.name
                );
                for column in ["_epoch", "_shard", "ingest_time"] {
                    assert!(
                        table.columns.iter().any(|c| c.name == column),
                        "{}.{column}",
                        table.name
                    );
                }
            }
        }
    }

    #[test]
    fn dws_and_ads_replace_by_rev_and_can_retract() {
        for table in tables() {
            if table.name.starts_with("dws_") || table.name.starts_with("ads_") {
                assert_eq!(
                    table.engine, "ReplacingMergeTree(rev, is_deleted)",
                    "{}",
                    table.name
                );
            }
        }
    }

    #[test]
    fn every_table_drops_a_block_that_is_sent_again() {
        for table in tables().filter(|t| !matches!(&*t.name, "ops_migration" | "ops_setting")) {
            assert!(
                table
                    .settings
                    .contains("non_replicated_deduplication_window"),
                "{}",
                table.name
            );
        }
    }

    #[test]
    fn types_are_read_whole() {
        let column = |table: &str, name: &str| {
            columns(table)
                .iter()
                .find(|c| c.name == name)
                .unwrap()
                .data_type
                .clone()
        };
        assert_eq!(
            column("dwd_span", "attributes"),
            "Map(LowCardinality(String), String)"
        );
        assert_eq!(
            column("ods_record", "headers"),
            "Array(Tuple(name String, value String))"
        );
        assert_eq!(column("dwd_span", "end_time"), "DateTime64(6, 'UTC')");
        assert_eq!(
            column("dws_step_1m", "duration_buckets"),
            "Map(Int16, UInt64)"
        );
        assert!(columns("no_such_table").is_empty());
    }
}
