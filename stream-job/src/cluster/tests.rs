#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::vec::ToStream as _;

use super::hello::{Assembly, Stage};
use super::*;
use crate::ops::job::Shutdown;

const WORKERS: usize = 2;
/// Longer than any wait that is to succeed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Leader and followers on loopback; only the leader's port is known beforehand.
struct Ring {
    configs: Vec<ClusterConfig>,
    leader: Option<TcpListener>,
    shutdown: Shutdown,
}

impl Ring {
    fn of(processes: usize) -> Ring {
        let leader = TcpListener::bind("127.0.0.1:0").unwrap();
        leader.set_nonblocking(true).unwrap();
        let port = leader.local_addr().unwrap().port();
        let config = |process| ClusterConfig {
            process,
            hosts: Hosts::on_loopback(port, processes),
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
        Ring {
            configs: (0..processes).map(config).collect(),
            leader: Some(leader),
            shutdown: Shutdown::default(),
        }
    }

    fn address(&self) -> String {
        self.configs[0].hosts.address(0).to_owned()
    }

    fn gather(&mut self) -> Gathering {
        self.gather_within(PATIENCE)
    }

    fn gather_within(&mut self, timeout: Duration) -> Gathering {
        let config = ClusterConfig {
            timeout,
            ..self.configs[0].clone()
        };
        let listener = self.leader.take().unwrap();
        Gathering::start(config, listener, self.shutdown.clone()).unwrap()
    }

    /// Starts a follower, changed in one respect.
    fn follow_as(
        &self,
        process: usize,
        change: impl FnOnce(&mut ClusterConfig),
    ) -> std::thread::JoinHandle<Result<Joined, ClusterError>> {
        let mut config = self.configs[process].clone();
        change(&mut config);
        let listener = listen(&config).unwrap();
        let shutdown = self.shutdown.clone();
        std::thread::spawn(move || follow(&config, listener, &shutdown, |_| {}))
    }

    fn follow(&self, process: usize) -> std::thread::JoinHandle<Result<Joined, ClusterError>> {
        self.follow_as(process, |_| {})
    }
}

/// Every worker sends a number to every other; returns what each worker of this process got.
fn exchange(links: Links) -> Vec<u64> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&got);
    let ended = links.execute(move |worker| {
        let (index, peers, into) = (
            worker.index() as u64,
            worker.peers() as u64,
            Arc::clone(&into),
        );
        worker.dataflow::<u64, _, _>(|scope| {
            let numbers = (0..peers).map(move |to| (to, index)).to_stream(scope);
            let exchange =
                timely::dataflow::channels::pact::Exchange::new(|(to, _): &(u64, u64)| *to);
            numbers.sink(exchange, "gather", move |(input, _)| {
                input.for_each(|_, pairs| {
                    let mut into = into.lock().unwrap();
                    into.extend(pairs.drain(..).map(|(to, from)| to * 100 + from));
                });
            });
        });
        Ended::Done
    });
    assert_eq!(ended, Ok(Ended::Done));
    let mut got = Arc::try_unwrap(got).unwrap().into_inner().unwrap();
    got.sort_unstable();
    got
}

#[test]
fn processes_come_together_learn_the_start_and_exchange_data() {
    for processes in [2, 3, 4] {
        let mut ring = Ring::of(processes);
        // The last ones first: the order is of no matter.
        let followers: Vec<_> = (1..processes)
            .rev()
            .map(|process| ring.follow(process))
            .collect();
        let gathering = ring.gather();
        gathering.waits_for("the warehouse");
        let start = |process: usize| vec![process as u8; 300_000];
        let starts = (0..processes).map(start).collect();
        let mut all = vec![gathering.complete(5, starts).unwrap()];
        for follower in followers {
            let joined = follower.join().unwrap().unwrap();
            let own = start(joined.links.process());
            assert_eq!((joined.generation, joined.start), (5, own));
            all.push(joined.links);
        }
        let running: Vec<_> = all
            .into_iter()
            .map(|links| (links.process(), std::thread::spawn(move || exchange(links))))
            .collect();
        let workers = processes * WORKERS;
        for (process, exchanged) in running {
            let own = process * WORKERS..(process + 1) * WORKERS;
            let expected: Vec<u64> = own
                .flat_map(|to| (0..workers).map(move |from| (to * 100 + from) as u64))
                .collect();
            assert_eq!(
                exchanged.join().unwrap(),
                expected,
                "process {process} of {processes}"
            );
        }
    }
}

#[test]
fn one_process_alone_needs_no_links() {
    assert_eq!(exchange(Links::alone(2)), [0, 1, 100, 101]);
}

#[test]
fn a_foreign_process_is_refused_by_name_on_both_sides_and_the_right_one_is_awaited() {
    type Change = fn(&mut ClusterConfig);
    let changes: [(Change, &str); 5] = [
        (
            |it| it.secret = Secret::new("another secret of some").unwrap(),
            "has another secret",
        ),
        (
            |it| it.identity.job = "theirs".to_owned(),
            "job `theirs` connects to job `tests`",
        ),
        (
            |it| it.identity.code_version = "2".to_owned(),
            "code version 2 connects to 1",
        ),
        (
            |it| it.identity.settings_hash = 2,
            "settings that shape rows differ",
        ),
        (|it| it.identity.shape.workers = 9, "2×9 connects to 2×2"),
    ];
    for (change, reason) in changes {
        let mut ring = Ring::of(2);
        let gathering = ring.gather_within(Duration::from_secs(1));
        let refused = ring.follow_as(1, change).join().unwrap().unwrap_err();
        assert!(
            matches!(refused, ClusterError::Refused { process: 0, .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains(reason), "{refused}");
        let missing = gathering.complete(1, Vec::new()).unwrap_err().to_string();
        assert!(
            missing.contains("process 1") && missing.contains(reason),
            "{missing}"
        );

        let mut ring = Ring::of(2);
        let gathering = ring.gather();
        ring.follow_as(1, change).join().unwrap().unwrap_err();
        let right = ring.follow(1);
        gathering.complete(1, Vec::new()).unwrap();
        right.join().unwrap().unwrap();
    }
}

#[test]
fn strangers_that_talk_garbage_or_nothing_at_all_keep_nobody_out() {
    let mut ring = Ring::of(2);
    let gathering = ring.gather();
    // More than are heard at the same time, each with another kind of nothing.
    let mut strangers = Vec::new();
    for number in 0..100_u8 {
        let mut stranger = TcpStream::connect(ring.address()).unwrap();
        match number % 4 {
            0 => {}
            1 => stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
            2 => stranger.write_all(b"SPAN").unwrap(),
            _ => {
                // A frame that claims four gigabytes, after a good preamble.
                let mut bytes = b"SPANFLOW\x00\x01".to_vec();
                bytes.extend([number; 64]);
                bytes.extend([0xff; 4]);
                stranger.write_all(&bytes).unwrap();
            }
        }
        strangers.push(stranger);
    }
    let right = ring.follow(1);
    gathering.complete(1, Vec::new()).unwrap();
    right.join().unwrap().unwrap();
    // Who talked garbage was hung up on, not kept.
    let mut answer = Vec::new();
    strangers[1].set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = strangers[1].read_to_end(&mut answer);
    assert!(
        answer.len() <= 42,
        "more than a preamble for a stranger: {answer:?}"
    );
}

#[test]
fn another_version_of_the_handshake_is_named_on_both_sides() {
    let mut ring = Ring::of(2);
    let gathering = ring.gather_within(Duration::from_secs(1));
    let mut newer = TcpStream::connect(ring.address()).unwrap();
    newer.write_all(b"SPANFLOW\x00\x09").unwrap();
    newer.write_all(&[0; 32]).unwrap();
    let mut answer = [0; 10];
    newer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"SPANFLOW\x00\x01");
    let missing = gathering.complete(1, Vec::new()).unwrap_err().to_string();
    assert!(
        missing.contains("version 9 of the handshake connects to version 1"),
        "{missing}"
    );
}

#[test]
fn who_answers_on_the_leaders_port_without_the_secret_is_not_believed() {
    let mut ring = Ring::of(2);
    let listener = ring.leader.take().unwrap();
    listener.set_nonblocking(false).unwrap();
    let impostor = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 42 + 32];
        stream.write_all(b"SPANFLOW\x00\x01").unwrap();
        stream.write_all(&[1; 32]).unwrap();
        stream.read_exact(&mut hello).unwrap();
        // "Joined", with a proof out of thin air.
        let answer = br#"{"Ok":null}"#;
        stream.write_all(&[2; 32]).unwrap();
        stream
            .write_all(&(answer.len() as u32).to_be_bytes())
            .unwrap();
        stream.write_all(answer).unwrap();
        // It hangs up before the listener goes, so that the reason heard last is its own.
        let _ = stream.read_to_end(&mut Vec::new());
        (stream, listener)
    });
    let follower = ring.follow_as(1, |config| config.timeout = Duration::from_millis(400));
    let error = follower.join().unwrap().unwrap_err();
    assert!(error.is_for_a_restart());
    let said = error.to_string();
    assert!(
        said.contains("process 0") && said.contains("does not"),
        "{said}"
    );
    drop(impostor.join().unwrap());
}

#[test]
fn a_follower_may_come_again_but_no_number_comes_twice() {
    let mut ring = Ring::of(3);
    let gathering = ring.gather();
    let mut lost = ring.configs[1].clone();
    lost.timeout = PATIENCE;
    let stop = Shutdown::default();
    let heard = Arc::new(Mutex::new(false));
    let first = {
        let (stop, heard, listener) = (stop.clone(), Arc::clone(&heard), listen(&lost).unwrap());
        std::thread::spawn(move || {
            follow(&lost, listener, &stop, |_| *heard.lock().unwrap() = true)
        })
    };
    let since = Instant::now();
    while !*heard.lock().unwrap() {
        assert!(
            since.elapsed() < PATIENCE,
            "the first process 1 did not join"
        );
        std::thread::yield_now();
    }
    let twin = ring.follow(1).join().unwrap().unwrap_err().to_string();
    assert!(twin.contains("process 1 is there already"), "{twin}");
    stop.request();
    assert!(matches!(first.join().unwrap(), Err(ClusterError::Stopped)));
    let (again, other) = (ring.follow(1), ring.follow(2));
    gathering.complete(2, Vec::new()).unwrap();
    again.join().unwrap().unwrap();
    other.join().unwrap().unwrap();
}

#[test]
fn a_process_left_over_from_an_older_generation_gets_no_link() {
    let runtime = runtime().unwrap();
    let ring = Ring::of(3);
    let config = ring.configs[1].clone();
    let listener = listen(&config).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let assembly = |generation| Assembly {
        generation,
        token: format!("token {generation}"),
    };
    let addresses = vec![ring.address(), address.clone(), "127.0.0.1:0".to_owned()];
    runtime.block_on(async {
        let door = super::door::Door::open(listener, config.secret.clone()).unwrap();
        let link = |generation| {
            let stage = Stage::Link(assembly(generation));
            super::join::reach(super::join::Call::new(
                &ring.configs[2],
                1,
                address.clone(),
                stage,
            ))
        };
        let others = async {
            let stale = link(6).await.unwrap_err().to_string();
            assert!(
                stale.contains("generation 6 connects to generation 7"),
                "{stale}"
            );
            link(7).await.unwrap()
        };
        let ours = assembly(7);
        let linking = super::join::link_up(&config, door, &ours, &addresses);
        let (linked, _right) = tokio::join!(linking, others);
        assert_eq!(linked.unwrap().into_keys().collect::<Vec<_>>(), [2]);
    });
}

#[test]
fn who_is_missing_is_named_within_the_limit() {
    let limit = Duration::from_millis(200);
    let mut ring = Ring::of(3);
    let gathering = ring.gather_within(limit);
    let here = ring.follow(1);
    let since = Instant::now();
    let missing = gathering.complete(1, Vec::new()).unwrap_err();
    assert!(since.elapsed() < PATIENCE);
    assert!(missing.is_for_a_restart());
    let said = missing.to_string();
    assert!(
        said.contains("process 2 (127.0.0.1:0) did not come"),
        "{said}"
    );
    assert!(said.contains("cluster_timeout"), "{said}");
    // The one that was there hears that the leader has gone.
    let lost = here.join().unwrap().unwrap_err();
    assert!(lost.is_for_a_restart(), "{lost}");

    let ring = Ring::of(2);
    drop(ring.leader);
    let mut alone = ring.configs[1].clone();
    alone.timeout = limit;
    let listener = listen(&alone).unwrap();
    let error = follow(&alone, listener, &ring.shutdown, |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("process 0 at 127.0.0.1:") && error.contains("refused"),
        "{error}"
    );
}

#[test]
fn a_stop_ends_the_waits() {
    let mut ring = Ring::of(2);
    let gathering = ring.gather();
    ring.shutdown.request();
    let stopped = gathering.complete(1, Vec::new());
    assert!(matches!(stopped, Err(ClusterError::Stopped)), "{stopped:?}");
}

#[test]
fn a_taken_port_is_named() {
    let ring = Ring::of(2);
    let error = listen(&ring.configs[0]).unwrap_err().to_string();
    assert!(
        error.starts_with("process 0 cannot listen on 127.0.0.1:"),
        "{error}"
    );
}
