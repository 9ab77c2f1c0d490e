//! `make chaos`: the whole product under load, while every part of it is killed (SIGKILL) again and again: the job at any
//! instant and at its failpoints, with another layout at each start, the warehouse, and the broker. Then every table must
//! be, row for row, what one undisturbed run makes of the same epoch log.

mod crew;
mod layout;
mod strikes;
mod tables;
mod whole_log;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::drain;
use crate::kafka::{Broker, BrokerOptions};
use crate::paths::Home;
use crate::simulator::{Simulator, SimulatorOptions};
use crate::warehouse::{self, Warehouse, WarehouseOptions};
use crew::{Crew, Plan};
use strikes::{Dice, Kill, Strike, Tally};
use whole_log::WholeLog;

pub use layout::Layout;

/// Database of the undisturbed run.
const UNDISTURBED: &str = "undisturbed";
/// Longest start of the job, a replay and a busy machine included.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Longest wait for a failpoint, once the job is ready.
const FAILPOINT_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

/// Settings of the job: everything happens often, and what checkpoints no longer need is deleted.
const SETTINGS: [(&str, &str); 7] = [
    ("epoch_interval", "200ms"),
    ("dws_block_interval", "600ms"),
    ("checkpoint_interval", "600ms"),
    ("checkpoints_kept", "2"),
    ("session_idle", "30s"),
    ("idle_timeout", "5s"),
    ("log", "info"),
];

/// What is run.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// Kills.
    pub kills: u64,
    /// Equal seeds give equal choices; when they strike is the machine's.
    pub seed: u64,
    /// Layouts of the job, from which each start takes one.
    pub layouts: Vec<Layout>,
    /// Spans per second of the agents.
    pub rate: f64,
}

/// Kills, then compares, and prints what it found.
///
/// # Errors
/// When a table differs, when the job gives up, or when something else than the job can't be started again. All data and
/// logs are kept then, in the folder that the message names.
pub fn run(options: &ChaosOptions) -> Result<()> {
    if cfg!(not(debug_assertions)) {
        bail!("this is a release build, which has no failpoints: use `make chaos`");
    }
    let folder = tempfile::tempdir().context("make a folder")?;
    println!("seed {}, in {}", options.seed, folder.path().display());
    let done = Chaos::start(Home::at(folder.path()), options)
        .and_then(|mut chaos| chaos.strike(options).and_then(|()| chaos.compare(options)));
    if done.is_err() {
        println!("all data and logs are kept in {}", folder.keep().display());
    }
    done
}

struct Chaos {
    // Ended in this order.
    agents: Simulator,
    crew: Option<Crew>,
    warehouse: Warehouse,
    kafka: Broker,
    plan: Plan,
    log: Option<WholeLog>,
    undisturbed: PathBuf,
    tally: Tally,
}

impl Chaos {
    fn start(home: Home, options: &ChaosOptions) -> Result<Chaos> {
        Warehouse::fetch()?;
        let kafka = Broker::start(BrokerOptions::in_folder(home.kafka(), home.logs()))?;
        kafka.create_topics()?;
        let warehouse = Warehouse::start(WarehouseOptions {
            folder: home.warehouse(),
            logs: home.logs(),
            port: None,
        })?;
        warehouse.migrate()?;
        let agents = Simulator::start(&SimulatorOptions {
            bootstrap: kafka.bootstrap(),
            logs: home.logs(),
            sessions: 20,
            rate: options.rate,
            seed: options.seed,
            arguments: [
                "--bad-rate",
                "0.02",
                "--duplicate-rate",
                "0.05",
                "--flush",
                "60",
            ]
            .map(str::to_owned)
            .into(),
        })?;
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plan = Plan {
            bootstrap: kafka.bootstrap(),
            warehouse_url: warehouse.url(),
            database: warehouse::DATABASE.to_owned(),
            state: home.job(),
            logs: home.logs(),
            settings: BTreeMap::from(settings),
        };
        let log = home.job().join("00000001/log");
        Ok(Chaos {
            agents,
            crew: None,
            warehouse,
            kafka,
            plan,
            log: Some(WholeLog::of(log, home.path().join("whole-log"))?),
            undisturbed: home.path().join(UNDISTURBED),
            tally: Tally::default(),
        })
    }

    fn strike(&mut self, options: &ChaosOptions) -> Result<()> {
        let mut dice = Dice::new(options.seed);
        let began = Instant::now();
        while self.tally.kills() < options.kills {
            let strike = Strike::choose(&mut dice, &options.layouts);
            self.one_run(&strike)
                .with_context(|| format!("run {}, {strike}", self.tally.runs))?;
            println!(
                "{:5} s  {:4} kills  {strike}",
                began.elapsed().as_secs(),
                self.tally.kills()
            );
        }
        Ok(())
    }

    /// One start of the job, and its end.
    fn one_run(&mut self, strike: &Strike) -> Result<()> {
        self.tally.runs += 1;
        let armed = strike.failpoint.as_deref();
        let variables = armed.map(|failpoint| ("SPANFLOW_FAILPOINT", failpoint));
        let crew = Crew::start(&self.plan, strike.layout, &[], variables.as_slice())?;
        let crew = self.crew.insert(crew);
        let mut lives = !strike.when_ready || crew.wait_until_ready(START_LIMIT)?;
        if lives && strike.warehouse {
            self.tally.count(Kill::Warehouse);
            self.warehouse.kill();
            std::thread::sleep(strike.away);
            self.warehouse.restart()?;
        }
        if lives && strike.broker {
            self.tally.count(Kill::Broker);
            self.kafka.kill();
            std::thread::sleep(strike.away);
            self.kafka.restart()?;
        }
        let patience = match armed {
            Some(_) => FAILPOINT_LIMIT,
            None => strike.after,
        };
        lives = lives && !crew.dies_within(patience)?;
        if lives {
            crew.kill(strike.victim);
        }
        self.tally.count(match armed {
            Some(failpoint) if !lives => Kill::Failpoint(failpoint.to_owned()),
            _ => Kill::Job,
        });
        Ok(())
    }

    /// Lets everything land, makes an undisturbed run of the same epoch log, and holds all tables against it.
    fn compare(&mut self, options: &ChaosOptions) -> Result<()> {
        let layout = |at: usize| options.layouts[at % options.layouts.len()];
        // What they could not send while the broker was away is not in Kafka, and nobody waits for it.
        if let Err(error) = self.agents.stop() {
            println!("the agents: {error:#}");
        }
        let mut crew = Crew::start(&self.plan, layout(0), &[], &[])?;
        crew.wait_until_ready(START_LIMIT)?;
        drain::wait_until_drained(&self.plan.bootstrap, &self.warehouse.sql(), DRAIN_LIMIT)?;
        crew.stop(DRAIN_LIMIT)?;
        self.tally.runs += 1;

        let log = self.log.take().context("the log is compared once")?;
        let log = log.end().context("keep the epoch log")?;
        let undisturbed = Plan {
            database: UNDISTURBED.to_owned(),
            state: self.undisturbed.clone(),
            ..self.plan.clone()
        };
        let flags = ["--epoch-log", &log.display().to_string()];
        // One process, and another number of workers than most runs had.
        let alone = Layout {
            processes: 1,
            workers: 2,
        };
        Crew::start(&undisturbed, alone, &flags, &[])?.wait(DRAIN_LIMIT)?;
        let found = tables::compare(&self.warehouse.sql(), warehouse::DATABASE, UNDISTURBED)?;
        self.tally.print();
        println!("rows compared   {}", found.rows);
        println!("differences     {}", found.differences.len());
        for difference in &found.differences {
            println!("  {difference}");
        }
        if !found.differences.is_empty() {
            bail!("the tables are not those of an undisturbed run");
        }
        Ok(())
    }
}
