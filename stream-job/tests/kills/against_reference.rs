//! Every table's number of rows against the plain reference.

use stream_job::checkpoint::epoch_log;
use stream_job::ops::settings::Settings;

use crate::reference;
use crate::reference::tables::{Cell, Row, is_raw};
use crate::stage::Stage;

/// Counts every table's rows as the plain reference has them.
pub(crate) fn compare_with_reference(
    stage: &Stage,
    settings: &Settings,
    replay: &epoch_log::Replay,
) {
    let expected = reference::compute(settings, &stage.path("recording"), replay);
    for (table, rows) in &expected.tables {
        let (last, filter) = match *table {
            "ads_anomaly" => ("FINAL", "WHERE detector = 'loop'"),
            "dwd_content" => continue,
            table if is_raw(table) => ("", ""),
            _ => ("FINAL", ""),
        };
        let is_there = |row: &&Row| row.get("is_deleted") != Some(&Cell::Number(1));
        let wanted = rows.values().filter(is_there).count() as u64;
        let found = stage.number(&format!("SELECT count() FROM {table} {last} {filter}"));
        assert_eq!(found, wanted, "rows of {table} against the reference");
    }
}
