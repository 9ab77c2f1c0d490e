//! A supervisor under test: the real binary, over processes that are shell scripts, whose HTTP server is in the test.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use stream_job::dataflow::graph::{Channel, Graph, Operator};
use stream_job::ops::client::Client;
use stream_job::ops::status::{
    CheckpointStatus, OperatorTimes, PartitionStatus, ProcessState, Progress, Status,
};
use stream_job::source::recording::{RecordedTopic, RecordingWriter};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take here.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A process that works until it is asked to drain, or until its savepoint stops it.
pub(crate) const WORKS: &str = "
trap 'echo drained >&2; exit 0' TERM
while :; do
    if [ -e \"$STAGE/stop\" ]; then rm \"$STAGE/stop\"; exit 0; fi
    sleep 0.02
done";

/// What the HTTP server of the processes says.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) status: Arc<Mutex<Status>>,
    /// Status and body that savepoints are answered with; 200 makes one.
    pub(crate) savepoint: Arc<Mutex<(u16, Value)>>,
    pub(crate) healthy: Arc<Mutex<bool>>,
    folder: PathBuf,
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(LIMIT, asking).await;
    answer.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// A folder with a recording, programs, and a place for what they leave behind.
pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) fake: Fake,
    address: SocketAddr,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topic = |name: &str| RecordedTopic {
            name: name.to_owned(),
            topic_id: String::new(),
            partitions: 1,
        };
        let topics = [topic("otlp_spans"), topic("agent.conversations")];
        let recording = RecordingWriter::create(&folder.path().join("recording"), &topics);
        recording.unwrap().finish().unwrap();
        fs::create_dir(folder.path().join("jobs")).unwrap();
        let fake = Fake {
            status: Arc::new(Mutex::new(full_status())),
            savepoint: Arc::new(Mutex::new((200, Value::Null))),
            healthy: Arc::new(Mutex::new(true)),
            folder: folder.path().to_owned(),
        };
        let address = fake.clone().serve().await;
        Self {
            folder,
            fake,
            address,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a program that says where it listens and then does this. It notes its arguments, token and pid.
    pub(crate) fn program(&self, name: &str, does: &str) -> PathBuf {
        let path = self.path(name);
        let script = format!(
            "#!/bin/sh\nSTAGE={}\necho \"$*\" >> \"$STAGE/args\"\necho \"$SPANFLOW_HTTP_TOKEN\" > \"$STAGE/token\"\n\
             echo \"$SPANFLOW_CLUSTER_SECRET\" >> \"$STAGE/secrets\"\n\
             echo $$ >> \"$STAGE/pids\"\necho \"listening on http://{}\"\n{does}\n",
            self.folder.path().display(),
            self.address,
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// As [`Stage::program`], one that never says where it listens: it is never ready.
    pub(crate) fn silent_program(&self, name: &str, does: &str) {
        let path = self.program(name, does);
        let script = fs::read_to_string(&path).unwrap();
        fs::write(&path, script.replace("listening on", "silent on")).unwrap();
    }

    /// Starts a supervisor over processes that do this.
    pub(crate) async fn submit(&self, does: &str, set: &[&str]) -> Supervised {
        self.submit_with(does, set, "").await
    }

    /// As [`Stage::submit`], with a token that callers need.
    pub(crate) async fn submit_with(&self, does: &str, set: &[&str], token: &str) -> Supervised {
        let program = self.program("program", does);
        let mut command = Command::new(env!("CARGO_BIN_EXE_stream-job"));
        command
            .arg("submit")
            .arg("--binary")
            .arg(program)
            .env("SPANFLOW_HTTP_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.path("stderr")).unwrap())
            .kill_on_drop(true);
        let own = [
            format!("recording={}", self.path("recording").display()),
            format!("state_dir={}", self.path("state").display()),
            format!("jobs_dir={}", self.path("jobs").display()),
            "layers=windows".to_owned(),
            "http_listen=127.0.0.1:0".to_owned(),
        ];
        for one in own.iter().map(String::as_str).chain(set.iter().copied()) {
            command.args(["--set", one]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap();
        let url = match said.unwrap() {
            Some(line) => line.strip_prefix("listening on ").unwrap().to_owned(),
            None => String::new(),
        };
        Supervised {
            client: Client::at(&url, token).ok(),
            child,
        }
    }

    /// Lines that the processes left in one of their files.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What the supervisor wrote on standard error.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Waits until so many processes have begun, and gives the pid of the last.
    pub(crate) async fn started(&self, processes: usize) -> u32 {
        let what = format!("{processes} starts; stderr: {}", self.stderr());
        until(&what, async || {
            let pids = self.lines("pids");
            (pids.len() >= processes).then(|| pids[processes - 1].parse().unwrap())
        })
        .await
    }
}

/// A running supervisor.
pub(crate) struct Supervised {
    pub(crate) child: Child,
    client: Option<Client>,
}

impl Supervised {
    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("it said where it listens")
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        // SAFETY: kill has no memory effects, and the number is our child's.
        unsafe { libc::kill(pid, signal) };
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended.expect("the supervisor ends").unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client().get(path).await.unwrap();
        let text = answer.text();
        (
            answer.status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let client = self.client().within(LIMIT);
        let answer = client.post(path, body).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Waits until the job is in a state, and gives its status.
    pub(crate) async fn in_state(&self, state: &str) -> Value {
        until(&format!("the job is {state}"), async || {
            let (_, status) = self.get("/api/v1/status").await;
            (status["state"] == state).then_some(status)
        })
        .await
    }
}

/// Whether a process lives; a zombie does not.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn kill(pid: u32) {
    // SAFETY: kill has no memory effects; the process is one that this test had started.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGKILL) };
}

impl Fake {
    async fn serve(self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(|| async { "ready\n" }))
            .route("/metrics", get(metrics))
            .route("/api/v1/process/status", get(status))
            .route("/api/v1/process/graph", get(graph))
            .route("/api/v1/process/savepoints", post(savepoint))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// A process must be asked with the token that its supervisor gave to it.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let token = fs::read_to_string(self.folder.join("token")).unwrap_or_default();
        let given = headers
            .get("authorization")
            .and_then(|given| given.to_str().ok());
        token.trim().len() == 32 && given == Some(&format!("Bearer {}", token.trim()))
    }
}

async fn healthz(State(fake): State<Fake>) -> Response {
    if *fake.healthy.lock().unwrap() {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the dataflow has not moved\n",
        )
            .into_response()
    }
}

async fn metrics(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    if !fake.allows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    "# HELP spanflow_epoch The newest epoch cut.\n# TYPE spanflow_epoch gauge\nspanflow_epoch 7\n"
        .into_response()
}

async fn status(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    if !fake.allows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(fake.status.lock().unwrap().clone()).into_response()
}

async fn graph(axum::extract::RawQuery(query): axum::extract::RawQuery) -> Response {
    let operator = |id, name: &str| Operator {
        id,
        name: name.to_owned(),
        dataflow: "spans".to_owned(),
    };
    let graph = Graph {
        operators: vec![operator(1, "source"), operator(2, "scan")],
        channels: vec![Channel {
            from: 1,
            to: 2,
            data: "Vec<PartitionBatch>".to_owned(),
        }],
    };
    match query.as_deref() {
        Some("format=text") => graph.text().into_response(),
        Some("format=mermaid") => graph.mermaid().into_response(),
        _ => Json(graph).into_response(),
    }
}

async fn savepoint(State(fake): State<Fake>, Json(asked): Json<Value>) -> Response {
    let (status, body) = fake.savepoint.lock().unwrap().clone();
    if status != 200 {
        return (StatusCode::from_u16(status).unwrap(), Json(body)).into_response();
    }
    if asked["stop"] == true {
        fs::write(fake.folder.join("stop"), "").unwrap();
    }
    let name = asked["name"].as_str().unwrap();
    let made =
        json!({ "name": name, "path": format!("savepoints/{name}"), "epoch": 7, "bytes": 9 });
    Json(made).into_response()
}

/// A status with everything in it.
fn full_status() -> Status {
    let counts = |name: &str| std::collections::BTreeMap::from([(name.to_owned(), 3)]);
    Status {
        version: "9.9.9".to_owned(),
        state: ProcessState::Running,
        ready: true,
        waiting_for: Some("Kafka".to_owned()),
        progress: Progress {
            timeline: Some("00".to_owned()),
            generation: Some(2),
            epoch: 7,
            landed_epoch: 6,
            watermark_ms: Some(5),
            watermark_delay_ms: Some(4),
            checkpoint: Some(CheckpointStatus {
                epoch: 5,
                completed_ms: 1,
                age_ms: 2,
                bytes: 3,
            }),
            partitions: vec![PartitionStatus {
                topic: "otlp_spans".to_owned(),
                lag: Some(1),
                ..PartitionStatus::default()
            }],
            dead_letters: counts("bad_json"),
            rows: counts("dwd_span"),
            state_keys: std::collections::BTreeMap::from([("traces".to_owned(), 3)]),
            insert: stream_job::ops::status::InsertStatus {
                p50_ms: Some(1),
                p99_ms: Some(2),
                ..Default::default()
            },
            ..Progress::default()
        },
        operators: vec![OperatorTimes {
            operator: "source".to_owned(),
            busy_seconds: 1.0,
            blocked_seconds: 1.0,
        }],
        ..Status::default()
    }
}
