//! What the warehouse holds, by name, against what the agents' report says must be there.

use std::collections::BTreeMap;

use dev::sql::Sql;
use serde::Deserialize;
use serde_json::Value;

pub(crate) type Counts = BTreeMap<String, u64>;

/// Counts of ODS and DWD, each without FINAL; what is 0 is left out.
pub(crate) fn counts(sql: &Sql) -> Counts {
    #[derive(Deserialize)]
    struct Row {
        what: String,
        number: u64,
    }
    let rows: Vec<Row> = sql
        .rows(
            "SELECT 'records' AS what, count() AS number FROM ods_record
             UNION ALL SELECT 'landed', count() FROM dwd_span
             UNION ALL SELECT 'errors', countIf(status = 'error') FROM dwd_span
             UNION ALL SELECT 'duplicate', sum(spans_duplicate) FROM ods_record
             UNION ALL SELECT 'rejected', sum(spans_rejected) FROM ods_record
             UNION ALL SELECT 'cost', sum(cost_nanousd) FROM dwd_span
             UNION ALL SELECT 'step ' || step_type, count() FROM dwd_span GROUP BY step_type
             UNION ALL SELECT 'input ' || step_type, sum(input_tokens) FROM dwd_span
                 GROUP BY step_type
             UNION ALL SELECT 'output ' || step_type, sum(output_tokens) FROM dwd_span
                 GROUP BY step_type
             UNION ALL SELECT 'dead ' || unit || ' ' || error_code, count() FROM ods_dead_letter
                 GROUP BY unit, error_code",
        )
        .unwrap();
    let counted = rows.into_iter().filter(|row| row.number > 0);
    counted.map(|row| (row.what, row.number)).collect()
}

/// The same counts from the agents' report.
pub(crate) fn expected(report: &Value) -> Counts {
    let number = |value: &Value| value.as_u64().unwrap();
    let wanted = &report["expected"];
    let mut counts = Counts::from([
        ("records".to_owned(), number(&wanted["records"])),
        ("landed".to_owned(), number(&wanted["spans_landed"])),
        ("errors".to_owned(), number(&report["spans"]["errors"])),
        ("duplicate".to_owned(), number(&wanted["spans_duplicate"])),
        ("rejected".to_owned(), number(&wanted["spans_rejected"])),
        ("cost".to_owned(), number(&report["cost_nanousd"])),
    ]);
    let groups = [
        ("step", &report["spans"]["by_step_type"]),
        ("input", &report["tokens"]["input"]),
        ("output", &report["tokens"]["output"]),
        ("dead record", &wanted["dead_letters"]["record"]),
        ("dead span", &wanted["dead_letters"]["span"]),
    ];
    for (group, members) in groups {
        for (name, value) in members.as_object().unwrap() {
            counts.insert(format!("{group} {name}"), number(value));
        }
    }
    counts.retain(|_, number| *number > 0);
    counts
}

/// Nothing is there twice.
pub(crate) fn assert_nothing_twice(sql: &Sql) {
    for (table, key) in [
        ("ods_record", "topic, partition, offset"),
        ("ods_dead_letter", "topic, partition, offset, index"),
        ("dwd_span", "topic, partition, offset, index"),
        ("ops_epoch", "epoch"),
    ] {
        let select = format!("SELECT count() - uniqExact({key}) FROM {table}");
        assert_eq!(sql.number(&select).unwrap(), 0, "copies in {table}");
    }
}
