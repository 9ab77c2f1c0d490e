//! Holds our windows against Flink's answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::ours;
use super::transcript::{Answer, Done, Fired, Late, Step, Transcript, Window, Windows};

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Firings.
    pub firings: u64,
    /// What windows held when they became final.
    pub finals: u64,
    /// Windows merged away.
    pub merged: u64,
    /// Late elements.
    pub late: u64,
    /// Answers of the job's own windows.
    pub of_job: u64,
}

impl Compared {
    /// Adds another one.
    pub fn add(&mut self, other: Compared) {
        self.firings += other.firings;
        self.finals += other.finals;
        self.merged += other.merged;
        self.late += other.late;
        self.of_job += other.of_job;
    }
}

/// Compares one answer of Flink's with ours. Returns the first difference, in words.
///
/// # Errors
/// When the transcript can't be run.
pub fn compare(transcript: &Transcript, flink: &Answer) -> Result<(Compared, Option<String>)> {
    let mut compared = Compared::default();
    for done in &flink.steps {
        compared.firings += done.fired.len() as u64;
        compared.merged += done.gone.len() as u64;
        compared.late += done.late.len() as u64;
        compared.finals += done.dropped.len() as u64;
    }
    let ours = ours::answer(transcript)?;
    if let Some(difference) = first_difference(transcript, flink, &ours) {
        return Ok((compared, Some(difference)));
    }
    // The job has its own rule of what is late, and no other.
    if transcript.of_job && transcript.late == Late::ByEvent {
        compared.of_job += 1;
        let ours = ours::answer_of_job(transcript)?;
        let difference = first_difference(transcript, flink, &ours);
        return Ok((
            compared,
            difference.map(|text| format!("the job's windows: {text}")),
        ));
    }
    Ok((compared, None))
}

fn first_difference(
    transcript: &Transcript,
    flink: &Answer,
    (ours, finals): &(Answer, Vec<Fired>),
) -> Option<String> {
    if flink.steps.len() != transcript.steps.len() {
        let (told, all) = (flink.steps.len(), transcript.steps.len());
        return Some(format!("Flink answered {told} of {all} steps"));
    }
    for (at, (theirs, mine)) in flink.steps.iter().zip(&ours.steps).enumerate() {
        let theirs = theirs.clone().sorted();
        if theirs != *mine {
            let step = &transcript.steps[at];
            return Some(format!(
                "step {at}, {step:?}:\n  Flink {theirs:?}\n  ours  {mine:?}"
            ));
        }
    }
    let last = last_contents(flink);
    let other = finals
        .iter()
        .find(|fired| last.get(&fired.window) != Some(&&fired.elements))?;
    let theirs = last.get(&other.window);
    Some(format!("final contents: Flink {theirs:?}, ours {other:?}"))
}

/// What each window of Flink's held when it fired last.
fn last_contents(flink: &Answer) -> BTreeMap<&Window, &Vec<u64>> {
    let mut last = BTreeMap::new();
    for Done { fired, gone, .. } in &flink.steps {
        for window in gone {
            last.remove(window);
        }
        let fired = fired.iter().map(|fired| (&fired.window, &fired.elements));
        last.extend(fired);
    }
    last
}

/// Elements that are late by event but not by window: our rule turns them away, and Flink counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesApart {
    /// Late by event.
    pub by_event: u64,
    /// Of these, not late by window.
    pub counted_by_flink: u64,
}

/// Holds Flink's two answers to one transcript against what the rules say of its elements, by arithmetic alone.
///
/// # Errors
/// In words, when an element is late by one rule and should not be.
pub fn rules_apart(
    transcript: &Transcript,
    by_event: &Answer,
    by_window: &Answer,
) -> Result<RulesApart, String> {
    let late = |answer: &Answer| -> BTreeSet<u64> {
        let elements = answer.steps.iter().flat_map(|done| &done.late);
        elements.copied().collect()
    };
    let (late_by_event, late_by_window) = (late(by_event), late(by_window));
    let mut watermark = i64::MIN;
    for step in &transcript.steps {
        let (time, element) = match step {
            Step::Watermark { watermark: next } => {
                watermark = watermark.max(*next);
                continue;
            }
            Step::Element { time, element, .. } => (*time, *element),
        };
        let is_past = |at: i64| watermark == i64::MAX || at + transcript.lateness <= watermark;
        if late_by_event.contains(&element) != is_past(time + 1) {
            return Err(format!(
                "element {element} at watermark {watermark}: late by event?"
            ));
        }
        let ends = ends_of(transcript.windows, time);
        let lives = ends.iter().any(|&end| !is_past(end));
        let should_be_late = is_past(time + 1) && !lives;
        let is_late = late_by_window.contains(&element);
        // A session that is over by itself is not late if it touches one that lives.
        let may_merge = matches!(transcript.windows, Windows::Session { .. });
        if is_late != should_be_late && !(may_merge && should_be_late) {
            return Err(format!(
                "element {element} at watermark {watermark}: late by window?"
            ));
        }
    }
    Ok(RulesApart {
        by_event: late_by_event.len() as u64,
        counted_by_flink: late_by_event.difference(&late_by_window).count() as u64,
    })
}

/// The ends of all windows over a time, one by one.
fn ends_of(windows: Windows, time: i64) -> Vec<i64> {
    let (size, hop, offset) = match windows {
        Windows::Session { gap } => return vec![time + gap],
        Windows::Tumbling { size, offset } => (size, size, offset),
        Windows::Hopping { size, hop, offset } => (size, hop, offset),
    };
    // The first start after `time - size`; those up to `time` follow it.
    let first = offset + ((time - size - offset).div_euclid(hop) + 1) * hop;
    let starts = std::iter::successors(Some(first), |start| Some(start + hop));
    let starts = starts.take_while(|&start| start <= time);
    starts.map(|start| start + size).collect()
}
