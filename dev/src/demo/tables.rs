//! The tables that the demo prints at its end, drawn by the warehouse itself.

use anyhow::Result;
use serde::Deserialize;

use crate::sql::Sql;
use crate::warehouse::DATABASE;

use super::summary::grouped;

/// Every agent's steps over all windows. Tokens are those of think steps: others may repeat their children's.
pub(super) fn agents(sql: &Sql) -> Result<String> {
    sql.text(
        "SELECT
             agent,
             sum(count) AS steps,
             sum(errors) AS failed,
             sumIf(count, step_type = 'think') AS think,
             round(spanflow_quantile(0.95, sumMapIf(duration_buckets, step_type = 'think')) / 1000) AS think_p95_ms,
             sumIf(count, step_type = 'act') AS act,
             round(spanflow_quantile(0.95, sumMapIf(duration_buckets, step_type = 'act')) / 1000) AS act_p95_ms,
             sumIf(input_tokens, step_type = 'think') AS tokens_in,
             sumIf(output_tokens, step_type = 'think') AS tokens_out,
             round(sum(cost_nanousd) / 1e9, 4) AS usd
         FROM dws_step_1m_latest
         GROUP BY agent
         ORDER BY steps DESC
         LIMIT 20
         SETTINGS output_format_pretty_color = 0, output_format_pretty_row_numbers = 0
         FORMAT PrettyCompactMonoBlock",
    )
}

/// Rows of every table; where a table has a view of the newest rows, those of the view too.
pub(super) fn layers(sql: &Sql) -> Result<String> {
    #[derive(Deserialize)]
    struct Table {
        name: String,
        /// 1 where there is a view of the newest rows.
        latest: u8,
    }
    let tables: Vec<Table> = sql.rows(&format!(
        "SELECT name, name || '_latest' IN (SELECT name FROM system.tables WHERE database = '{DATABASE}') AS latest
         FROM system.tables
         WHERE database = '{DATABASE}' AND engine LIKE '%MergeTree' AND match(name, '^(ods|dwd|dws|ads)_')
         ORDER BY indexOf(['ods', 'dwd', 'dws', 'ads'], substring(name, 1, 3)), name"
    ))?;
    let mut text = String::new();
    for table in tables {
        let rows = sql.number(&format!("SELECT count() FROM {}", table.name))?;
        text.push_str(&format!("  {:<20} {:>12}", table.name, grouped(rows)));
        if table.latest == 1 {
            let latest = sql.number(&format!("SELECT count() FROM {}_latest", table.name))?;
            text.push_str(&format!("   newest of each key {:>10}", grouped(latest)));
        }
        text.push('\n');
    }
    Ok(text)
}
