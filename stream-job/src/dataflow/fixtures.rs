//! Spans and epoch records for the tests of the operators.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::ExchangeData;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::{InputHandle, StreamVec};

use super::epochs::{Epoch, EpochTable, PerEpoch};
use crate::checkpoint::record::{EpochRecord, Rewrite};
use crate::checkpoint::state::{KEY_GROUPS, KeyedState, Restored, StateFile, StateWriter, encode};
use crate::span::clean::{CleanSpan, Convention, Status, StepType};

/// One second in µs.
pub(super) const SECOND_US: i64 = 1_000_000;
/// One minute in µs.
pub(super) const MINUTE_US: i64 = 60 * SECOND_US;

/// A think span of `agent` that starts and ends at the start of 1970, and says nothing more.
pub(super) fn span() -> CleanSpan<'static> {
    CleanSpan {
        index: 0,
        trace_id: [1; 16],
        span_id: [1; 8],
        parent_span_id: [0; 8],
        trace_ref: "".into(),
        span_ref: "".into(),
        parent_span_ref: "".into(),
        start_us: 0,
        end_us: 0,
        duration_us: 0,
        namespace: "".into(),
        agent: "agent".into(),
        agent_name: "".into(),
        service_name: "agent".into(),
        name: "".into(),
        kind: "internal",
        scope: "".into(),
        scope_version: "".into(),
        session_id: "".into(),
        conversation_id: "".into(),
        user_id: "".into(),
        step_type: StepType::Think,
        step_no: 0,
        convention: Convention::None,
        model: "".into(),
        provider: "".into(),
        tool_name: "".into(),
        status: Status::Unset,
        status_message: "".into(),
        error_type: "".into(),
        error_message: "".into(),
        error_stack: "".into(),
        input_tokens: 0,
        output_tokens: 0,
        cache_read_tokens: 0,
        cost_nanousd: 0,
        args_hash: 0,
        input: "".into(),
        output: "".into(),
        attributes: &[],
        resource: &[],
        trace_state: "".into(),
        events: &[],
        links: &[],
    }
}

/// The trace of [`span`].
pub(super) const TRACE: u128 = u128::from_be_bytes([1; 16]);

/// A span of the given number, parent (0: none), kind, start and end in seconds.
pub(super) fn numbered(
    id: u64,
    parent: u64,
    step_type: StepType,
    start_s: i64,
    end_s: i64,
) -> CleanSpan<'static> {
    CleanSpan {
        span_id: id.to_be_bytes(),
        parent_span_id: parent.to_be_bytes(),
        step_type,
        start_us: start_s * SECOND_US,
        end_us: end_s * SECOND_US,
        ..span()
    }
}

/// The record of an epoch at which a DWS block ends.
pub(crate) fn record(epoch: u64, watermark_us: i64) -> EpochRecord {
    EpochRecord {
        epoch,
        timeline: "test".to_owned(),
        generation: 1,
        positions: Vec::new(),
        watermark_us,
        partition_watermarks_us: Vec::new(),
        idle: Vec::new(),
        gaps: Vec::new(),
        wall_ms: 0,
        dws_block_ends: true,
        ack_times: Vec::new(),
        settings_hash: 0,
        code_version: String::new(),
        end_of_input: watermark_us == i64::MAX,
        checkpoint: None,
        tells_all: false,
    }
}

/// The record of an epoch in the middle of a DWS block.
pub(super) fn record_within_block(epoch: u64, watermark_us: i64) -> EpochRecord {
    EpochRecord {
        dws_block_ends: false,
        ..record(epoch, watermark_us)
    }
}

/// An operator's state after a checkpoint at the end of `record`'s epoch and a restart, read into `fresh`.
pub(super) fn restarted<S: KeyedState>(state: &mut S, mut fresh: S, record: EpochRecord) -> S {
    let all = Rewrite {
        from: 0,
        to: KEY_GROUPS,
    };
    let mut writer = StateWriter::new(record.epoch, all);
    state.save(&mut writer);
    let mut bytes = Vec::new();
    encode(vec![writer.close::<S>()], &mut bytes);
    let file = StateFile::open("state".to_owned(), bytes).expect("what was written is read");
    let mut whole = Restored::new(record);
    whole.add_older(all, vec![file]);
    whole
        .feed(&mut fresh, 0, 1)
        .expect("what was saved is restored");
    fresh
}

/// Runs an operator on several workers. Worker w is given `data(w, epoch)` in each epoch of `records`. Returns what comes
/// out, with its epoch and in the order of epochs, of each worker in turn.
pub(super) fn run_epochs<D, R>(
    workers: usize,
    records: Vec<EpochRecord>,
    data: impl Fn(usize, Epoch) -> Vec<D> + Send + Sync + 'static,
    build: impl for<'s> Fn(StreamVec<'s, Epoch, D>, &EpochTable) -> StreamVec<'s, Epoch, R>
    + Send
    + Sync
    + 'static,
) -> Vec<Vec<(Epoch, R)>>
where
    D: ExchangeData + Clone,
    R: ExchangeData,
{
    // Workers that share nothing but bytes: the failure of one ends the others, too.
    let config = timely::Config {
        communication: timely::CommunicationConfig::ProcessBinary(workers),
        worker: timely::WorkerConfig::default(),
    };
    let guards = timely::execute(config, move |worker| {
        let epochs = EpochTable::default();
        let mut input =
            InputHandle::<Epoch, timely::container::CapacityContainerBuilder<Vec<D>>>::new();
        let out = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&out);
        worker.dataflow::<Epoch, _, _>(|scope| {
            let stream = input.to_stream(scope);
            build(stream, &epochs).per_epoch(Pipeline, "seen", &epochs, move |record, rows| {
                let rows = rows.into_iter().map(|row| (record.epoch, row));
                seen.borrow_mut().extend(rows);
                Vec::<()>::new()
            });
        });
        for record in &records {
            // As the source does it: the record is known before its epoch can be complete.
            epochs.push(Arc::new(record.clone()));
            input.advance_to(record.epoch);
            data(worker.index(), record.epoch)
                .into_iter()
                .for_each(|one| input.send(one));
            input.advance_to(record.epoch + 1);
            worker.step();
        }
        input.close();
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        out.take()
    });
    let guards = guards.expect("the workers start");
    let joined = guards.join().into_iter();
    joined.map(|out| out.expect("no worker fails")).collect()
}
