//! `dev demo`: the whole product on one machine, until Ctrl-C or for a while.

pub mod check;
mod env_file;
mod screen;
mod signals;
mod summary;
mod supervise;
mod tables;

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::kafka::{self, INPUT_TOPICS};
use crate::paths::Home;
use crate::simulator::{Report, Simulator, SimulatorOptions};
use crate::system::{System, SystemOptions};
use crate::warehouse::{DATABASE, Warehouse};
use crate::{drain, wait};

use check::Counts;
use env_file::{EnvFile, Facts};
use screen::Screen;
use summary::Summary;
use supervise::Supervisor;

/// How long what is left of an earlier run may take to land before new agents start.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);
/// How long the last of this run may take to land once the agents have ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_secs(1);
/// Rates are over so long: spans land by epochs, so that a second's worth jumps.
const RATE_PERIOD: Duration = Duration::from_secs(5);

/// Spans that an agent's session sends in a second: a few times faster than a real one, so that the first ends soon.
const SPANS_PER_SESSION_SECOND: f64 = 3.0;

/// Ports that are taken where they are free: those that the tools of each expect.
const KAFKA_PORTS: kafka::Ports = kafka::Ports {
    client: 9092,
    controller: 9093,
};
const WAREHOUSE_PORT: u16 = 8123;
const JOB_PORT: u16 = 8090;

/// What the demo does.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Folder of its data.
    pub home: Home,
    /// Ends by itself after so long, counted from when all is ready.
    pub duration: Option<Duration>,
    /// Agents' sessions at a time; 0 starts no agents.
    pub agents: u32,
    /// Seed of the agents; `None` takes another one each time.
    pub seed: Option<u64>,
}

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// After its duration, with all counts in agreement.
    Agreed,
    /// After its duration, and counts disagree.
    Disagreed,
    /// By Ctrl-C.
    Interrupted,
}

/// Fetches what is missing, starts everything, shows what happens, and ends everything that it started.
///
/// # Errors
/// When a part can't be fetched or started, keeps ending, or does not drain in time. All is ended then too.
pub fn run(options: &DemoOptions) -> Result<Outcome> {
    // Checked before anything is fetched; the system takes the lock again for itself.
    drop(options.home.lock()?);
    // Left by a demo that was killed: what it says is not true any more.
    let _ = std::fs::remove_file(options.home.demo_env());
    signals::listen(options.home.demo_env())?;
    let mut screen = Screen::new();
    let demo = fetch(options).and_then(|()| Demo::start(options, &mut screen));
    let mut demo = match demo {
        Err(_) if wait::interrupted() => {
            screen.say("Interrupted while starting: what was started has ended.");
            return Ok(Outcome::Interrupted);
        }
        demo => demo?,
    };
    let outcome = demo.watch(&mut screen);
    if wait::interrupted() {
        screen.say("\nEnding: agents, job, warehouse, Kafka. Ctrl-C again ends them at once.");
        demo.end()?;
        screen.say(&format!(
            "Ended. The data stays in {}; `make demo` goes on with it, `make clean-demo` removes it.",
            options.home.path().display()
        ));
        return Ok(Outcome::Interrupted);
    }
    outcome?;
    let agreed = demo.finish(&mut screen)?;
    Ok(if agreed {
        Outcome::Agreed
    } else {
        Outcome::Disagreed
    })
}

/// Fetches what is missing, all at a time.
fn fetch(options: &DemoOptions) -> Result<()> {
    thread::scope(|scope| {
        let kafka = scope.spawn(|| kafka::fetch_jars().map(drop));
        let engine = scope.spawn(Warehouse::fetch);
        let python = (options.agents > 0).then(|| scope.spawn(|| Simulator::fetch().map(drop)));
        let all = [Some(kafka), Some(engine), python];
        let results: Vec<Result<()>> = all
            .into_iter()
            .flatten()
            .map(|part| {
                part.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        results.into_iter().collect()
    })
}

/// A demo that runs.
struct Demo {
    // Dropped in this order: the agents first, Kafka last.
    agents: Option<Simulator>,
    env_file: EnvFile,
    /// The processes that the file names, which the job's supervisor starts again by itself.
    job_pids: Vec<u32>,
    system: System,
    supervisor: Supervisor,
    /// The newest epoch before the agents began.
    since: u64,
    began: Instant,
    /// Wall clock at that time, ms since 1970.
    began_unix_ms: u128,
    duration: Option<Duration>,
    trace_shown: bool,
}

impl Demo {
    fn start(options: &DemoOptions, screen: &mut Screen) -> Result<Self> {
        screen.say(&format!(
            "Starting Spanflow in {}",
            options.home.path().display()
        ));
        let first_time = !options.home.kafka().exists();
        let mut system = System::start(SystemOptions {
            kafka_ports: first_time.then_some(KAFKA_PORTS),
            warehouse_port: Some(WAREHOUSE_PORT),
            job_port: Some(JOB_PORT),
            supervised: true,
            report: |line| println!("  {line}"),
            ..SystemOptions::in_folder(options.home.clone())
        })?;
        let since = catch_up(&mut system, screen)?;
        let agents = match options.agents {
            0 => None,
            sessions => Some(start_agents(options, sessions, &system)?),
        };
        let job_pids = system.job.worker_pids()?;
        let facts = facts(&system, &job_pids, agents.as_ref());
        let env_file = EnvFile::write(&options.home.demo_env(), &facts)?;
        screen.say(&welcome(&system, agents.is_some(), options.duration));
        Ok(Self {
            agents,
            env_file,
            job_pids,
            system,
            supervisor: Supervisor::default(),
            since,
            began: Instant::now(),
            began_unix_ms: unix_time()?.as_millis(),
            duration: options.duration,
            trace_shown: false,
        })
    }

    /// Shows what happens until the time is over or somebody interrupts.
    fn watch(&mut self, screen: &mut Screen) -> Result<()> {
        let mut history: VecDeque<(Instant, Summary)> = VecDeque::new();
        let mut next = Instant::now() + TICK;
        while !wait::interrupted() && self.duration.is_none_or(|d| self.began.elapsed() < d) {
            thread::sleep(next.saturating_duration_since(Instant::now()).min(TICK));
            next = (next + TICK).max(Instant::now());
            if wait::interrupted() {
                break;
            }
            self.supervise(screen)?;
            match Summary::ask(&self.system.sql(), &self.system.job) {
                Ok(summary) => {
                    while history.len() > 1 && history[0].0.elapsed() > RATE_PERIOD {
                        history.pop_front();
                    }
                    let before = history
                        .front()
                        .map(|(at, summary)| (summary, at.elapsed().as_secs_f64()));
                    screen.draw(&summary.lines(before, self.began.elapsed().as_secs()));
                    history.push_back((Instant::now(), summary));
                }
                Err(error) => screen.draw(&[format!("no numbers just now: {error:#}")]),
            }
            if !self.trace_shown {
                self.show_first_trace(screen);
            }
        }
        Ok(())
    }

    /// Starts again what has ended, and tells others its new process id.
    fn supervise(&mut self, screen: &mut Screen) -> Result<()> {
        let restarted = self.supervisor.check(&mut self.system, screen)?;
        if let Some(agents) = &mut self.agents {
            // Not started again: a second set of agents would send what the first has sent.
            agents.process().check_alive()?;
        }
        // While they are started again there are none, or none that answers.
        let job_pids = self.system.job.worker_pids().unwrap_or_default();
        let changed = !job_pids.is_empty() && job_pids != self.job_pids;
        if changed {
            self.job_pids = job_pids;
        }
        if restarted || changed {
            let facts = facts(&self.system, &self.job_pids, self.agents.as_ref());
            self.env_file.update(&facts)?;
        }
        Ok(())
    }

    /// The first session that ended since the start, as a tree.
    fn show_first_trace(&mut self, screen: &mut Screen) {
        // One that has its root, which is exported last, and enough steps to be worth a look.
        let finished = self.system.sql().text(&format!(
            "SELECT trace_id
             FROM dwd_span
             WHERE _epoch <= (SELECT max(epoch) FROM ops_epoch) AND ingest_time >= fromUnixTimestamp64Milli({})
             GROUP BY trace_id
             HAVING countIf(parent_span_id = '' AND step_type = 'session') > 0 AND count() >= 4
             ORDER BY max(end_time)
             LIMIT 1
             FORMAT TabSeparated",
            self.began_unix_ms
        ));
        // Asked again in a second when there is none yet or the warehouse is away.
        let Some(id) = finished.ok().filter(|id| !id.is_empty()) else {
            return;
        };
        self.trace_shown = true;
        match self.system.warehouse.run(&["trace", id.trim()]) {
            Ok(tree) => screen.say(&format!("\nThe first finished session:\n\n{tree}")),
            Err(error) => screen.say(&format!("{error:#}")),
        }
    }

    /// Ends everything in order.
    fn end(&mut self) -> Result<()> {
        let agents = match &mut self.agents {
            Some(agents) => agents.stop().map(drop),
            None => Ok(()),
        };
        self.system.stop()?;
        agents
    }

    /// Ends the agents, waits until all has landed, and holds what has landed against what was sent.
    fn finish(mut self, screen: &mut Screen) -> Result<bool> {
        screen.say("\nThe time is over. Ending the agents ...");
        let report: Option<Report> = match &mut self.agents {
            Some(agents) => Some(agents.stop()?),
            None => None,
        };
        screen.say("Waiting until everything that Kafka has is in the warehouse ...");
        self.system.wait_until_drained(DRAIN_LIMIT)?;
        if !self.system.job.stop() {
            bail!(
                "the stream job did not stop in time; its log is {}",
                self.system.job.process().log().display()
            );
        }
        let sql = self.system.sql();
        screen.say(&format!(
            "\nSteps by agent (dws_step_1m_latest):\n{}",
            match tables::agents(&sql)?.trim_end() {
                "" => "  none",
                table => table,
            }
        ));
        screen.say(&format!("Rows by table:\n{}", tables::layers(&sql)?));
        let mut agreed = true;
        if let Some(report) = &report {
            let others = check::others(&sql, self.since, report)?;
            if !others.is_empty() {
                screen.say(&format!(
                    "Not counted below, as the simulated agents have not sent it: what came of {}.",
                    others.join(", ")
                ));
            }
            let lines = Counts::ask(&sql, self.since, &others)?.compare(report);
            agreed &= lines.iter().all(check::Line::agrees);
            screen.say(&format!(
                "Sent by the agents and landed:\n{}",
                check::table(&lines)
            ));
        }
        agreed &= self.reconcile(screen)?;
        self.system.stop()?;
        screen.say(if agreed {
            "All counts agree."
        } else {
            "Counts DISAGREE: see above."
        });
        Ok(agreed)
    }

    /// Holds the counts of the layers against each other; nothing agrees with nothing.
    fn reconcile(&self, screen: &mut Screen) -> Result<bool> {
        let epochs = self.system.sql().number("SELECT count() FROM ops_epoch")?;
        let ends = kafka::end_offsets(&self.system.kafka.bootstrap(), INPUT_TOPICS)?;
        if epochs == 0 && ends.is_empty() {
            screen.say("Nothing was sent, so there is nothing to reconcile.");
            return Ok(true);
        }
        let output = self.system.warehouse.output(&["reconcile", "--drained"])?;
        for text in [output.stdout, output.stderr] {
            if !text.is_empty() {
                screen.say(&String::from_utf8_lossy(&text));
            }
        }
        Ok(output.status.success())
    }
}

/// Waits until what an earlier run left in Kafka has landed, and counts what is there.
fn catch_up(system: &mut System, screen: &mut Screen) -> Result<u64> {
    let ends = kafka::end_offsets(&system.kafka.bootstrap(), INPUT_TOPICS)?;
    let left = drain::missing(&ends, &drain::landed_offsets(&system.sql())?);
    if left > 0 {
        screen.say(&format!(
            "  {} records of an earlier run land first ...",
            summary::grouped(left)
        ));
        system.wait_until_drained(CATCH_UP_LIMIT)?;
    }
    system.sql().number("SELECT max(epoch) FROM ops_epoch")
}

fn start_agents(options: &DemoOptions, sessions: u32, system: &System) -> Result<Simulator> {
    let seed = match options.seed {
        Some(seed) => seed,
        // Another one each time: the same spans again would only be dropped as copies.
        None => unix_time()?.as_secs(),
    };
    Simulator::start(&SimulatorOptions {
        bootstrap: system.kafka.bootstrap(),
        logs: options.home.logs(),
        sessions,
        rate: f64::from(sessions) * SPANS_PER_SESSION_SECOND,
        seed,
        arguments: Vec::new(),
    })
}

fn unix_time() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")
}

fn facts(system: &System, job_pids: &[u32], agents: Option<&Simulator>) -> Facts {
    let mut pids = vec![
        ("kafka", system.kafka.pid()),
        ("warehouse", system.warehouse.pid()),
        ("supervisor", system.job.pid()),
    ];
    pids.extend(job_pids.iter().map(|&pid| ("stream-job", pid)));
    if let Some(agents) = agents {
        pids.push(("simulator", agents.pid()));
    }
    Facts {
        bootstrap: system.kafka.bootstrap(),
        warehouse: system.warehouse.url(),
        job: system.job.url(),
        pids,
    }
}

fn welcome(system: &System, agents: bool, duration: Option<Duration>) -> String {
    let home = system.home();
    let mut text = format!(
        "\nReady.
  Kafka      {}   topics otlp_spans, agent.conversations
  warehouse  {}   ClickHouse's HTTP interface, database {DATABASE}
  job        {}   /metrics, /api/v1/jobs
  logs       {}
  facts      {}
",
        system.kafka.bootstrap(),
        system.warehouse.url(),
        system.job.url(),
        home.logs().display(),
        home.demo_env().display()
    );
    text.push_str(
        "\nAsk in another terminal:\n  make query Q=\"SELECT * FROM dws_step_1m_latest ORDER BY window_start DESC LIMIT 10\"\n  \
         make trace ID=latest\n  make reconcile\n\n",
    );
    if !agents {
        text.push_str(
            "No simulated agents were started: send OTLP spans to the topic otlp_spans.\n",
        );
    }
    text.push_str(&match duration {
        Some(duration) => format!("Ends by itself after {} s.\n", duration.as_secs()),
        None => "Ctrl-C ends everything.\n".to_owned(),
    });
    text
}
