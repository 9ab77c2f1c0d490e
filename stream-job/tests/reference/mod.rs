//! A reference for the job: what every table holds for a recording, its epoch log and the settings, computed in one
//! plain loop. It shares with the job how a record is decoded and a span cleaned, and nothing of the dataflow.
//!
//! [`recording`] makes the input, [`memory`] runs the job on it, [`native`] reads the blocks that come out, and
//! [`compute`] says what should have come out.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

pub mod edges;
pub mod freshness;
pub mod memory;
pub mod metrics;
pub mod native;
pub mod points;
pub mod raw;
pub mod recording;
pub mod resources;
pub mod sessions;
pub mod steps;
pub mod tables;
pub mod top;
pub mod traces;
pub mod users;
pub mod windows;

use std::path::Path;

use stream_job::checkpoint::epoch_log::Replay;
use stream_job::ops::settings::Settings;
use stream_job::sink::tables::EpochRow;

use tables::Tables;

/// What a run must have written.
pub struct Expected {
    /// Every table as it finally stands.
    pub tables: Tables,
    /// What was counted in each epoch.
    pub epochs: Vec<EpochRow>,
}

/// Computes every table from the recording, one epoch of the log after the other.
pub fn compute(settings: &Settings, recording: &Path, log: &Replay) -> Expected {
    assert!(
        log.epochs.last().unwrap().dws_block_ends,
        "a whole log ends with a block"
    );
    let mut expected = Expected {
        tables: Tables::default(),
        epochs: Vec::new(),
    };
    let mut raw = raw::Raw::new(settings, recording, log);
    let mut windows = windows::Windows::new(settings);
    let mut traces = traces::Traces::new(settings);
    let mut edges = edges::Edges::new(settings);
    let mut resources = resources::Resources::new(settings);
    let mut sessions = sessions::Sessions::new(settings);
    let mut users = users::Users::new(settings);
    let mut top = top::Top::default();
    let mut freshness = freshness::Freshness::default();
    for record in &log.epochs {
        let (spans, points, counts) = raw.epoch(record, &mut expected.tables);
        resources.add(&points);
        traces.before_data(record.watermark_us);
        sessions.before_data(record.watermark_us);
        windows.add(&spans);
        top.add(&spans);
        freshness.add(record, &counts, &spans);
        for span in &spans {
            traces.add(record.epoch, span.clone());
        }
        if record.dws_block_ends {
            let updates = traces.end_block(record.watermark_us, &mut expected.tables);
            for (told, spans) in &updates {
                // Nobody knows the way through a trace of too many spans.
                let spans = if told.truncated { &[] } else { &spans[..] };
                let way = edges::of_trace(&told.agent, told.root.is_some(), spans);
                edges.told(told.trace, told.segment, way);
            }
            edges.end_block(record.watermark_us, &mut expected.tables);
            resources.end_block(record.watermark_us, &mut expected.tables);
            let updates: Vec<_> = updates.into_iter().map(|(told, _)| told).collect();
            let told = &mut expected.tables;
            sessions.end_block(record.epoch, record.watermark_us, &updates, told);
            let live = traces.live();
            users.end_block(record.epoch, record.watermark_us, &updates, &live, told);
            windows.end_block(record.watermark_us);
            freshness.end_block(record.wall_ms);
        }
        expected.epochs.push(counts);
    }
    let last = log.epochs.last().unwrap();
    windows.write(last.watermark_us, &mut expected.tables);
    top.write(settings.top_n as usize, &mut expected.tables);
    freshness.write(&mut expected.tables);
    expected
}

/// A duration in µs.
pub fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}
