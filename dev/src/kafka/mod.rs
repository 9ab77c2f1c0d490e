//! Apache Kafka itself: one KRaft node on loopback, from Maven's jars, on the JVM that is there.

mod jars;
mod properties;
mod topics;

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};

pub use jars::fetch_jars;
pub use properties::Ports;
pub use topics::{INPUT_TOPICS, MAX_MESSAGE_BYTES, TOPICS, Topic, create_topics, end_offsets};

use crate::process::Process;
use crate::{ports, wait};

/// How long a start may take; 2 to 4 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a stop may take before it is killed; about 1 s on an idle machine.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long to wait for a folder that another broker holds.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// How often other ports (or the same, after a crash) are tried.
const ATTEMPTS: u32 = 6;

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Folder of its configuration and data.
    pub folder: PathBuf,
    /// Folder of the log file `kafka.log`.
    pub logs: PathBuf,
    /// Ports to take where they are free. `None`: those of the last time in this folder, else any.
    pub ports: Option<Ports>,
    /// Most heap, MiB.
    pub heap_mib: u32,
    /// Compile quickly rather than well: starts sooner, but serves about half as fast. Off for benchmarks.
    pub quick_start: bool,
}

impl BrokerOptions {
    /// A broker in a folder, on ports of its own choice.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>, logs: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            logs: logs.into(),
            ports: None,
            heap_mib: 512,
            quick_start: true,
        }
    }
}

/// A running broker. Dropping it stops it; its data stays.
#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    jars: PathBuf,
    ports: Ports,
    cluster_id: String,
    /// Held here and by the broker's process.
    lock: File,
    process: Process,
}

/// Why one attempt to start failed.
enum Failure {
    /// Something else listens on one of the ports.
    PortTaken,
    Other(anyhow::Error),
}

impl Broker {
    /// Starts a broker and waits until it answers. Fetches the jars and formats the folder when that was not done.
    ///
    /// # Errors
    /// When Java is missing, the jars can't be fetched, or the broker does not answer in time; the message holds the
    /// end of its log.
    pub fn start(options: BrokerOptions) -> Result<Self> {
        let jars = fetch_jars()?;
        std::fs::create_dir_all(&options.folder)
            .with_context(|| format!("make the folder {}", options.folder.display()))?;
        let lock = lock_folder(&options.folder)?;
        let wanted = options
            .ports
            .or_else(|| properties::last_ports(&options.folder));
        let mut choice = match wanted {
            Some(ports) if ports.are_free() => ports,
            _ => Ports::any()?,
        };
        let cluster_id = properties::format_once(&options.folder, &jars, choice)?;
        for attempt in 1..=ATTEMPTS {
            properties::write(&options.folder, choice)?;
            match launch(&options, &jars, choice, &cluster_id, &lock) {
                Ok(process) => {
                    return Ok(Self {
                        options,
                        jars,
                        ports: choice,
                        cluster_id,
                        lock,
                        process,
                    });
                }
                Err(Failure::PortTaken) if attempt < ATTEMPTS => choice = Ports::any()?,
                Err(failure) => return Err(failure.into_error(&options)),
            }
        }
        bail!("Kafka did not start in {ATTEMPTS} attempts")
    }

    /// `127.0.0.1:PORT`, for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.ports.bootstrap()
    }

    /// The broker's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process, to look at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Makes Spanflow's topics where they are not there yet.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub fn create_topics(&self) -> Result<()> {
        create_topics(&self.bootstrap(), TOPICS)
    }

    /// Kills it as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in order, or kills it when that takes too long. True when it stopped by itself.
    pub fn stop(&mut self) -> bool {
        self.process.stop(STOP_LIMIT)
    }

    /// Starts it again, after [`Broker::kill`] or [`Broker::stop`], on the same ports and data, so that clients find
    /// it again.
    ///
    /// # Errors
    /// When it does not answer in time, or its ports stay taken.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        for attempt in 1..=ATTEMPTS {
            match launch(
                &self.options,
                &self.jars,
                self.ports,
                &self.cluster_id,
                &self.lock,
            ) {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                Err(Failure::PortTaken) if attempt < ATTEMPTS => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(failure) => return Err(failure.into_error(&self.options)),
            }
        }
        bail!("Kafka did not start again in {ATTEMPTS} attempts")
    }
}

impl Failure {
    fn into_error(self, options: &BrokerOptions) -> anyhow::Error {
        match self {
            Failure::PortTaken => anyhow::anyhow!(
                "Kafka's ports are taken; its log is in {}",
                options.logs.display()
            ),
            Failure::Other(error) => error,
        }
    }
}

/// Takes the folder for one broker. Kafka has a lock of its own, but a KRaft node opens its metadata log before it looks
/// at it: a second broker on a folder truncates the log under the first, which then dies.
fn lock_folder(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let what = format!(
        "another broker uses the data in {}: stop it first",
        folder.display()
    );
    // A broker whose starter was just killed needs a moment to end.
    wait::until(
        &what,
        LOCK_LIMIT,
        Duration::from_millis(100),
        || match file.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        },
    )?;
    Ok(file)
}

fn launch(
    options: &BrokerOptions,
    jars: &Path,
    ports: Ports,
    cluster_id: &str,
    lock: &File,
) -> std::result::Result<Process, Failure> {
    let mut command = java(jars);
    command
        .arg(format!("-Xmx{}m", options.heap_mib))
        .arg(format!("-Xms{}m", options.heap_mib.min(256)))
        .args([
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
        ])
        .args([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]);
    if options.quick_start {
        command.arg("-XX:TieredStopAtLevel=1");
    }
    command
        .arg("kafka.Kafka")
        .arg(properties::path(&options.folder));
    let log = options.logs.join("kafka.log");
    let mut process =
        Process::start_holding("Kafka", command, &log, lock).map_err(Failure::Other)?;
    let answers = wait::until(
        "Kafka did not answer",
        START_LIMIT,
        Duration::from_millis(100),
        || {
            process.check_alive()?;
            Ok(answers(ports, cluster_id).then_some(()))
        },
    );
    answers.map(|()| process.pid()).map_err(|error| {
        let output = process.output();
        // The JVM's words, in the log by way of Kafka's SocketServer.
        if output.contains("Address already in use") {
            Failure::PortTaken
        } else {
            Failure::Other(error.context(format!(
                "Kafka on {}; its log is {}",
                ports.bootstrap(),
                log.display()
            )))
        }
    })?;
    Ok(process)
}

/// `java` with the jars on its class path.
fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*"));
    // Options from outside could lift the cap on the heap.
    command
        .env_remove("JAVA_TOOL_OPTIONS")
        .env_remove("JDK_JAVA_OPTIONS");
    command
}

/// Whether it is this very broker that answers, and with itself as a live member: not only that a port is open.
fn answers(ports: Ports, cluster_id: &str) -> bool {
    const ONE: Duration = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.client));
    if TcpStream::connect_timeout(&address, ONE).is_err() {
        return false;
    }
    let client: std::result::Result<BaseConsumer, _> = ClientConfig::new()
        .set("bootstrap.servers", ports.bootstrap())
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create();
    let Ok(client) = client else { return false };
    client
        .fetch_metadata(None, ONE)
        .is_ok_and(|metadata| !metadata.brokers().is_empty())
        && client.client().fetch_cluster_id(ONE).as_deref() == Some(cluster_id)
}

impl Ports {
    /// Any two that are free now.
    ///
    /// # Errors
    /// When there are none.
    pub fn any() -> Result<Self> {
        let [client, controller] = ports::free()?;
        Ok(Self { client, controller })
    }

    fn are_free(self) -> bool {
        ports::is_free(self.client) && ports::is_free(self.controller)
    }

    fn bootstrap(self) -> String {
        format!("127.0.0.1:{}", self.client)
    }
}
