//! Several real processes running one dataflow, and what becomes of them when one is killed.
//!
//! Each process is this test binary again, with [`PROCESS`] in its environment.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stream_job::cluster::{
    ClusterConfig, Ended, Gathering, Hosts, Identity, Links, Secret, Shape, follow, listen,
};
use stream_job::ops::job::{Shutdown, exit};
use stream_job::ops::panics;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Exchange as _, Inspect as _, Probe as _};

const PROCESS: &str = "SPANFLOW_TEST_PROCESS";
const HOSTS: &str = "SPANFLOW_TEST_HOSTS";
const ROLE: &str = "SPANFLOW_TEST_ROLE";
const WORKERS: usize = 2;
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a process of the tests behaves once it has heard from every worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It ends its input; all end with 0.
    Ends,
    /// It goes on until it is killed.
    GoesOn,
    /// It gives up.
    GivesUp,
}

const ROLES: [(&str, Role); 3] = [
    ("ends", Role::Ends),
    ("goes-on", Role::GoesOn),
    ("gives-up", Role::GivesUp),
];

/// Not a test: what the other tests start. Under the test runner it has nothing to do.
#[test]
fn process_of_a_cluster() {
    let Ok(process) = std::env::var(PROCESS) else {
        return;
    };
    panics::end_the_process();
    let role = std::env::var(ROLE).unwrap();
    let role = ROLES.iter().find(|(name, _)| *name == role).unwrap().1;
    let links = come_together(process.parse().unwrap(), &std::env::var(HOSTS).unwrap());
    match run(links, role) {
        Ended::Done => {}
        Ended::GaveUp => std::process::exit(exit::FAILED.into()),
    }
}

fn come_together(process: usize, hosts: &str) -> Links {
    let processes = hosts.split(',').count();
    let config = ClusterConfig {
        process,
        hosts: Hosts::parse(hosts, processes).unwrap(),
        secret: Secret::new("the secret of the tests").unwrap(),
        identity: Identity {
            job: "tests".to_owned(),
            code_version: "1".to_owned(),
            settings_hash: 1,
            shape: Shape {
                processes,
                workers: WORKERS,
            },
        },
        timeout: PATIENCE,
    };
    let listener = listen(&config).unwrap();
    let shutdown = Shutdown::default();
    if process == 0 {
        let gathering = Gathering::start(config, listener, shutdown).unwrap();
        let starts = vec![b"start".to_vec(); processes];
        return gathering.complete(3, starts).unwrap();
    }
    let joined = follow(&config, listener, &shutdown, |_| {}).unwrap();
    assert_eq!(
        (joined.generation, joined.start.as_slice()),
        (3, b"start".as_slice())
    );
    joined.links
}

/// Every worker sends its number to every other, round after round, until the roles say otherwise.
fn run(links: Links, role: Role) -> Ended {
    let heard: Arc<Mutex<BTreeSet<(usize, usize)>>> = Arc::default();
    let expected = WORKERS * links.shape().total();
    let work = move |worker: &mut timely::worker::Worker| {
        let (index, peers, into) = (worker.index(), worker.peers(), Arc::clone(&heard));
        let mut input = InputHandle::new();
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            scope
                .input_from(&mut input)
                .exchange(|(to, _): &(usize, usize)| *to as u64)
                .inspect(move |pair: &(usize, usize)| {
                    let mut into = into.lock().unwrap();
                    if into.insert(*pair) && into.len() == expected {
                        println!("heard from all");
                    }
                })
                .probe()
                .0
        });
        let mut told = false;
        for round in 0_u64.. {
            (0..peers).for_each(|to| input.send((to, index)));
            input.advance_to(round + 1);
            while probe.less_than(&(round + 1)) {
                worker.step_or_park(Some(Duration::from_millis(10)));
            }
            told |= heard.lock().unwrap().len() == expected;
            match role {
                Role::Ends if told => return Ended::Done,
                Role::GivesUp if told => return Ended::GaveUp,
                _ => {}
            }
        }
        unreachable!("rounds do not end");
    };
    links.execute(work).unwrap()
}

struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(process: usize, hosts: &str, role: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "process_of_a_cluster",
                "--nocapture",
                "--test-threads=1",
            ])
            .envs([
                (PROCESS, process.to_string().as_str()),
                (HOSTS, hosts),
                (ROLE, role),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, output }
    }

    /// Waits until its workers have heard from every worker there is.
    fn await_data(&mut self) {
        let mut line = String::new();
        while !line.contains("heard from all") {
            line.clear();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended: {:?}", self.end());
        }
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (status, said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or a failed test leaves it behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hosts_on(addresses: &[&str]) -> String {
    let held: Vec<TcpListener> = addresses
        .iter()
        .map(|address| TcpListener::bind((*address, 0)).unwrap())
        .collect();
    let hosts: Vec<String> = held
        .iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect();
    hosts.join(",")
}

/// Starts processes and waits until each has data of all.
fn start_all(hosts: &str, roles: &[&str]) -> Vec<Process> {
    let mut all: Vec<Process> = roles
        .iter()
        .enumerate()
        .map(|(process, role)| Process::start(process, hosts, role))
        .collect();
    all.iter_mut().for_each(Process::await_data);
    all
}

fn assert_lost(process: &mut Process, peer: usize, hosts: &str) {
    let (status, said) = process.end();
    assert_eq!(status.code(), Some(exit::PEER_LOST.into()), "{said}");
    let address = hosts.split(',').nth(peer).unwrap();
    assert!(
        said.contains(&format!("process {peer} at {address} is lost")),
        "{said}"
    );
    assert!(
        said.contains("all processes restart from the checkpoint"),
        "{said}"
    );
}

#[test]
fn processes_at_several_addresses_exchange_data_and_end_together() {
    for addresses in [
        vec!["127.0.0.2", "127.0.0.3"],
        vec!["127.0.0.1", "127.0.0.2", "127.0.0.3"],
    ] {
        let hosts = hosts_on(&addresses);
        for mut process in start_all(&hosts, &vec!["ends"; addresses.len()]) {
            let (status, said) = process.end();
            assert!(status.success(), "{status}: {said}");
        }
    }
}

#[test]
fn a_killed_process_ends_the_others_with_a_code_and_a_name() {
    for (processes, victim) in [(2, 1), (2, 0), (3, 2), (3, 0)] {
        let hosts = hosts_on(&vec!["127.0.0.1"; processes]);
        let mut all = start_all(&hosts, &vec!["goes-on"; processes]);
        let mut dead = all.remove(victim);
        // SIGKILL.
        dead.child.kill().unwrap();
        dead.child.wait().unwrap();
        // A survivor may see another survivor end before it sees that the first is gone; one names the first.
        let ends: Vec<(ExitStatus, String)> = all.iter_mut().map(Process::end).collect();
        for (status, said) in &ends {
            assert_eq!(status.code(), Some(exit::PEER_LOST.into()), "{said}");
            assert!(
                said.contains("is lost") && said.contains("all processes restart"),
                "{said}"
            );
        }
        let address = hosts.split(',').nth(victim).unwrap();
        let name = format!("process {victim} at {address} is lost");
        assert!(
            ends.iter().any(|(_, said)| said.contains(&name)),
            "{ends:?}"
        );
    }
}

#[test]
fn a_process_that_gives_up_ends_with_its_own_code_and_takes_the_others_along() {
    let hosts = hosts_on(&["127.0.0.1", "127.0.0.1"]);
    let mut all = start_all(&hosts, &["goes-on", "gives-up"]);
    let (status, said) = all[1].end();
    assert_eq!(status.code(), Some(exit::FAILED.into()), "{said}");
    assert_lost(&mut all[0], 1, &hosts);
}
