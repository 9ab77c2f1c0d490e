//! Starts `warehouse serve` on a free port over a folder of its own, and speaks plain HTTP to it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running `warehouse serve`; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    pub folder: TempDir,
}

/// A response, with header names in lowercase.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body ended as HTTP says it must.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warehouse"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments);
    command.env_remove("CLICKHOUSE_TOKEN");
    command
}

/// Reads the line that says where the server listens.
pub fn listening(child: &mut Child) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim()
        .strip_prefix("listening on http://")
        .map(|address| address.parse().unwrap())
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(folder.path(), arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let address = listening(&mut child).expect(
            "warehouse serve did not start; is the engine there? `warehouse fetch` installs it",
        );
        Self {
            child,
            address,
            folder,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a statement that has to succeed; returns the result.
    pub fn sql(&self, sql: &str) -> String {
        let answer = self.post("", sql.as_bytes());
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.text().trim_end().to_owned()
    }

    pub fn post(&self, parameters: &str, body: &[u8]) -> Answer {
        self.request("POST", &format!("/?{parameters}"), &[], body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut connection = self.connect();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        answer(&mut connection)
    }

    pub fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.address).unwrap();
        connection
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        connection
    }

    /// Waits until `sql` gives `expected`, for at most 10 s.
    pub fn eventually(&self, sql: &str, expected: &str) {
        let started = Instant::now();
        loop {
            let found = self.sql(sql);
            if found == expected {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{sql}: {found} instead of {expected}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A table with a deduplication window, in database `t`.
    pub fn table(&self, name: &str, columns: &str) {
        self.sql("CREATE DATABASE IF NOT EXISTS t");
        self.sql(&format!(
            "CREATE TABLE t.{name} ({columns}) ENGINE = MergeTree ORDER BY tuple() \
             SETTINGS non_replicated_deduplication_window = 1000"
        ));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a whole response; a chunked body is put together.
pub fn answer(connection: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that aborts shows as an error here; what came before is what counts.
    let _ = connection.read_to_end(&mut bytes);
    let head_end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a response head")
        + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let raw = &bytes[head_end..];
    let (body, whole) = match headers.get("transfer-encoding").map(String::as_str) {
        Some("chunked") => unchunked(raw),
        _ => {
            let length = headers
                .get("content-length")
                .map_or(raw.len(), |length| length.parse().unwrap());
            (raw.to_vec(), raw.len() == length)
        }
    };
    Answer {
        status,
        headers,
        body,
        whole,
    }
}

fn unchunked(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        raw = &raw[end + 2..];
        if size == 0 {
            return (body, true);
        }
        if raw.len() < size + 2 {
            body.extend_from_slice(raw);
            break;
        }
        body.extend_from_slice(&raw[..size]);
        raw = &raw[size + 2..];
    }
    (body, false)
}

/// The folder of the client tests in other languages.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join("clients")
}
