//! The embedded warehouse: `warehouse serve`, and what the other commands of that binary do with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http::Server;
use crate::process::Process;
use crate::sql::Sql;
use crate::{paths, ports, wait};

/// Name of the database.
pub const DATABASE: &str = "spanflow";

/// How long a start may take; 1 to 2 s on an idle machine, more where much data has to be loaded.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const QUERY_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 5;

/// How the warehouse is started.
#[derive(Clone, Debug)]
pub struct WarehouseOptions {
    /// Folder of its data.
    pub folder: PathBuf,
    /// Folder of the log file `warehouse.log`.
    pub logs: PathBuf,
    /// Port to take where it is free; `None` takes any.
    pub port: Option<u16>,
}

/// A running embedded warehouse. Dropping it stops it; its data stays.
#[derive(Debug)]
pub struct Warehouse {
    options: WarehouseOptions,
    port: u16,
    process: Process,
}

impl Warehouse {
    /// Fetches the engine where it is not in the cache yet, with its progress on standard error.
    ///
    /// # Errors
    /// When it can't be fetched.
    pub fn fetch() -> Result<()> {
        let status = Command::new(paths::binary("warehouse")?)
            .arg("fetch")
            // It says there where the engine is, which is of no use here.
            .stdout(Stdio::null())
            .status()
            .context("run `warehouse fetch`")?;
        if !status.success() {
            bail!("`warehouse fetch` failed: see the lines above");
        }
        Ok(())
    }

    /// Starts it and waits until it answers. No tables are made: see [`Warehouse::migrate`].
    ///
    /// # Errors
    /// When it ends or does not answer in time; the message holds the end of its log.
    pub fn start(options: WarehouseOptions) -> Result<Self> {
        let mut port = match options.port {
            Some(port) => ports::free_or(port)?,
            None => ports::free::<1>()?[0],
        };
        for attempt in 1..=ATTEMPTS {
            match launch(&options, port) {
                Ok(process) => {
                    return Ok(Self {
                        options,
                        port,
                        process,
                    });
                }
                // Taken between the choice and the start.
                Err(_) if attempt < ATTEMPTS && !ports::is_free(port) => {
                    port = ports::free::<1>()?[0];
                }
                Err(error) => return Err(error),
            }
        }
        bail!("the warehouse did not start in {ATTEMPTS} attempts")
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        server(self.port).url()
    }

    /// Asks its database.
    #[must_use]
    pub fn sql(&self) -> Sql {
        self.sql_of(DATABASE)
    }

    /// Asks another database.
    #[must_use]
    pub fn sql_of(&self, database: &str) -> Sql {
        Sql::new(server(self.port), database, QUERY_LIMIT)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process, to look at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Makes or brings up to date all tables.
    ///
    /// # Errors
    /// With the words of `warehouse migrate`.
    pub fn migrate(&self) -> Result<()> {
        self.run(&["migrate"]).map(drop)
    }

    /// Runs `warehouse ARGS…` against it and gives its standard output.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args)?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "`warehouse {}` failed ({}):\n{stdout}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(stdout)
    }

    /// Runs `warehouse ARGS…` against it and gives all that came out.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        Command::new(paths::binary("warehouse")?)
            .args(args)
            .env("CLICKHOUSE_URL", self.url())
            .env("CLICKHOUSE_DATABASE", DATABASE)
            .env("CLICKHOUSE_TOKEN", "")
            .output()
            .with_context(|| format!("run `warehouse {}`", args.join(" ")))
    }

    /// Kills it as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in order, or kills it when that takes too long. True when it stopped by itself.
    pub fn stop(&mut self) -> bool {
        self.process.stop(STOP_LIMIT)
    }

    /// Starts it again on the same port and data.
    ///
    /// # Errors
    /// As [`Warehouse::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.process = launch(&self.options, self.port)?;
        Ok(())
    }
}

fn server(port: u16) -> Server {
    Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn launch(options: &WarehouseOptions, port: u16) -> Result<Process> {
    let mut command = Command::new(paths::binary("warehouse")?);
    command
        .arg("serve")
        .arg("--data")
        .arg(&options.folder)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        // What a caller's environment says of another warehouse is not for this one.
        .env_remove("CLICKHOUSE_TOKEN");
    let log = options.logs.join("warehouse.log");
    let mut process = Process::start("the warehouse", command, &log)?;
    let server = server(port);
    wait::until(
        &format!("the warehouse did not answer; its log is {}", log.display()),
        START_LIMIT,
        Duration::from_millis(50),
        || {
            // Its own word comes first: another server may answer on a port that this one did not get.
            process.check_alive()?;
            let listens = process.output().contains("listening on http");
            let answers =
                || matches!(server.get("/ping", Duration::from_secs(2)), Ok(r) if r.status == 200);
            Ok((listens && answers()).then_some(()))
        },
    )?;
    Ok(process)
}
