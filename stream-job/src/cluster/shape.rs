//! How many processes and workers there are, and where.

/// The shape of a cluster: every process has as many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Processes.
    pub processes: usize,
    /// Worker threads of each.
    pub workers: usize,
}

impl Shape {
    /// Workers of all processes. Worker indexes are global: those of process 0 first.
    #[must_use]
    pub fn total(self) -> usize {
        self.processes * self.workers
    }

    /// The process that a worker lives in.
    #[must_use]
    pub fn process_of(self, worker: usize) -> usize {
        worker / self.workers
    }

    /// The first worker of a process.
    #[must_use]
    pub fn first_worker(self, process: usize) -> usize {
        process * self.workers
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.processes, self.workers)
    }
}

/// Where each process listens for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// A list of hosts that does not name processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Not an address with a port.
    #[error("`hosts` names `{0}` for process {1}: expected `host:port`")]
    NoPort(String, usize),
    /// Two processes cannot listen on one port.
    #[error("`hosts` gives {0} to two processes")]
    Twice(String),
    /// Another number than there are processes.
    #[error("`hosts` names {named} processes, but `processes` is {processes}")]
    Count {
        /// Addresses.
        named: usize,
        /// Processes.
        processes: usize,
    },
    /// The leader must be found under a known port.
    #[error("`hosts` gives process 0 no port to be found under")]
    NoLeader,
}

impl Hosts {
    /// Reads `a:port,b:port,…`, one for each process. A follower's port may be 0: it takes a free one and tells it.
    ///
    /// # Errors
    /// If an address has no port, comes twice, or there are not as many as processes.
    pub fn parse(text: &str, processes: usize) -> Result<Hosts, HostsError> {
        let named: Vec<String> = text.split(',').map(|host| host.trim().to_owned()).collect();
        if named.len() != processes {
            let named = named.len();
            return Err(HostsError::Count { named, processes });
        }
        for (process, host) in named.iter().enumerate() {
            match host
                .rsplit_once(':')
                .map(|(name, port)| (name, port.parse::<u16>()))
            {
                Some((name, Ok(port))) if !name.is_empty() => {
                    if process == 0 && port == 0 {
                        return Err(HostsError::NoLeader);
                    }
                    if port != 0 && named[..process].contains(host) {
                        return Err(HostsError::Twice(host.clone()));
                    }
                }
                _ => return Err(HostsError::NoPort(host.clone(), process)),
            }
        }
        Ok(Hosts(named))
    }

    /// All processes on this machine: the leader on a known port, the others wherever one is free.
    #[must_use]
    pub fn on_loopback(leader_port: u16, processes: usize) -> Hosts {
        let port = |process| if process == 0 { leader_port } else { 0 };
        Hosts(
            (0..processes)
                .map(|process| format!("127.0.0.1:{}", port(process)))
                .collect(),
        )
    }

    /// Where a process listens, as configured.
    #[must_use]
    pub fn address(&self, process: usize) -> &str {
        &self.0[process]
    }

    /// How the others reach a process that has taken `port`.
    #[must_use]
    pub(super) fn advertised(&self, process: usize, port: u16) -> String {
        let host = self.0[process]
            .rsplit_once(':')
            .map_or("", |(host, _)| host);
        format!("{host}:{port}")
    }

    /// Processes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no process at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn workers_are_numbered_over_all_processes() {
        let shape = Shape {
            processes: 3,
            workers: 2,
        };
        let processes: Vec<usize> = (0..shape.total()).map(|w| shape.process_of(w)).collect();
        assert_eq!(processes, [0, 0, 1, 1, 2, 2]);
        assert_eq!(shape.first_worker(2), 4);
    }

    #[test]
    fn hosts_are_one_address_for_each_process() {
        let hosts = Hosts::parse("127.0.0.2:7000, [::1]:7001,node-c:0", 3).unwrap();
        assert_eq!(hosts.address(1), "[::1]:7001");
        assert_eq!(hosts.advertised(2, 7002), "node-c:7002");
        let wrong = |text: &str| Hosts::parse(text, 2).unwrap_err();
        assert_eq!(
            wrong("a:1"),
            HostsError::Count {
                named: 1,
                processes: 2
            }
        );
        assert_eq!(wrong("a:1,b"), HostsError::NoPort("b".to_owned(), 1));
        assert_eq!(wrong("a:1,:2"), HostsError::NoPort(":2".to_owned(), 1));
        assert_eq!(
            wrong("a:1,b:99999"),
            HostsError::NoPort("b:99999".to_owned(), 1)
        );
        assert_eq!(wrong("a:1,a:1"), HostsError::Twice("a:1".to_owned()));
        assert_eq!(wrong("a:0,b:1"), HostsError::NoLeader);
        assert!(Hosts::parse("a:1,a:0,a:0", 3).is_ok());
    }
}
