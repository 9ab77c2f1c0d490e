//! Where blocks go: a ClickHouse over HTTP, and what its errors mean.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use clickhouse::error::Error;

/// How often at most a wait is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Pauses between attempts, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The warehouse's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// URL of the HTTP interface.
    pub url: String,
    /// Database.
    pub database: String,
    /// User, `default` where the server has no others.
    pub user: String,
    /// Token, the user's password; empty where none is asked for.
    pub token: String,
    /// Whether bodies are compressed with lz4: for slow networks only.
    pub lz4: bool,
}

impl Target {
    /// A client; nothing is sent yet.
    #[must_use]
    pub fn client(&self) -> clickhouse::Client {
        let compression = if self.lz4 {
            clickhouse::Compression::Lz4
        } else {
            clickhouse::Compression::None
        };
        let client = clickhouse::Client::default()
            .with_url(&self.url)
            .with_database(&self.database)
            .with_compression(compression);
        if self.token.is_empty() && self.user == "default" {
            return client;
        }
        client.with_user(&self.user).with_password(&self.token)
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can pass: try again, with the same bytes and the same token.
    Retry,
    /// It can't: stop.
    Stop,
}

/// ClickHouse codes that no waiting heals. Any other one is taken for passing, reported, and retried: a job that waits
/// loses nothing.
const STOP_CODES: [u32; 36] = [
    6,   // CANNOT_PARSE_TEXT
    7,   // INCORRECT_NUMBER_OF_COLUMNS
    8,   // THERE_IS_NO_COLUMN
    10,  // NOT_FOUND_COLUMN_IN_BLOCK
    15,  // DUPLICATE_COLUMN
    16,  // NO_SUCH_COLUMN_IN_TABLE
    20,  // NUMBER_OF_COLUMNS_DOESNT_MATCH
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    36,  // BAD_ARGUMENTS
    43,  // ILLEGAL_TYPE_OF_ARGUMENT
    44,  // ILLEGAL_COLUMN
    46,  // UNKNOWN_FUNCTION
    47,  // UNKNOWN_IDENTIFIER
    48,  // NOT_IMPLEMENTED
    50,  // UNKNOWN_TYPE
    53,  // TYPE_MISMATCH
    60,  // UNKNOWN_TABLE
    62,  // SYNTAX_ERROR
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    73,  // UNKNOWN_FORMAT
    81,  // UNKNOWN_DATABASE
    115, // UNKNOWN_SETTING
    117, // INCORRECT_DATA
    131, // TOO_LARGE_STRING_SIZE
    164, // READONLY
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    452, // SETTING_CONSTRAINT_VIOLATION
    469, // VIOLATED_CONSTRAINT
    491, // ACCESS_ENTITY_NOT_FOUND
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
    637, // NOT_ENOUGH_PRIVILEGES in older servers
];

/// What to do about an error of the client.
#[must_use]
pub fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Network(_) | Error::TimedOut => Verdict::Retry,
        Error::BadResponse(message) => match error_code(message) {
            Some(code) if STOP_CODES.contains(&code) => Verdict::Stop,
            // No code: a proxy's or a gateway's own answer.
            _ => Verdict::Retry,
        },
        // An answer cut off by a dying server; the rest are mistakes of ours.
        Error::NotEnoughData | Error::Decompression(_) | Error::Other(_) => Verdict::Retry,
        _ => Verdict::Stop,
    }
}

/// ClickHouse's error code in a message that starts with `Code: NN.`, wherever a gateway may have put it.
#[must_use]
pub fn error_code(message: &str) -> Option<u32> {
    let (_, after) = message.split_once("Code: ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Pauses that double up to a limit.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Pauses {
        Pauses { next: FIRST_PAUSE }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    reported: Option<Instant>,
}

/// Reports that the warehouse is waited for, now and then however many wait, and that the wait is over.
#[derive(Debug)]
pub(crate) struct WaitReport {
    url: String,
    wait: Mutex<Option<Wait>>,
}

impl WaitReport {
    pub(crate) fn new(url: &str) -> WaitReport {
        WaitReport {
            url: url.to_owned(),
            wait: Mutex::new(None),
        }
    }

    /// Something failed and will be tried again.
    pub(crate) fn waiting(&self, for_what: &str, error: &Error) {
        let mut wait = self.lock();
        let wait = wait.get_or_insert_with(|| Wait {
            since: Instant::now(),
            reported: None,
        });
        if wait.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return;
        }
        wait.reported = Some(Instant::now());
        tracing::warn!(
            "waiting for the warehouse at {} since {:.1} s, to {for_what}: {error}. Nothing is lost; trying again \
             until it answers",
            self.url,
            wait.since.elapsed().as_secs_f64(),
        );
    }

    /// Something succeeded.
    pub(crate) fn over(&self) {
        if let Some(wait) = self.lock().take() {
            let seconds = wait.since.elapsed().as_secs_f64();
            tracing::info!(
                "the warehouse at {} answers again after {seconds:.1} s",
                self.url
            );
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Wait>> {
        // The value is replaced whole, so a panic elsewhere left it sound.
        self.wait
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_waiting_heals_are_told_from_those_it_does_not() {
        let cases = [
            (
                "Code: 60. DB::Exception: Unknown table expression 'x'",
                Verdict::Stop,
            ),
            ("Code: 53. DB::Exception: Type mismatch", Verdict::Stop),
            (
                "Code: 516. DB::Exception: default: Authentication failed",
                Verdict::Stop,
            ),
            (
                "Code: 241. DB::Exception: Memory limit exceeded",
                Verdict::Retry,
            ),
            ("Code: 252. DB::Exception: Too many parts", Verdict::Retry),
            ("Code: 999999. DB::Exception: of the future", Verdict::Retry),
            ("502 Bad Gateway", Verdict::Retry),
        ];
        for (message, expected) in cases {
            assert_eq!(
                verdict(&Error::BadResponse(message.to_owned())),
                expected,
                "{message}"
            );
        }
        assert_eq!(verdict(&Error::TimedOut), Verdict::Retry);
        assert_eq!(verdict(&Error::Unsupported(String::new())), Verdict::Stop);
    }

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let mut pauses = Pauses::new();
        let seconds: Vec<f64> = (0..8).map(|_| pauses.next().as_secs_f64()).collect();
        assert_eq!(seconds, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]);
    }
}
