//! `warehouse migrate`: the tables.

use warehouse::{ClientOptions, MigrateOptions, Report, migrate::TtlRules};

/// Create the database, or bring its tables and views up to date
#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    client: ClientOptions,
    /// Days to keep rows, by table or by the beginning of tables' names, such as `ods=7d,dwd=30d,dws_step_1h=0`; 0 keeps
    /// for ever, `default` goes back to the default; tables that are not named stay as they are
    #[arg(
        long,
        env = "WAREHOUSE_TTL",
        value_name = "NAME=DAYS,…",
        default_value = "",
        hide_default_value = true
    )]
    ttl: TtlRules,
    /// Time zone of a day in dws_user_1d; only the first migrate of a database can choose it [default: UTC]
    #[arg(long, env = "WAREHOUSE_BUSINESS_TIME_ZONE", value_name = "ZONE")]
    business_time_zone: Option<String>,
}

impl Migrate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let options = MigrateOptions {
            ttl: self.ttl,
            business_time_zone: self.business_time_zone,
        };
        let report = warehouse::migrate(&self.client, &options).await?;
        print(&report);
        Ok(())
    }
}

fn print(report: &Report) {
    for file in &report.applied {
        println!("applied {file}");
    }
    for change in &report.ttl_changes {
        println!("{change}");
    }
    println!(
        "database {} is up to date: {} migrations ({} applied now), days in {}, ClickHouse {}",
        report.database,
        report.applied.len() + report.already_applied,
        report.applied.len(),
        report.business_time_zone,
        report.engine_version
    );
}
