//! The shortest transcript that still shows a difference.

use anyhow::{Result, bail};

use super::Flink;
use super::compare::compare;
use super::transcript::Transcript;

/// Leaves out steps, as many at a time as can be, until no step can be left out. Returns the difference that is left.
///
/// # Errors
/// When the transcript shows no difference, or Flink can't be asked.
pub(super) fn shrink(flink: &Flink, transcript: Transcript) -> Result<(Transcript, String)> {
    let Some(mut shortest) = first_different(flink, vec![transcript])? else {
        bail!("a transcript that differed does so no more: is one of the sides not deterministic?");
    };
    let mut chunk = shortest.0.steps.len() / 2;
    while chunk > 0 {
        let starts = 0..=shortest.0.steps.len().saturating_sub(chunk);
        let candidates = starts.map(|from| without(&shortest.0, from, chunk));
        match first_different(flink, candidates.collect())? {
            Some(shorter) => shortest = shorter,
            None => chunk /= 2,
        }
        chunk = chunk.min(shortest.0.steps.len());
    }
    Ok(shortest)
}

fn without(transcript: &Transcript, from: usize, count: usize) -> Transcript {
    let mut shorter = transcript.clone();
    shorter.steps.drain(from..from + count);
    shorter
}

fn first_different(
    flink: &Flink,
    candidates: Vec<Transcript>,
) -> Result<Option<(Transcript, String)>> {
    let answers = flink.answers(&candidates)?;
    for (candidate, answer) in candidates.into_iter().zip(answers) {
        if let (_, Some(difference)) = compare(&candidate, &answer)? {
            return Ok(Some((candidate, difference)));
        }
    }
    Ok(None)
}
