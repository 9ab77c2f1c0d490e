//! The processes of one start of the job.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::select_all;
use tokio::io::BufReader;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::logs::{LogBook, read_lines};
use super::policy::{End, How};
use crate::ops::job::exit;
use crate::ops::process_api::{LISTENING, TOKEN_VARIABLE};

/// How long the others of a process that failed may take to notice and end by themselves.
const NOTICE_LIMIT: Duration = Duration::from_secs(3);
/// How long the last lines of an ended process may take to be read. What it has started may hold the pipe open.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(1);

/// What is started: the program and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its settings file.
    pub(crate) settings: Option<PathBuf>,
    /// Further flags of `run`.
    pub(crate) flags: Vec<OsString>,
    /// Further variables of its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Processes.
    pub(crate) processes: usize,
}

impl Launch {
    /// The command line of one process. `once` holds what only this start is told, such as `--from`.
    fn arguments(&self, process: usize, once: &[OsString]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["run".into()];
        if let Some(settings) = &self.settings {
            arguments.extend(["--settings".into(), settings.clone().into()]);
        }
        arguments.extend(self.flags.iter().chain(once).cloned());
        // A flag goes before the environment and the file: each process takes a port of its own, for the supervisor alone.
        arguments.extend(["--set".into(), "http_listen=127.0.0.1:0".into()]);
        if self.processes > 1 {
            arguments.extend(["--process".into(), process.to_string().into()]);
        }
        arguments
    }
}

/// Where a process is reached.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Its index in the job.
    pub(crate) process: usize,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its HTTP server, once it has said where.
    pub(crate) address: Arc<OnceLock<SocketAddr>>,
}

struct Member {
    endpoint: Endpoint,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    ended: bool,
}

/// Running processes. Dropping kills them.
pub(crate) struct Crew {
    members: Vec<Member>,
    ends: Vec<End>,
    logs: Arc<LogBook>,
}

impl Crew {
    /// Starts every process. **Call it on the main thread**: the kernel kills a child when the *thread* that started it
    /// ends, and the main thread lives as long as the process.
    ///
    /// # Errors
    /// The program can't be started; none is left running then.
    pub(crate) fn start(
        launch: &Launch,
        once: &[OsString],
        token: &str,
        logs: &Arc<LogBook>,
    ) -> io::Result<Self> {
        let mut crew = Self {
            members: Vec::new(),
            ends: Vec::new(),
            logs: Arc::clone(logs),
        };
        for process in 0..launch.processes {
            crew.members
                .push(Member::start(launch, once, process, token, logs)?);
        }
        Ok(crew)
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.members.iter().map(|m| m.endpoint.clone()).collect()
    }

    /// Waits for the end of one more process, `None` when all have ended. May be dropped and called again.
    pub(crate) async fn next_end(&mut self) -> Option<&End> {
        let running = self.members.iter_mut().filter(|member| !member.ended);
        let waits: Vec<_> = running
            .map(|member| Box::pin(async move { (member.child.wait().await, member) }))
            .collect();
        if waits.is_empty() {
            return None;
        }
        let ((status, member), ..) = select_all(waits).await;
        let how = status.map_or(How::Code(exit::FAILED), how);
        let process = member.endpoint.process;
        // Its last words are in the pipe when it ends. A caller that turns to something else meanwhile asks again: until
        // they are read, it has not ended.
        let readers = member
            .readers
            .iter_mut()
            .filter(|reader| !reader.is_finished());
        let _ = timeout(LAST_LINES_LIMIT, futures_util::future::join_all(readers)).await;
        member.readers.clear();
        member.ended = true;
        self.ends.push(End {
            process,
            how,
            last_line: self.logs.last_line(process),
        });
        self.ends.last()
    }

    /// Waits until all have ended by themselves; what has not within `limit` is killed.
    pub(crate) async fn all_ended(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while let Ok(Some(_)) = timeout_at(deadline, self.next_end()).await {}
        self.kill().await;
    }

    /// Ends all because one has failed: the others notice it themselves, and say by their exit codes what they think.
    pub(crate) async fn end_after_failure(&mut self) {
        self.all_ended(NOTICE_LIMIT).await;
    }

    /// Kills all that still run (SIGKILL).
    pub(crate) async fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        while self.next_end().await.is_some() {}
    }

    /// Sends a signal to all that still run.
    pub(crate) fn signal(&self, signal: i32) {
        for member in self.members.iter().filter(|member| !member.ended) {
            // A child that has ended and is not reaped yet keeps its number.
            if let Some(pid) = member.child.id().and_then(|pid| i32::try_from(pid).ok()) {
                // SAFETY: kill has no memory effects, and the number is our child's.
                unsafe { libc::kill(pid, signal) };
            }
        }
    }

    /// Counts a process that never ran.
    pub(crate) fn add_end(&mut self, end: End) {
        self.ends.push(end);
    }

    /// How the processes ended, in that order.
    pub(crate) fn ends(&self) -> &[End] {
        &self.ends
    }
}

impl Member {
    fn start(
        launch: &Launch,
        once: &[OsString],
        process: usize,
        token: &str,
        logs: &Arc<LogBook>,
    ) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command
            .args(launch.arguments(process, once))
            .envs(launch.environment.iter().cloned())
            .env(TOKEN_VARIABLE, token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C goes to the supervisor alone, which passes it on once.
            .process_group(0)
            .kill_on_drop(true);
        end_with_this_process(&mut command);
        let mut child = command.spawn()?;
        let address = Arc::new(OnceLock::new());
        let endpoint = Endpoint {
            process,
            pid: child.id().unwrap_or_default(),
            address: Arc::clone(&address),
        };
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let logs = Arc::clone(logs);
            readers.push(tokio::spawn(async move {
                let hear = |line: &str| match heard_address(line) {
                    Some(heard) => drop(address.set(heard)),
                    None => logs.add(Some(process), line),
                };
                read_lines(BufReader::new(stdout), hear).await;
            }));
        }
        if let Some(stderr) = child.stderr.take() {
            let logs = Arc::clone(logs);
            readers.push(tokio::spawn(async move {
                read_lines(BufReader::new(stderr), |line| logs.add(Some(process), line)).await;
            }));
        }
        Ok(Self {
            endpoint,
            child,
            readers,
            ended: false,
        })
    }
}

fn heard_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix(LISTENING)?.trim().parse().ok()
}

fn how(status: ExitStatus) -> How {
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Code(u8::try_from(code).unwrap_or(exit::FAILED)),
        (None, Some(signal)) => How::Signal(signal),
        (None, None) => How::Code(exit::FAILED),
    }
}

/// Has the kernel kill the child when its parent ends, however that ends.
#[cfg(target_os = "linux")]
fn end_with_this_process(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the call above took effect.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_process(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_of_several_is_told_which_it_is() {
        let mut launch = Launch {
            program: "stream-job".into(),
            settings: Some("job.toml".into()),
            flags: vec!["--set".into(), "workers=2".into()],
            environment: Vec::new(),
            processes: 1,
        };
        let line = |launch: &Launch, once: &[OsString]| {
            let arguments = launch.arguments(0, once);
            arguments
                .join(" ".as_ref())
                .into_string()
                .unwrap_or_default()
        };
        assert_eq!(
            line(&launch, &["--from".into(), "savepoints/s".into()]),
            "run --settings job.toml --set workers=2 --from savepoints/s --set http_listen=127.0.0.1:0"
        );
        launch.processes = 2;
        assert!(line(&launch, &[]).ends_with(" --process 0"));
    }

    #[test]
    fn an_address_is_heard_only_where_one_is_said() {
        let said = heard_address("listening on http://127.0.0.1:40123");
        assert_eq!(said, Some(([127, 0, 0, 1], 40123).into()));
        for line in [
            "listening on http://",
            "it is listening on http://127.0.0.1:1",
            "",
        ] {
            assert_eq!(heard_address(line), None, "{line}");
        }
    }
}
