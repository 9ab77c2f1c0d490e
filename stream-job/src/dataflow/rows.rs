//! The rows that what the operators keep becomes.

use std::sync::Arc;

use super::anomaly::Flag;
use super::collect::Row;
use super::edge::EdgeUpdate;
use super::epochs::Epoch;
use super::freshness::FreshnessRow as Minute;
use super::resource::ResourceUpdate;
use super::session::SessionSummary;
use super::top_n::{TopChange, TopItem, TopList};
use super::trace::TraceUpdate;
use super::trace_summary::{SessionKey, flags, longest_run};
use super::user_day::UserDayUpdate;
use super::window::{FiredWindow, MINUTE_S, StepKey};
use crate::sink::tables::ads_anomaly::{AnomalyRow, Real};
use crate::sink::tables::ads_freshness::FreshnessRow;
use crate::sink::tables::ads_top::{TopErrorRow, TopSpanRow};
use crate::sink::tables::dws_edge::EdgeRow;
use crate::sink::tables::dws_resource::ResourceRow;
use crate::sink::tables::dws_session::SessionRow;
use crate::sink::tables::dws_step::StepRow;
use crate::sink::tables::dws_trace::TraceRow;
use crate::sink::tables::dws_user::UserRow;

fn seconds(s: i64) -> u32 {
    u32::try_from(s.max(0)).unwrap_or(u32::MAX)
}

/// The row of a window.
#[must_use]
pub fn step_row(fired: FiredWindow, rev: Epoch) -> Row {
    let FiredWindow {
        key,
        kind,
        start_s,
        sums,
        is_final,
        ..
    } = fired;
    let StepKey {
        agent,
        step_type,
        tool_name,
        model,
    } = Arc::unwrap_or_clone(key);
    let row = StepRow {
        agent,
        step_type,
        tool_name,
        model,
        window_start: seconds(start_s),
        window_end: seconds(start_s + kind.length_s()),
        count: sums.count,
        errors: sums.errors,
        duration_sum_us: sums.duration_sum_us,
        duration_max_us: sums.duration_max_us,
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        cost_nanousd: sums.cost_nanousd,
        duration_buckets: sums.buckets,
        is_final,
        rev,
        is_deleted: false,
    };
    Row::Step(kind, row)
}

/// The row of a trace.
#[must_use]
pub fn trace_row(update: TraceUpdate, loop_min_repeats: u32, rev: Epoch) -> Row {
    let TraceUpdate {
        trace_id,
        segment,
        session,
        summary,
        ..
    } = update;
    let max_repeat = u32::try_from(longest_run(summary.calls.iter()).len()).unwrap_or(u32::MAX);
    let state = match &summary.root {
        Some(root) if root.failed => "failed",
        Some(_) => "done",
        None => "open",
    };
    let totals = summary.totals;
    Row::Trace(Box::new(TraceRow {
        trace_id: format!("{trace_id:032x}"),
        segment,
        namespace: session.namespace,
        session_id: session.session_id,
        session_source: summary.session_source.as_str().to_owned(),
        agent: summary.agent.clone(),
        agents: summary.agents.clone(),
        user_id: summary
            .user_id
            .as_ref()
            .map(|(_, user)| user.clone())
            .unwrap_or_default(),
        first_time: summary.first_us,
        last_time: summary.last_us,
        state: state.to_owned(),
        traces: 1,
        turns: summary.turns,
        steps: totals.steps,
        llm_calls: totals.llm_calls,
        tool_calls: totals.tool_calls,
        errors: totals.errors,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cost_nanousd: totals.cost_nanousd,
        max_repeat,
        flags: flags(
            max_repeat >= loop_min_repeats,
            summary.orphans > 0,
            summary.truncated,
        ),
        root_name: summary
            .root
            .as_ref()
            .map(|root| root.name.clone())
            .unwrap_or_default(),
        duration_us: u64::try_from(summary.last_us - summary.first_us).unwrap_or(0),
        orphans: summary.orphans,
        spans: totals.spans,
        rev,
        is_deleted: false,
    }))
}

/// The row of a session.
#[must_use]
pub fn session_row(summary: SessionSummary, rev: Epoch) -> Row {
    let totals = summary.totals;
    Row::Session(Box::new(SessionRow {
        namespace: summary.session.namespace,
        session_id: summary.session.session_id,
        segment: summary.segment,
        session_source: summary.source.as_str().to_owned(),
        agent: summary.agent,
        agents: summary.agents,
        user_id: summary.user_id,
        first_time: summary.first_us,
        last_time: summary.last_us,
        state: summary.state.as_str().to_owned(),
        traces: summary.traces,
        turns: summary.turns,
        steps: totals.steps,
        llm_calls: totals.llm_calls,
        tool_calls: totals.tool_calls,
        errors: totals.errors,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cost_nanousd: totals.cost_nanousd,
        max_repeat: summary.max_repeat,
        flags: summary.flags,
        spans: totals.spans,
        rev,
        is_deleted: false,
    }))
}

/// Takes a session's row back.
#[must_use]
pub fn session_gone(session: SessionKey, segment: Epoch, last_us: i64, rev: Epoch) -> Row {
    Row::Session(Box::new(SessionRow {
        namespace: session.namespace,
        session_id: session.session_id,
        segment,
        // The table's TTL goes by it: without it the row that is taken back would come to light again.
        first_time: last_us,
        last_time: last_us,
        rev,
        is_deleted: true,
        ..SessionRow::default()
    }))
}

/// The row of a transition.
#[must_use]
pub fn edge_row(update: EdgeUpdate, rev: Epoch) -> Row {
    let sum = |sum: i64| u64::try_from(sum).unwrap_or(0);
    Row::Edge(Box::new(EdgeRow {
        agent: update.agent,
        window_start: seconds(update.minute_s),
        window_end: seconds(update.minute_s + MINUTE_S),
        from: update.from,
        to: update.to,
        count: sum(update.sums.count),
        derived: sum(update.sums.derived),
        errors: sum(update.sums.errors),
        gap_sum_us: sum(update.sums.gap_sum_us),
        duration_sum_us: sum(update.sums.duration_sum_us),
        is_final: update.is_final,
        rev,
        is_deleted: update.sums.count <= 0,
    }))
}

/// The row of a user's day.
#[must_use]
pub fn user_row(update: UserDayUpdate, rev: Epoch) -> Row {
    let UserDayUpdate { key, segment, sums } = update;
    let row = UserRow {
        day: key.day,
        namespace: key.namespace,
        user_id: key.user_id,
        segment,
        rev,
        is_deleted: sums.is_none(),
        ..UserRow::default()
    };
    Row::User(Box::new(match sums {
        None => row,
        Some(sums) => UserRow {
            sessions: sums.sessions,
            traces: sums.traces,
            turns: sums.turns,
            steps: sums.totals.steps,
            llm_calls: sums.totals.llm_calls,
            tool_calls: sums.totals.tool_calls,
            errors: sums.totals.errors,
            input_tokens: sums.totals.input_tokens,
            output_tokens: sums.totals.output_tokens,
            cost_nanousd: sums.totals.cost_nanousd,
            first_time: sums.first_us,
            last_time: sums.last_us,
            ..row
        },
    }))
}

/// The row of a flag.
#[must_use]
pub fn anomaly_row(flag: Flag, rev: Epoch) -> Row {
    Row::Anomaly(Box::new(AnomalyRow {
        anomaly_id: flag.anomaly_id,
        detector: flag.detector,
        severity: flag.severity,
        agent: flag.key.agent,
        step_type: flag.key.step_type,
        tool_name: flag.key.tool_name,
        model: flag.key.model,
        session_id: flag.session_id,
        trace_id: flag.trace_id,
        window_start: seconds(flag.window_start_s),
        window_end: seconds(flag.window_end_s),
        value: Real(flag.value),
        expected: Real(flag.expected),
        score: Real(flag.score),
        evidence: flag.evidence,
        message: flag.message,
        state: flag.state.as_str().to_owned(),
        rev,
        is_deleted: false,
    }))
}

/// The row of a rank.
#[must_use]
pub fn top_row(change: TopChange, rev: Epoch) -> Row {
    let TopChange { key, rank, entry } = change;
    let (window_start, window_end) = (
        seconds(key.window_start_s),
        seconds(key.window_start_s + MINUTE_S),
    );
    let is_deleted = entry.is_none();
    let (agent, list) = (key.agent, key.list);
    let span_row = |item: Option<TopItem>| {
        let row = TopSpanRow {
            window_start,
            agent: agent.clone(),
            rank,
            window_end,
            rev,
            is_deleted,
            ..TopSpanRow::default()
        };
        match item {
            Some(TopItem::Span(span)) => TopSpanRow {
                trace_id: format!("{:032x}", span.trace_id),
                span_id: format!("{:016x}", span.span_id),
                session_id: span.session_id,
                name: span.name,
                step_type: span.step_type,
                tool_name: span.tool_name,
                model: span.model,
                status: span.status,
                start_time: span.start_us,
                duration_us: span.duration_us,
                cost_nanousd: span.cost_nanousd,
                ..row
            },
            _ => row,
        }
    };
    let (measure, item) = entry.map(|entry| (entry.measure.0, entry.item)).unzip();
    match list {
        TopList::Slow => Row::Slow(Box::new(span_row(item))),
        TopList::Cost => Row::Cost(Box::new(span_row(item))),
        TopList::Error => {
            let row = TopErrorRow {
                window_start,
                agent: agent.clone(),
                rank,
                window_end,
                rev,
                is_deleted,
                ..TopErrorRow::default()
            };
            Row::Error(Box::new(match item {
                Some(TopItem::Error(kind)) => TopErrorRow {
                    step_type: kind.step_type,
                    tool_name: kind.tool_name,
                    model: kind.model,
                    error_type: kind.error_type,
                    count: measure.unwrap_or(0),
                    ..row
                },
                _ => row,
            }))
        }
    }
}

/// The row of a minute of the pipeline.
#[must_use]
pub fn freshness_row(minute: Minute, rev: Epoch) -> Row {
    Row::Freshness(Box::new(FreshnessRow {
        window_start: seconds(minute.window_start_s),
        window_end: seconds(minute.window_start_s + MINUTE_S),
        spans: minute.spans,
        delay_p50_ms: minute.delays.quantile(0.5),
        delay_p95_ms: minute.delays.quantile(0.95),
        delay_p99_ms: minute.delays.quantile(0.99),
        delay_max_ms: minute.max_ms,
        delay_buckets: minute.delays,
        records: minute.counts.records,
        spans_in: minute.counts.spans,
        spans_landed: minute.counts.landed,
        spans_duplicate: minute.counts.duplicate,
        spans_rejected: minute.counts.rejected,
        spans_late: minute.counts.late,
        is_final: minute.is_final,
        rev,
        is_deleted: false,
    }))
}

/// The row of a minute of a process.
#[must_use]
pub fn resource_row(update: ResourceUpdate, rev: Epoch) -> Row {
    Row::Resource(Box::new(ResourceRow {
        agent: update.process.agent,
        instance: update.process.instance,
        window_start: seconds(update.minute_s),
        window_end: seconds(update.minute_s + MINUTE_S),
        samples: update.samples,
        cpu_time_us: update.cpu_time_us,
        memory_sum_bytes: update.memory_sum_bytes,
        memory_max_bytes: update.memory_max_bytes,
        threads_max: update.threads_max,
        is_final: update.is_final,
        rev,
        is_deleted: false,
    }))
}
