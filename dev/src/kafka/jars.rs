//! The broker's jars, fetched once into the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The version that `dev/kafka/pom.xml` names.
pub(super) const VERSION: &str = "4.1.1";

/// The folder of the jars; fetches them first when they are not there.
///
/// # Errors
/// When Maven is missing or fails; `dev/fetch.sh` has then said why on standard error.
pub fn fetch_jars() -> Result<PathBuf> {
    let folder = paths::cache()?.join(format!("kafka-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let script = paths::checkout().join("dev/fetch.sh");
    let status = Command::new(&script)
        .arg("kafka")
        .status()
        .with_context(|| format!("run {}", script.display()))?;
    if !status.success() || !folder.is_dir() {
        bail!("Apache Kafka could not be fetched: see the lines above");
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::VERSION;

    #[test]
    fn the_pom_names_the_same_version() {
        let pom = include_str!("../../kafka/pom.xml");
        assert!(pom.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }
}
