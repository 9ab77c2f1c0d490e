//! `warehouse migrate`: the tables.

use warehouse::migrate::{TtlRules, cluster_sql};
use warehouse::{ClientOptions, MigrateOptions, Report};

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
    /// Print the SQL that makes the database on a ClickHouse cluster of this name, replicated and distributed, and change
    /// nothing; see docs/operations.md
    #[arg(long, value_name = "NAME", conflicts_with = "business_time_zone")]
    cluster: Option<String>,
}

impl Migrate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Some(cluster) = &self.cluster {
            return print_for_cluster(&self.client.database, cluster);
        }
        let options = MigrateOptions {
            ttl: self.ttl,
            business_time_zone: self.business_time_zone,
        };
        let report = warehouse::migrate(&self.client, &options).await?;
        print(&report);
        Ok(())
    }
}

fn print_for_cluster(database: &str, cluster: &str) -> anyhow::Result<()> {
    let statements = cluster_sql(database, cluster)?;
    println!(
        "-- Replicated and distributed form of Spanflow's tables. It has been checked as text, not run on a cluster."
    );
    for statement in statements {
        println!("\n{statement};");
    }
    Ok(())
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
