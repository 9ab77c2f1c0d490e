//! Migrations on the real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use gateway_support::Server;
use warehouse::{
    ClientOptions, MigrateOptions, migrate,
    schema::{RelationKind, columns, migrations, relations},
};

fn at(server: &Server, database: &str) -> ClientOptions {
    ClientOptions {
        url: server.url(),
        database: database.into(),
        user: "default".into(),
        token: String::new(),
    }
}

fn ttl(rules: &str) -> MigrateOptions {
    MigrateOptions {
        ttl: rules.parse().unwrap(),
        business_time_zone: None,
    }
}

#[tokio::test]
async fn the_engine_has_what_the_sql_declares_and_a_second_migrate_does_nothing() {
    let server = Server::start(&[]);
    // A name that has to be quoted.
    let options = at(&server, "span-flow");
    let first = migrate(&options, &MigrateOptions::default()).await.unwrap();
    assert_eq!(first.applied.len(), migrations().len());
    for relation in relations().iter().filter(|r| !r.columns.is_empty()) {
        let found = server.sql(&format!(
            "SELECT name, type FROM system.columns WHERE database = 'span-flow' AND table = '{}' ORDER BY position FORMAT TSVRaw",
            relation.name
        ));
        let declared: Vec<_> = columns(&relation.name)
            .iter()
            .map(|column| format!("{}\t{}", column.name, column.data_type))
            .collect();
        assert_eq!(found, declared.join("\n"), "{}", relation.name);
    }
    let second = migrate(&options, &MigrateOptions::default()).await.unwrap();
    assert!(second.applied.is_empty() && second.ttl_changes.is_empty());
    assert_eq!(second.already_applied, migrations().len());
    assert_eq!(second.business_time_zone, "UTC");
}

#[tokio::test]
async fn a_migrate_that_crashed_after_any_statement_is_taken_up_again() {
    let server = Server::start(&[]);
    for done in [0, 1, 7, 20] {
        let database = format!("crashed_{done}");
        server.sql(&format!("CREATE DATABASE {database}"));
        // The statements ran, but the last file was not noted.
        for (index, migration) in migrations().iter().take(done).enumerate() {
            for statement in warehouse::schema::statements(migration.sql) {
                let answer = server.post(&format!("database={database}"), statement.as_bytes());
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            if index + 1 < done {
                let note = format!(
                    "INSERT INTO {database}.ops_migration SELECT {}, '{}', lower(hex(SHA256({}))), now64(3)",
                    migration.number(),
                    migration.name(),
                    quoted(migration.sql)
                );
                server.sql(&note);
            }
        }
        let report = migrate(&at(&server, &database), &MigrateOptions::default())
            .await
            .unwrap();
        assert_eq!(
            report.applied.len() + done.saturating_sub(1),
            migrations().len(),
            "{done}"
        );
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[tokio::test]
async fn a_newer_and_a_changed_database_are_refused_and_left_alone() {
    let server = Server::start(&[]);
    let options = at(&server, "newer");
    migrate(&options, &MigrateOptions::default()).await.unwrap();
    server.sql("INSERT INTO newer.ops_migration SELECT 9001, 'of_tomorrow', '', now64(3)");
    let error = migrate(&options, &ttl("dwd=1d")).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains("9001_of_tomorrow") && text.contains("older than the database"),
        "{text}"
    );
    let kept = server.sql("SELECT engine_full LIKE '%toIntervalDay(30)%' FROM system.tables WHERE database = 'newer' AND name = 'dwd_span'");
    assert_eq!(kept, "1");

    let options = at(&server, "changed");
    migrate(&options, &MigrateOptions::default()).await.unwrap();
    server.sql("INSERT INTO changed.ops_migration SELECT 101, 'ods_record', 'beef', now64(3)");
    let error = migrate(&options, &MigrateOptions::default())
        .await
        .unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains("0101_ods_record.sql") && text.contains("beef"),
        "{text}"
    );
}

#[tokio::test]
async fn times_to_live_are_set_once_and_the_time_zone_is_fixed() {
    let server = Server::start(&[]);
    let options = at(&server, "spanflow");
    let shanghai = MigrateOptions {
        business_time_zone: Some("Asia/Shanghai".into()),
        ..ttl("")
    };
    assert_eq!(
        migrate(&options, &shanghai)
            .await
            .unwrap()
            .business_time_zone,
        "Asia/Shanghai"
    );
    assert_eq!(
        migrate(&options, &ttl(""))
            .await
            .unwrap()
            .business_time_zone,
        "Asia/Shanghai"
    );
    let utc = MigrateOptions {
        business_time_zone: Some("UTC".into()),
        ..ttl("")
    };
    let refused = migrate(&options, &utc).await.unwrap_err().to_string();
    assert!(refused.contains("Asia/Shanghai"), "{refused}");
    let mars = MigrateOptions {
        business_time_zone: Some("Mars/Base".into()),
        ..ttl("")
    };
    assert!(
        migrate(&options, &mars)
            .await
            .unwrap_err()
            .to_string()
            .contains("Mars/Base")
    );

    let changed = migrate(&options, &ttl("ods=3d,ads_anomaly=0"))
        .await
        .unwrap()
        .ttl_changes;
    let changed: Vec<_> = changed.iter().map(ToString::to_string).collect();
    assert_eq!(
        changed,
        [
            "ods_record: kept 3 days, was 7 days",
            "ods_dead_letter: kept 3 days, was 7 days",
            "ads_anomaly: kept for ever, was 180 days",
        ]
    );
    assert!(
        migrate(&options, &ttl("ods=3d,ads_anomaly=0"))
            .await
            .unwrap()
            .ttl_changes
            .is_empty()
    );
    // Nobody who migrates without rules takes them back.
    assert!(
        migrate(&options, &ttl(""))
            .await
            .unwrap()
            .ttl_changes
            .is_empty()
    );
    assert_eq!(
        migrate(&options, &ttl("ads_anomaly=default"))
            .await
            .unwrap()
            .ttl_changes
            .len(),
        1
    );
}

#[tokio::test]
async fn a_block_of_ods_or_dwd_lands_as_one_part_and_its_token_holds() {
    let server = Server::start(&[]);
    migrate(&at(&server, "spanflow"), &MigrateOptions::default())
        .await
        .unwrap();
    for table in relations().iter().filter(|r| r.kind == RelationKind::Table) {
        let name = &table.name;
        if !(name.starts_with("ods_") || name.starts_with("dwd_")) {
            continue;
        }
        // Two rows that share nothing but the block's ingest_time.
        let varied = table.order_by.trim_matches(['(', ')']);
        let key = if varied.starts_with("hash") {
            "hash"
        } else if varied.starts_with("topic") {
            "topic"
        } else {
            "agent"
        };
        for _ in 0..2 {
            let insert = format!(
                "INSERT INTO spanflow.{name} ({key}, ingest_time) \
                 SETTINGS insert_deduplication_token = 'one', async_insert = 0 \
                 SELECT toString(number), now64(3) FROM numbers(2000)"
            );
            server.sql(&insert);
        }
        let parts = format!(
            "SELECT count(), sum(rows) FROM system.parts WHERE database = 'spanflow' AND table = '{name}' AND active FORMAT TSV"
        );
        assert_eq!(server.sql(&parts), "1\t2000", "{name}");
    }
}
