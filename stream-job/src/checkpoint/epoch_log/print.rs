//! `stream-job epoch-log DIR`: the log for people.

use std::io::{self, Write};

use chrono::DateTime;

use super::{BlockId, RecordedBlock, Replay};
use crate::checkpoint::record::{CheckpointRef, EpochRecord};

/// Prints what a log says: the header, a line an epoch with its blocks, the checkpoints, and the blocks that are not
/// acknowledged.
///
/// # Errors
/// If `out` cannot be written.
pub fn print(replay: &Replay, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "timeline {} · first epoch {} · generation {}",
        replay.timeline, replay.first_epoch, replay.generation
    )?;
    if let Some(fork) = &replay.forked_from {
        writeln!(
            out,
            "forked from timeline {} after epoch {}",
            fork.timeline, fork.epoch
        )?;
    }
    if let Some(writer) = &replay.writer {
        writeln!(out, "written by {writer}")?;
    }
    for (name, value) in &replay.settings {
        writeln!(out, "setting {name} = {value}")?;
    }
    for record in &replay.epochs {
        print_epoch(replay, record, out)?;
    }
    for checkpoint in &replay.checkpoints {
        print_checkpoint(checkpoint, out)?;
    }
    let waiting: Vec<_> = (replay.blocks.iter())
        .filter(|(_, block)| block.acked_ms.is_none())
        .collect();
    writeln!(
        out,
        "{} epochs · {} blocks · {} not acknowledged",
        replay.epochs.len(),
        replay.blocks.len(),
        waiting.len()
    )?;
    for (id, block) in waiting {
        print_block(id, block, out)?;
    }
    if replay.torn_bytes > 0 {
        writeln!(
            out,
            "{} bytes of a torn last frame left out",
            replay.torn_bytes
        )?;
    }
    Ok(())
}

fn print_epoch(replay: &Replay, record: &EpochRecord, out: &mut impl Write) -> io::Result<()> {
    let positions: Vec<String> = (record.positions.iter().enumerate())
        .map(|(at, position)| {
            let idle = if record.idle.contains(&(at as u32)) {
                " idle"
            } else {
                ""
            };
            format!(
                "{}/{}@{}{idle}",
                position.topic, position.partition, position.next_offset
            )
        })
        .collect();
    let blocks = (replay.blocks.iter()).filter(|(id, _)| id.epoch == record.epoch);
    let (count, rows) = blocks.fold((0, 0), |(count, rows), (_, block)| {
        (count + 1, rows + block.rows)
    });
    writeln!(
        out,
        "epoch {} · wall {} · watermark {} · {count} blocks, {rows} rows{}{}{} · {}",
        record.epoch,
        time(record.wall_ms.saturating_mul(1000)),
        time(record.watermark_us),
        if record.dws_block_ends {
            " · DWS ends"
        } else {
            ""
        },
        if record.end_of_input {
            " · end of input"
        } else {
            ""
        },
        record.checkpoint.map_or(String::new(), |rewrite| format!(
            " · checkpoint, whole groups {}..{}",
            rewrite.from, rewrite.to
        )),
        positions.join(" "),
    )
}

fn print_checkpoint(checkpoint: &CheckpointRef, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "checkpoint of epoch {} · {}, {} bytes, CRC-32C {:08x}",
        checkpoint.epoch, checkpoint.manifest, checkpoint.bytes, checkpoint.crc32c
    )
}

fn print_block(id: &BlockId, block: &RecordedBlock, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "not acknowledged: {id}: {} rows, hash {}",
        block.rows, block.hash
    )
}

/// A time in µs since 1970 as text; times that no calendar has as numbers.
fn time(us: i64) -> String {
    match DateTime::from_timestamp_micros(us) {
        Some(time) if (0..=9999).contains(&chrono::Datelike::year(&time)) => {
            time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
        }
        _ => us.to_string(),
    }
}
