//! `warehouse serve`: the embedded warehouse.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use warehouse::embedded::{EngineOptions, default_memory_bytes};
use warehouse::gateway::{Gateway, GatewayOptions};

/// Run the embedded ClickHouse engine behind ClickHouse's HTTP interface
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The data folder; created where it is missing, held by one process at a time
    #[arg(
        long,
        env = "SPANFLOW_WAREHOUSE_DATA",
        default_value = ".spanflow/warehouse"
    )]
    data: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8123")]
    listen: SocketAddr,
    /// The password of user `default`; needed for any address but loopback
    #[arg(long, env = "CLICKHOUSE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// libchdb itself; default: the one that `warehouse fetch` installs
    #[arg(long, env = "SPANFLOW_LIBCHDB")]
    library: Option<PathBuf>,
    /// What the engine may allocate, in bytes; default: half of the machine's memory, between 1 and 8 GiB
    #[arg(long)]
    max_memory_bytes: Option<u64>,
    /// Queries that run at the same time
    #[arg(long, default_value_t = 32)]
    max_queries: usize,
    /// Queries that may wait for their turn
    #[arg(long, default_value_t = 256)]
    max_waiting: usize,
    /// How long a query may wait for its turn, in milliseconds
    #[arg(long, default_value_t = 30_000)]
    max_wait_ms: u64,
    /// The longest silence in the middle of a request's body, in milliseconds
    #[arg(long, default_value_t = 300_000)]
    idle_timeout_ms: u64,
    /// How long running queries may go on after SIGTERM or SIGINT, in milliseconds
    #[arg(long, default_value_t = 10_000)]
    shutdown_timeout_ms: u64,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut engine = EngineOptions::new(self.data);
        if let Some(library) = self.library {
            engine.library = library;
        }
        engine.max_memory_bytes = self.max_memory_bytes.unwrap_or_else(default_memory_bytes);
        engine.max_connections = self.max_queries.max(1);
        engine.max_waiting = self.max_waiting;
        engine.max_wait = Duration::from_millis(self.max_wait_ms);
        let mut options = GatewayOptions::new(engine);
        options.listen = self.listen;
        options.token = self.token;
        options.idle_timeout = Duration::from_millis(self.idle_timeout_ms);
        options.shutdown_timeout = Duration::from_millis(self.shutdown_timeout_ms);

        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
        let gateway = Gateway::open(options).await?;
        println!("listening on http://{}", gateway.address());
        std::io::stdout()
            .flush()
            .context("can't write to standard output")?;
        tracing::info!(address = %gateway.address(), engine = gateway.engine_version(), "the warehouse is ready");
        gateway
            .run(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("stopping: running queries may finish");
            })
            .await?;
        Ok(())
    }
}
