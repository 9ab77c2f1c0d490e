//! `make oracle`: random transcripts through our windows and through Apache Flink's operator, with equal results.
//!
//! Every transcript is run by both rules of what is late. By window is Flink's own, so all must be equal. By event is the
//! job's; there Flink's operator is asked to turn away what its own `isElementLate` says, and how the two rules differ is
//! held against plain arithmetic.

mod cases;
mod compare;
mod flink;
mod generate;
mod ours;
mod shrink;
mod transcript;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

pub use compare::{Compared, RulesApart, compare, rules_apart};
pub use flink::{Flink, read_lines};
pub use generate::transcript;
pub use transcript::{Answer, Done, Fired, Late, Step, Transcript, Trigger, Window, Windows};

use crate::paths;

/// What to run.
#[derive(Clone, Debug)]
pub struct OracleOptions {
    /// Transcripts, each by two rules.
    pub transcripts: u64,
    /// Seed of the first one.
    pub seed: u64,
    /// Write the first so many, with Flink's answers, where the tests find them.
    pub record: Option<usize>,
}

/// A transcript and what Flink did with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// The transcript.
    pub transcript: Transcript,
    /// Flink's answer.
    pub flink: Answer,
}

/// Where recorded answers are, for the tests, which have no JVM.
#[must_use]
pub fn corpus_path() -> PathBuf {
    paths::checkout().join("dev/oracle/corpus.jsonl")
}

/// Runs the oracle and prints what it compared. Fails at any difference, with the shortest transcript that shows it.
///
/// # Errors
/// At a difference, or when Flink can't be asked.
pub fn run(options: &OracleOptions) -> Result<()> {
    let flink = Flink::prepare()?;
    let random: Vec<Transcript> = (0..options.transcripts)
        .flat_map(|id| by_both_rules(&generate::transcript(options.seed, id)))
        .collect();
    let cases = cases::transcripts(options.transcripts)?;
    let all: Vec<Transcript> = random.iter().chain(&cases).cloned().collect();
    let answers = flink.answers(&all)?;
    let (answers_to_random, answers_to_cases) = answers.split_at(random.len());
    if let Some(count) = options.record {
        let few = 2 * count.min(random.len() / 2);
        let lines =
            recorded(&cases, answers_to_cases).chain(recorded(&random[..few], answers_to_random));
        flink::write_lines(&corpus_path(), &lines.collect::<Vec<_>>())?;
    }
    let unchanged = check_corpus(&flink, &corpus_path())?;

    let mut total = Compared::default();
    let mut different = Vec::new();
    for (transcript, answer) in all.iter().zip(&answers) {
        let (compared, difference) = compare(transcript, answer)?;
        total.add(compared);
        different.extend(difference.map(|_| transcript));
    }
    let apart = rules_of_all(&random, answers_to_random)?;
    report(options, &random, &total, &apart);
    let (cases, differences) = (cases.len(), different.len());
    println!(
        "oracle: {cases} cases of docs/windows.md among them; {unchanged} recorded answers are still Flink's; {differences} differences"
    );
    let Some(shortest) = different.into_iter().min_by_key(|one| one.steps.len()) else {
        return Ok(());
    };
    let (transcript, difference) = shrink::shrink(&flink, shortest.clone())?;
    let line = serde_json::to_string(&transcript).context("write the transcript")?;
    bail!("{differences} transcripts differ. The shortest that does:\n{line}\n{difference}")
}

fn by_both_rules(transcript: &Transcript) -> [Transcript; 2] {
    [Late::ByWindow, Late::ByEvent].map(|late| Transcript {
        late,
        ..transcript.clone()
    })
}

/// How the two rules differ, over transcripts that come by one rule and then by the other.
fn rules_of_all(transcripts: &[Transcript], answers: &[Answer]) -> Result<RulesApart> {
    let mut total = RulesApart::default();
    for (transcript, answers) in transcripts.iter().step_by(2).zip(answers.chunks_exact(2)) {
        let apart = rules_apart(transcript, &answers[1], &answers[0]).map_err(|text| {
            let id = transcript.id;
            anyhow!("transcript {id}: the rules of what is late differ as they should not: {text}")
        })?;
        total.by_event += apart.by_event;
        total.counted_by_flink += apart.counted_by_flink;
    }
    Ok(total)
}

fn recorded<'a>(
    transcripts: &'a [Transcript],
    answers: &'a [Answer],
) -> impl Iterator<Item = Recorded> + 'a {
    let both = transcripts.iter().zip(answers);
    both.map(|(transcript, flink)| Recorded {
        transcript: transcript.clone(),
        flink: flink.clone(),
    })
}

/// Holds the recorded answers against what Flink says now. Returns how many there are.
fn check_corpus(flink: &Flink, path: &Path) -> Result<usize> {
    let corpus: Vec<Recorded> = read_lines(path)?;
    let asked: Vec<_> = corpus.iter().map(|line| line.transcript.clone()).collect();
    for (recorded, now) in corpus.iter().zip(flink.answers(&asked)?) {
        if recorded.flink != now {
            bail!(
                "{}: Flink answers transcript {} in another way than it was recorded (dev oracle --record N records anew)",
                path.display(),
                now.id,
            );
        }
    }
    Ok(corpus.len())
}

fn report(
    options: &OracleOptions,
    transcripts: &[Transcript],
    total: &Compared,
    apart: &RulesApart,
) {
    let of_kind = |is: fn(&Windows) -> bool| {
        let kinds = transcripts.iter().map(|transcript| transcript.windows);
        kinds.filter(is).count() / 2
    };
    println!(
        "oracle: {} transcripts from seed {} (tumbling {}, hopping {}, session {}), each by 2 rules of what is late, {} steps",
        options.transcripts,
        options.seed,
        of_kind(|windows| matches!(windows, Windows::Tumbling { .. })),
        of_kind(|windows| matches!(windows, Windows::Hopping { .. })),
        of_kind(|windows| matches!(windows, Windows::Session { .. })),
        transcripts.iter().map(|t| t.steps.len()).sum::<usize>(),
    );
    println!(
        "oracle: compared with Apache Flink {}: {} firings, {} final contents, {} merged windows, {} late elements; {} runs of the job's own windows",
        flink::VERSION,
        total.firings,
        total.finals,
        total.merged,
        total.late,
        total.of_job,
    );
    println!(
        "oracle: late by event {}, of which Flink by itself counts {} in a window that is not final, as it should",
        apart.by_event, apart.counted_by_flink,
    );
}
