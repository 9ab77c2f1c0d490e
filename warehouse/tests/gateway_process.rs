//! `warehouse serve` as a process: its start, its limits and its end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod gateway_support;

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use gateway_support::{Server, answer, command, listening};

fn refused(arguments: &[&str], data: &std::path::Path) -> String {
    let Output { status, stderr, .. } = command(data, arguments).output().unwrap();
    assert!(!status.success());
    String::from_utf8_lossy(&stderr).into_owned()
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_warehouse");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let run = std::process::Command::new(binary)
            .args(["serve", "--listen", listen, "--data"])
            .arg(folder.path().join("none"))
            .env_remove("CLICKHOUSE_TOKEN")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(
            !run.status.success() && text.contains("without a token") && text.contains("--token"),
            "{text}"
        );
    }
    assert!(
        !folder.path().join("none").exists(),
        "the folder was touched before the check"
    );
}

#[test]
fn a_folder_in_use_is_refused_with_the_pid_that_has_it() {
    let server = Server::start(&[]);
    let text = refused(&[], server.folder.path());
    assert!(
        text.contains(&format!("in use by process {}", server.child.id())),
        "{text}"
    );
}

#[test]
fn a_port_in_use_and_a_missing_library_are_said() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_warehouse"))
        .args(["serve", "--listen", &server.address.to_string(), "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        text.contains("can't listen on") && text.contains("--listen"),
        "{text}"
    );
    let text = refused(&["--library", "/nonexistent/libchdb.so"], folder.path());
    assert!(text.contains("warehouse fetch"), "{text}");
}

#[test]
fn data_are_there_after_a_kill_and_the_folder_is_free() {
    let mut server = Server::start(&[]);
    server.table("kept", "a UInt32");
    assert_eq!(
        server
            .post("query=INSERT+INTO+t.kept+FORMAT+TSV", b"1\n2\n")
            .status,
        200
    );
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let mut again = command(server.folder.path(), &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.address = listening(&mut again).unwrap();
    server.child = again;
    assert_eq!(server.sql("SELECT count() FROM t.kept"), "2");
}

#[test]
fn sigterm_lets_a_running_query_finish_and_then_ends_cleanly() {
    let mut server = Server::start(&[]);
    let mut connection = server.connect();
    let sql = "SELECT sleep(1.5), 'done'";
    write!(
        connection,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(400));
    terminate(&server);
    let started = Instant::now();
    let finished = answer(&mut connection);
    assert!(finished.text().ends_with("done\n"), "{}", finished.text());
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn sigterm_does_not_wait_for_ever() {
    let mut server = Server::start(&["--shutdown-timeout-ms", "500"]);
    let mut connection = server.connect();
    let sql = "SELECT sum(number) FROM system.numbers";
    write!(
        connection,
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(400));
    terminate(&server);
    let started = Instant::now();
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

fn terminate(server: &Server) {
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(
        unsafe { libc::kill(server.child.id() as i32, libc::SIGTERM) },
        0
    );
}

#[test]
fn a_query_ends_when_its_client_goes_away() {
    let server = Server::start(&[]);
    for sql in [
        "SELECT sum(number) FROM system.numbers",
        "SELECT number FROM system.numbers",
        "SELECT count() FROM system.numbers FORMAT JSON",
    ] {
        let mut connection = server.connect();
        write!(
            connection,
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{sql}",
            sql.len()
        )
        .unwrap();
        server.eventually("SELECT count() FROM system.processes", "2");
        drop(connection);
        server.eventually("SELECT count() FROM system.processes", "1");
    }
}

#[test]
fn a_cancelled_query_says_so() {
    let server = Server::start(&[]);
    std::thread::scope(|scope| {
        let query = scope.spawn(|| server.post("", b"SELECT sum(number) FROM system.numbers"));
        server.eventually(
            "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum%'",
            "1",
        );
        server.sql("KILL QUERY WHERE query LIKE 'SELECT sum%' ASYNC");
        let cancelled = query.join().unwrap();
        assert_eq!(cancelled.status, 500);
        assert!(
            cancelled
                .text()
                .starts_with("Code: 394. DB::Exception: Query was cancelled"),
            "{}",
            cancelled.text()
        );
    });
}

#[test]
fn the_memory_cap_fails_the_query_and_not_the_server() {
    let server = Server::start(&["--max-memory-bytes", "900000000"]);
    let large = server.post(
        "",
        b"SELECT length(groupArray(number)) FROM numbers(300000000)",
    );
    assert!(large.text().starts_with("Code: 241."), "{}", large.text());
    assert!(
        large.text().contains("memory limit exceeded"),
        "{}",
        large.text()
    );
    assert_eq!(server.sql("SELECT 1"), "1");
}

#[test]
fn too_many_queries_are_told_to_come_again() {
    let server = Server::start(&[
        "--max-queries",
        "1",
        "--max-waiting",
        "1",
        "--max-wait-ms",
        "300",
    ]);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| server.post("", b"SELECT sleep(2)"));
        std::thread::sleep(Duration::from_millis(500));
        let busy = server.post("", b"SELECT 1");
        assert_eq!(busy.status, 503, "{}", busy.text());
        assert!(
            busy.text().starts_with("Code: 202.") && busy.text().contains("1 connections"),
            "{}",
            busy.text()
        );
        assert_eq!(long.join().unwrap().status, 200);
    });
    assert_eq!(server.sql("SELECT 1"), "1");
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let server = Server::start(&["--max-queries", "4"]);
    std::thread::scope(|scope| {
        for client in 0..16_u32 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..10 {
                    let sql = format!("SELECT {client}, {round}, sum(number) FROM numbers(1000)");
                    assert_eq!(server.sql(&sql), format!("{client}\t{round}\t499500"));
                    // Its connection is closed for its setting while the result is still under way.
                    let long = server.post("max_threads=2", b"SELECT number FROM numbers(100000)");
                    assert_eq!(long.body.len(), 588_890);
                    assert!(long.body.ends_with(b"\n99999\n"));
                }
            });
        }
    });
}
