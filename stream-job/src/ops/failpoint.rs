//! Places where a test has the process die, in debug builds alone.
//!
//! `SPANFLOW_FAILPOINT=name` kills the process (SIGKILL) when it first comes to that place, `name:n` when it comes there
//! for the n-th time. `SPANFLOW_SABOTAGE=table` gives the table's blocks other bytes than the code computes. In release
//! builds the calls are empty, and [`check`] refuses the variables.

/// Names a failpoint, and after a colon the hit that kills.
pub const FAILPOINT: &str = "SPANFLOW_FAILPOINT";
/// Names a table whose blocks get other bytes.
pub const SABOTAGE: &str = "SPANFLOW_SABOTAGE";

/// Every failpoint, in the order in which an epoch meets them. Each stands after the step that it is named for, but for
/// `epoch-before-durable` and `insert-body`.
pub const ALL: [&str; 17] = [
    // The log is opened, and says so.
    "generation-taken",
    // One file is deleted that a crash kept from becoming part of a checkpoint.
    "orphan-deleted",
    // A checkpoint's state is in the operators; no epoch has been released.
    "restored",
    "epoch-before-durable",
    "epoch-durable",
    // An epoch's records go to the operators.
    "released",
    "intents-durable",
    // The warehouse has half of what it needs of an INSERT.
    "insert-body",
    // The warehouse has said yes; nobody else knows.
    "insert-answered",
    // On its way to the log, not durable.
    "ack-queued",
    "ops-epoch-landed",
    // One worker's state file is in the store.
    "state-saved",
    "manifest-written",
    "checkpoint-logged",
    // The log may be shortened; what only older checkpoints need is still there.
    "tidy",
    // One segment of the log is deleted.
    "log-pruned",
    // One object of an older checkpoint is deleted.
    "object-deleted",
];

/// Refuses a variable that would have no effect.
///
/// # Errors
/// In words for whoever set it.
pub fn check() -> Result<(), String> {
    if cfg!(not(debug_assertions)) {
        let mut variables = [FAILPOINT, SABOTAGE].into_iter();
        return match variables.find(|variable| std::env::var_os(variable).is_some()) {
            Some(variable) => Err(format!(
                "{variable} is set, and only debug builds have failpoints: build without --release"
            )),
            None => Ok(()),
        };
    }
    std::env::var(FAILPOINT).map_or(Ok(()), |text| parse(&text).map(drop))
}

/// A failpoint's name and the hit that kills.
fn parse(text: &str) -> Result<(&str, u64), String> {
    let (name, hit) = text.split_once(':').unwrap_or((text, "1"));
    if !ALL.contains(&name) {
        return Err(format!(
            "{FAILPOINT} is {text:?}, and there is no such failpoint: choose one of {}",
            ALL.join(", ")
        ));
    }
    match hit.parse() {
        Ok(hit) if hit > 0 => Ok((name, hit)),
        _ => Err(format!(
            "{FAILPOINT} is {text:?}: after the colon comes the number of the hit that kills, from 1"
        )),
    }
}

#[cfg(debug_assertions)]
pub use armed::{hit, is_armed, sabotage};

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var(super::FAILPOINT).ok()?;
        let (name, hit) = super::parse(&text).ok()?;
        Some((name.to_owned(), hit))
    });
    static HITS: AtomicU64 = AtomicU64::new(0);

    /// Kills the process if this is the hit that was asked for.
    pub fn hit(name: &str) {
        debug_assert!(super::ALL.contains(&name), "{name} is in the list");
        let Some((_, wanted)) = ARMED.as_ref().filter(|(armed, _)| armed == name) else {
            return;
        };
        if HITS.fetch_add(1, Ordering::Relaxed) + 1 == *wanted {
            eprintln!("stream-job: killed by failpoint {name}, hit {wanted}");
            // SAFETY: kill has no memory effects; the id is this process's own.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            // The signal is on its way; nothing more may be done meanwhile.
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether this failpoint was asked for.
    #[must_use]
    pub fn is_armed(name: &str) -> bool {
        ARMED.as_ref().is_some_and(|(armed, _)| armed == name)
    }

    /// Changes a block's bytes if its table was asked for.
    pub fn sabotage(table: &str, body: &mut [u8]) {
        static TABLE: LazyLock<Option<String>> =
            LazyLock::new(|| std::env::var(super::SABOTAGE).ok());
        if TABLE.as_deref() == Some(table)
            && let Some(last) = body.last_mut()
        {
            *last ^= 1;
        }
    }
}

/// Does nothing: this is no debug build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Never: this is no debug build.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub fn is_armed(_name: &str) -> bool {
    false
}

/// Does nothing: this is no debug build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn sabotage(_table: &str, _body: &mut [u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_a_name_of_the_list_and_the_hit_that_kills() {
        assert_eq!(parse("released"), Ok(("released", 1)));
        assert_eq!(parse("insert-body:7"), Ok(("insert-body", 7)));
        for bad in ["", "relesed", "released:0", "released:x", "released:"] {
            let error = parse(bad).expect_err("it is refused");
            assert!(error.contains(FAILPOINT), "{error}");
        }
        assert!(parse("x").is_err_and(|error| error.contains("epoch-durable")));
    }

    #[test]
    fn the_docs_say_what_a_restart_does_after_each_failpoint() {
        let docs = include_str!("../../../docs/operations.md");
        let rows: Vec<&str> = docs
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        for name in ALL {
            let named = format!("`{name}`");
            assert!(rows.iter().any(|row| row.contains(&named)), "{name}");
        }
    }
}
