//! Kafka, the warehouse and the job together, in one folder.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::warehouse::FileLock;
use anyhow::{Result, bail};

use crate::job::{Job, JobOptions};
use crate::kafka::{self, Broker, BrokerOptions};
use crate::paths::Home;
use crate::sql::Sql;
use crate::warehouse::{Warehouse, WarehouseOptions};
use crate::{drain, paths};

/// How a system is started.
#[derive(Clone, Debug)]
pub struct SystemOptions {
    /// Its folder.
    pub home: Home,
    /// Ports of Kafka to take where they are free; `None`: those of the last time in this folder, else any.
    pub kafka_ports: Option<kafka::Ports>,
    /// Port of the warehouse to take where it is free; `None` takes any.
    pub warehouse_port: Option<u16>,
    /// Port of the job's HTTP server to take where it is free; `None` takes any.
    pub job_port: Option<u16>,
    /// Settings of the job.
    pub job_settings: BTreeMap<String, String>,
    /// Further variables of the job's environment.
    pub job_environment: BTreeMap<String, String>,
    /// Whether the job is started by `submit`, which starts its processes again.
    pub supervised: bool,
    /// Whether the broker shall start fast rather than run fast.
    pub quick_start: bool,
    /// Told what has started, with how long it took.
    pub report: fn(&str),
}

impl SystemOptions {
    /// A system in a folder, on ports of its own choice, that says nothing.
    #[must_use]
    pub fn in_folder(home: Home) -> Self {
        Self {
            home,
            kafka_ports: None,
            warehouse_port: None,
            job_port: None,
            job_settings: BTreeMap::new(),
            job_environment: BTreeMap::new(),
            supervised: false,
            quick_start: true,
            report: |_| {},
        }
    }
}

/// A running system. Dropping it stops its parts in the order in which data flows out of them.
#[derive(Debug)]
pub struct System {
    /// The stream job.
    pub job: Job,
    /// The embedded warehouse.
    pub warehouse: Warehouse,
    /// The broker.
    pub kafka: Broker,
    home: Home,
    _lock: FileLock,
}

impl System {
    /// Starts all of it: the broker and the warehouse side by side, the topics, the tables, the job.
    ///
    /// # Errors
    /// When the folder is in use or a part does not start; the message says which, with the end of its log.
    pub fn start(options: SystemOptions) -> Result<Self> {
        let (home, report) = (&options.home, options.report);
        let lock = home.lock()?;
        // Said before anything is started.
        for name in ["warehouse", "stream-job"] {
            paths::binary(name)?;
        }
        let broker_options = BrokerOptions {
            ports: options.kafka_ports,
            quick_start: options.quick_start,
            ..BrokerOptions::in_folder(home.kafka(), home.logs())
        };
        let warehouse_options = WarehouseOptions {
            folder: home.warehouse(),
            logs: home.logs(),
            port: options.warehouse_port,
        };
        let (kafka, warehouse) = std::thread::scope(|scope| {
            let kafka = scope.spawn(|| start_kafka(broker_options, report));
            let warehouse = start_warehouse(warehouse_options, report);
            let kafka = kafka
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (kafka, warehouse)
        });
        let (kafka, warehouse) = (kafka?, warehouse?);
        let began = Instant::now();
        let job = Job::start(JobOptions {
            state: home.job(),
            logs: home.logs(),
            port: options.job_port,
            bootstrap: kafka.bootstrap(),
            warehouse_url: warehouse.url(),
            settings: options.job_settings,
            environment: options.job_environment,
            supervised: options.supervised,
        })?;
        report(&format!(
            "stream job  {} ({:.1} s)",
            job.url(),
            began.elapsed().as_secs_f32()
        ));
        Ok(Self {
            job,
            warehouse,
            kafka,
            home: options.home,
            _lock: lock,
        })
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Asks the warehouse.
    #[must_use]
    pub fn sql(&self) -> Sql {
        self.warehouse.sql()
    }

    /// Waits until everything that the broker has now is in the warehouse.
    ///
    /// # Errors
    /// See [`drain::wait_until_drained`]; and when the job has ended, with the end of its log.
    pub fn wait_until_drained(&mut self, limit: Duration) -> Result<()> {
        drain::wait_until_drained(&self.kafka.bootstrap(), &self.sql(), limit).map_err(|error| {
            match self.job.process().check_alive() {
                Ok(()) => error,
                Err(ended) => ended,
            }
        })
    }

    /// Stops the parts in order. Its data stays.
    ///
    /// # Errors
    /// When one had to be killed, once all have ended.
    pub fn stop(&mut self) -> Result<()> {
        let parts = [
            ("the stream job", self.job.stop()),
            ("the warehouse", self.warehouse.stop()),
            ("Kafka", self.kafka.stop()),
        ];
        let killed: Vec<&str> = parts
            .iter()
            .filter(|(_, by_itself)| !by_itself)
            .map(|(name, _)| *name)
            .collect();
        if !killed.is_empty() {
            bail!(
                "did not stop in time and was killed: {}; logs are in {}",
                killed.join(", "),
                self.home.logs().display()
            );
        }
        Ok(())
    }
}

fn start_kafka(options: BrokerOptions, report: fn(&str)) -> Result<Broker> {
    let began = Instant::now();
    let kafka = Broker::start(options)?;
    kafka.create_topics()?;
    report(&format!(
        "Kafka       {} ({:.1} s)",
        kafka.bootstrap(),
        began.elapsed().as_secs_f32()
    ));
    Ok(kafka)
}

fn start_warehouse(options: WarehouseOptions, report: fn(&str)) -> Result<Warehouse> {
    let began = Instant::now();
    let warehouse = Warehouse::start(options)?;
    warehouse.migrate()?;
    report(&format!(
        "warehouse   {} ({:.1} s)",
        warehouse.url(),
        began.elapsed().as_secs_f32()
    ));
    Ok(warehouse)
}
