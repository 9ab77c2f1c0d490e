//! What a process needs to find the others and to be let in.

use std::time::Duration;

use super::hello::Identity;
use super::proof::Secret;
use super::shape::{Hosts, Shape};
use crate::ops::settings::{Settings, SettingsError};

/// What a process needs to find the others and to be let in.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// This process; 0 leads.
    pub process: usize,
    /// Where every process listens.
    pub hosts: Hosts,
    /// What all of them know and nobody else.
    pub secret: Secret,
    /// What they have to agree on.
    pub identity: Identity,
    /// How long a wait for another process may last.
    pub timeout: Duration,
}

impl ClusterConfig {
    /// What the settings say for one of several processes.
    ///
    /// # Errors
    /// If there is no such process, the hosts are no list of them, or the secret is missing or too short.
    pub fn of(settings: &Settings, process: usize, workers: usize) -> Result<Self, SettingsError> {
        let conflict = |reason: String| Err(SettingsError::Conflict(reason));
        let processes = usize::from(settings.processes);
        if process >= processes {
            return conflict(format!(
                "`--process {process}` of {processes} processes: they are counted from 0"
            ));
        }
        let Some(secret) = Secret::new(&settings.cluster_secret) else {
            return conflict(format!(
                "{processes} processes must know each other: set the same secret of at least {} characters in the \
                 environment of each as SPANFLOW_CLUSTER_SECRET",
                Secret::LEAST_BYTES
            ));
        };
        Ok(ClusterConfig {
            process,
            hosts: Hosts::of(settings)?,
            secret,
            identity: Identity {
                job: settings.job.clone(),
                code_version: env!("CARGO_PKG_VERSION").to_owned(),
                settings_hash: settings.hash(),
                shape: Shape { processes, workers },
            },
            timeout: settings.cluster_timeout,
        })
    }
}

impl Hosts {
    /// The hosts that the settings name.
    ///
    /// # Errors
    /// If `hosts` is no list of as many addresses as there are processes.
    pub fn of(settings: &Settings) -> Result<Hosts, SettingsError> {
        let processes = usize::from(settings.processes);
        if settings.hosts.is_empty() {
            return Ok(Hosts::on_loopback(settings.cluster_port, processes));
        }
        Hosts::parse(&settings.hosts, processes)
            .map_err(|error| SettingsError::Conflict(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.set(name, value).unwrap();
        }
        settings
    }

    #[test]
    fn several_processes_need_a_secret_hosts_and_a_number_each() {
        let secret = ("cluster_secret", "sixteen bytes ok");
        let refusal = |pairs: &[(&str, &str)], process| {
            ClusterConfig::of(&settings(pairs), process, 2)
                .unwrap_err()
                .to_string()
        };
        let said = refusal(&[("processes", "2")], 0);
        assert!(said.contains("SPANFLOW_CLUSTER_SECRET"), "{said}");
        let said = refusal(&[("processes", "2"), secret], 2);
        assert!(said.contains("`--process 2` of 2"), "{said}");
        let said = refusal(&[("processes", "2"), secret, ("hosts", "a:1")], 0);
        assert!(said.contains("`hosts` names 1"), "{said}");

        let good = settings(&[("processes", "2"), secret, ("cluster_port", "7000")]);
        let config = ClusterConfig::of(&good, 1, 3).unwrap();
        assert_eq!(config.hosts.address(0), "127.0.0.1:7000");
        assert_eq!(config.identity.shape.total(), 6);
    }
}
