//! The broker's configuration and its folder's format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{MAX_MESSAGE_BYTES, java};

/// The two ports that a broker listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For the controller quorum, of which it is the only voter.
    pub controller: u16,
}

/// The configuration file in a broker's folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("server.properties")
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Writes the configuration: one node, everything on loopback, topics only by intent, messages up to 8 MiB.
pub(super) fn write(folder: &Path, ports: Ports) -> Result<()> {
    let Ports { client, controller } = ports;
    let data = fs::canonicalize(folder)?.join("data");
    let data = data.display();
    let text = format!(
        "# Written at each start by Spanflow's `dev`.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
log.dirs={data}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After a kill the broker may register again only when its last session is over: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
message.max.bytes={MAX_MESSAGE_BYTES}
replica.fetch.max.bytes={MAX_MESSAGE_BYTES}
socket.request.max.bytes=104857600
log.retention.hours=168
log.segment.bytes=268435456
"
    );
    let path = path(folder);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// The ports of the last start in this folder.
pub(super) fn last_ports(folder: &Path) -> Option<Ports> {
    let text = fs::read_to_string(path(folder)).ok()?;
    let listeners = text.lines().find_map(|l| l.strip_prefix("listeners="))?;
    let port = |name: &str| -> Option<u16> {
        let listener = listeners.split(',').find(|l| l.starts_with(name))?;
        listener.rsplit(':').next()?.parse().ok()
    };
    Some(Ports {
        client: port("PLAINTEXT:")?,
        controller: port("CONTROLLER:")?,
    })
}

/// Formats the folder where that was not done, and returns its cluster id.
pub(super) fn format_once(folder: &Path, jars: &Path, ports: Ports) -> Result<String> {
    let meta = data(folder).join("meta.properties");
    if !meta.exists() {
        write(folder, ports)?;
        let output = java(jars)
            .args([
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            ])
            .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
            .args(["-t", &new_cluster_id()?, "-c"])
            .arg(path(folder))
            .output()
            .context("run `java`: a JVM (17 or later) is needed for Apache Kafka")?;
        if !output.status.success() {
            bail!(
                "formatting Kafka's folder {} failed:\n{}{}",
                folder.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    let text = fs::read_to_string(&meta).with_context(|| format!("read {}", meta.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("cluster.id="))
        .map(str::to_owned)
        .with_context(|| {
            format!(
                "{} names no cluster.id: is this a Kafka folder?",
                meta.display()
            )
        })
}

/// 16 random bytes in URL-safe base64, as Kafka writes its ids.
fn new_cluster_id() -> Result<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let uuid = fs::read("/proc/sys/kernel/random/uuid").context("read a random id")?;
    let seed = xxhash_rust::xxh3::xxh3_128(&uuid);
    // 21 digits of 6 bits, then the last 2 bits; a first digit of 'A' keeps it from looking like an option.
    let digits = (1..22).map(|i| DIGITS[((seed >> (128 - 6 * i)) & 63) as usize]);
    let last = DIGITS[((seed & 3) << 4) as usize];
    let mut id: String = digits.chain([last]).map(char::from).collect();
    id.replace_range(..1, "A");
    Ok(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ports_of_the_last_start_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports {
            client: 19_092,
            controller: 19_093,
        };
        assert_eq!(last_ports(folder.path()), None);
        write(folder.path(), ports).unwrap();
        assert_eq!(last_ports(folder.path()), Some(ports));
    }

    #[test]
    fn cluster_ids_are_22_digits_and_differ() {
        let (one, other) = (new_cluster_id().unwrap(), new_cluster_id().unwrap());
        assert_eq!(one.len(), 22);
        assert_ne!(one, other);
    }
}
