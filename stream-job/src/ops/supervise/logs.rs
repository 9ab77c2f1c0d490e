//! What the processes of a job write: kept in files that are put aside by size, with the last lines in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use crate::source::wall_ms;

/// Lines kept in memory: what `logs` can show.
const LINES: usize = 5_000;
/// A longer line is cut into pieces.
const LINE_BYTES: usize = 16 << 10;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Number since the supervisor's start.
    pub number: u64,
    /// When it came, ms since 1970.
    pub at_ms: i64,
    /// Who wrote it; `None` is the supervisor.
    pub process: Option<usize>,
    /// The line.
    pub text: String,
}

/// Some lines, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// Lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Number of the next line to come: ask for lines from there on.
    pub next: u64,
}

/// All lines of one job.
#[derive(Debug)]
pub(crate) struct LogBook {
    folder: PathBuf,
    file_bytes: u64,
    files: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<LogLine>,
    next: u64,
    open: BTreeMap<Option<usize>, LogFile>,
    write_failed: bool,
}

impl LogBook {
    /// Opens the folder. A file is put aside at `file_bytes`, and `files` of those put aside are kept.
    pub(crate) fn open(folder: &Path, file_bytes: u64, files: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            file_bytes,
            files,
            inner: Mutex::default(),
        })
    }

    /// Adds a line of a process, or of the supervisor, and repeats it on standard error with its origin.
    pub(crate) fn add(&self, process: Option<usize>, text: &str) {
        match process {
            Some(index) => eprintln!("{index}| {text}"),
            None => tracing::info!("{text}"),
        }
        let at_ms = wall_ms();
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.lines.push_back(LogLine {
            number,
            at_ms,
            process,
            text: text.to_owned(),
        });
        if inner.lines.len() > LINES {
            inner.lines.pop_front();
        }
        if let Err(error) = self.write(&mut inner, process, at_ms, text)
            && !std::mem::replace(&mut inner.write_failed, true)
        {
            let folder = self.folder.display();
            tracing::warn!("log files in {folder}: {error}; the job goes on without them");
        }
    }

    fn write(
        &self,
        inner: &mut Inner,
        process: Option<usize>,
        at_ms: i64,
        text: &str,
    ) -> io::Result<()> {
        let path = self.path(process);
        let line = match process {
            Some(_) => format!("{text}\n"),
            // A process writes the time itself.
            None => format!("{} {text}\n", rfc3339(at_ms)),
        };
        if let Some(file) = inner.open.get(&process)
            && file.bytes > 0
            && file.bytes + line.len() as u64 > self.file_bytes
        {
            inner.open.remove(&process);
            put_aside(&path, self.files)?;
        }
        let file = match inner.open.entry(process) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(LogFile::open(&path)?)
            }
        };
        file.file.write_all(line.as_bytes())?;
        file.bytes += line.len() as u64;
        Ok(())
    }

    /// The file that a process's lines go to now.
    pub(crate) fn path(&self, process: Option<usize>) -> PathBuf {
        self.folder.join(match process {
            Some(index) => format!("process-{index}.log"),
            None => "supervisor.log".to_owned(),
        })
    }

    /// The newest `most` lines, or those from number `from` on; at most what memory holds.
    pub(crate) fn page(&self, from: Option<u64>, most: usize) -> LogPage {
        let inner = self.lock();
        let wanted = |line: &&LogLine| from.is_none_or(|from| line.number >= from);
        let mut lines: Vec<LogLine> = match from {
            Some(_) => inner
                .lines
                .iter()
                .filter(wanted)
                .take(most)
                .cloned()
                .collect(),
            None => inner.lines.iter().rev().take(most).cloned().collect(),
        };
        if from.is_none() {
            lines.reverse();
        }
        let next = lines.last().map_or(inner.next, |line| line.number + 1);
        LogPage { lines, next }
    }

    /// The last line of a process that says something.
    pub(crate) fn last_line(&self, process: usize) -> Option<String> {
        let inner = self.lock();
        let of_it = |line: &&LogLine| line.process == Some(process) && !line.text.trim().is_empty();
        inner
            .lines
            .iter()
            .rev()
            .find(of_it)
            .map(|line| line.text.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct LogFile {
    file: File,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// `x.log` becomes `x.log.1`, that becomes `x.log.2`, and what would be more than `kept` goes.
fn put_aside(path: &Path, kept: usize) -> io::Result<()> {
    let aside = |n: usize| PathBuf::from(format!("{}.{n}", path.display()));
    if kept == 0 {
        return fs::remove_file(path);
    }
    for n in (1..kept).rev().filter(|&n| aside(n).exists()) {
        fs::rename(aside(n), aside(n + 1))?;
    }
    fs::rename(path, aside(1))
}

fn rfc3339(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Calls `each` for every line until the end, what is not UTF-8 replaced, and a line without an end cut.
pub(super) async fn read_lines(mut from: impl AsyncBufRead + Unpin, mut each: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut tell = |line: &mut Vec<u8>| {
        each(String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']));
        line.clear();
    };
    loop {
        let read = match from.fill_buf().await {
            Ok(read) if !read.is_empty() => read,
            // A pipe that breaks is a process that ended: that is noticed elsewhere.
            _ => break,
        };
        let end = read.iter().position(|&byte| byte == b'\n');
        let most = LINE_BYTES - line.len();
        let taken = end.map_or(read.len(), |at| at + 1).min(most);
        line.extend_from_slice(&read[..taken]);
        from.consume(taken);
        if line.ends_with(b"\n") || line.len() >= LINE_BYTES {
            tell(&mut line);
        }
    }
    if !line.is_empty() {
        tell(&mut line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_page_has_the_newest_lines_and_the_next_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path(), 1 << 20, 2).unwrap();
        for text in ["a", "b", "c"] {
            book.add(Some(0), text);
        }
        let page = book.page(None, 2);
        assert_eq!((texts(&page), page.next), (vec!["b", "c"], 3));
        book.add(None, "restarting");
        book.add(Some(1), " ");
        let page = book.page(Some(page.next), 10);
        assert_eq!((texts(&page), page.next), (vec!["restarting", " "], 5));
        assert_eq!(book.last_line(0).as_deref(), Some("c"));
        assert_eq!(book.last_line(1), None);
        assert_eq!(
            book.page(Some(5), 10),
            LogPage {
                lines: vec![],
                next: 5
            }
        );
    }

    #[test]
    fn files_are_put_aside_by_size_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path(), 10, 2).unwrap();
        for n in 1..=9 {
            book.add(Some(0), &format!("line {n}"));
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("process-0.log"), "line 9\n");
        assert_eq!(read("process-0.log.1"), "line 8\n");
        assert_eq!(read("process-0.log.2"), "line 7\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        // A start on the same folder goes on in the same file.
        let book = LogBook::open(folder.path(), 100, 2).unwrap();
        book.add(Some(0), "again");
        assert_eq!(read("process-0.log"), "line 9\nagain\n");
    }

    #[tokio::test]
    async fn lines_come_whole_long_ones_in_pieces_and_bad_bytes_replaced() {
        let mut input = b"one\r\ntw\xffo\n".to_vec();
        input.extend(vec![b'x'; LINE_BYTES + 5]);
        let mut lines = Vec::new();
        read_lines(&input[..], |line| lines.push(line.to_owned())).await;
        assert_eq!(lines[..2], ["one".to_owned(), "tw\u{fffd}o".to_owned()]);
        assert_eq!((lines[2].len(), lines[3].len()), (LINE_BYTES, 5));
    }
}
