//! The operators on traces and on what is made of them: sessions, transitions, the days of users.

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::OkErr;
use timely::dataflow::operators::vec::Map;

use crate::checkpoint::record::EpochRecord;
use crate::dataflow::anomaly::loop_flag;
use crate::dataflow::collect::Row;
use crate::dataflow::edge::{EdgePartial, Edges};
use crate::dataflow::epochs::{Epoch, PerEpoch};
use crate::dataflow::keyed::{Operators, rows_of};
use crate::dataflow::rows;
use crate::dataflow::session::{SessionChange, SessionOut, Sessions, group_of_session};
use crate::dataflow::trace::{TracePartial, TraceUpdate, Traces, group_of_trace};
use crate::dataflow::user_day::{UserChange, UserDays, group_of_user};

/// What an epoch brings of the traces.
#[derive(Clone)]
enum OfTraces {
    Update(TraceUpdate),
    Sums(OfSums),
}

/// What an epoch brings of the traces to sums over several of them.
#[derive(Clone)]
enum OfSums {
    Edge(EdgePartial),
    User(UserChange),
}

/// Traces, the sessions that they make up and the flags on these, the transitions within traces, and the days of users.
pub(super) fn traces<'scope>(
    partials: StreamVec<'scope, Epoch, TracePartial>,
    operators: Operators<'_>,
) -> [StreamVec<'scope, Epoch, Row>; 4] {
    let rules = &operators.shared.rules;
    let zone = rules.users.zone;
    let of_traces = operators.keyed(
        partials,
        "traces",
        Traces::new(rules.traces),
        |partial: &TracePartial| group_of_trace(partial.trace_id),
        Traces::len,
        move |traces, record, partials| {
            let updates = traces.apply(record, partials);
            let mut sums: Vec<_> = (updates.iter())
                .flat_map(|update| UserChange::of(update, zone))
                .map(OfSums::User)
                .collect();
            if record.dws_block_ends {
                sums.extend(traces.take_edges().map(OfSums::Edge));
                let forgotten = traces.take_forgotten();
                sums.extend(forgotten.map(|trace| OfSums::User(UserChange::settled(trace, zone))));
            }
            let updates = updates.into_iter().map(OfTraces::Update);
            updates
                .chain(sums.into_iter().map(OfTraces::Sums))
                .collect()
        },
    );
    #[expect(
        clippy::result_large_err,
        reason = "two streams, not an outcome and its error"
    )]
    let (updates, of_sums): (_, StreamVec<'_, Epoch, OfSums>) =
        of_traces.ok_err(|of_traces| match of_traces {
            OfTraces::Update(update) => Ok(update),
            OfTraces::Sums(of_sums) => Err(of_sums),
        });
    #[expect(
        clippy::result_large_err,
        reason = "two streams, not an outcome and its error"
    )]
    let (of_edges, of_users) = of_sums.ok_err(|of_sums| match of_sums {
        OfSums::Edge(changed) => Ok(changed),
        OfSums::User(changed) => Err(changed),
    });
    let edge_rows = edges(of_edges, operators);
    let user_rows = users(of_users, operators);
    let loop_min_repeats = rules.sessions.loop_min_repeats;
    let trace_rows = updates.clone().per_epoch(
        Pipeline,
        "trace_rows",
        operators.epochs,
        move |record: &EpochRecord, updates| {
            updates
                .into_iter()
                .map(|update| rows::trace_row(update, loop_min_repeats, record.epoch))
                .collect()
        },
    );
    let session_rows = operators.keyed(
        updates.flat_map(|update| SessionChange::of(&update).collect::<Vec<_>>()),
        "sessions",
        Sessions::new(rules.sessions),
        |change: &SessionChange| group_of_session(&change.session),
        Sessions::len,
        move |sessions, record, changes| {
            let out = sessions.apply(record, changes).into_iter();
            out.filter_map(|out| session_out(out, loop_min_repeats, record.epoch))
                .collect()
        },
    );
    [trace_rows, session_rows, edge_rows, user_rows]
}

/// The transitions between steps, by agent and minute.
fn edges<'scope>(
    changed: StreamVec<'scope, Epoch, EdgePartial>,
    operators: Operators<'_>,
) -> StreamVec<'scope, Epoch, Row> {
    let rules = &operators.shared.rules;
    operators.keyed(
        changed,
        "edges",
        Edges::new(rules.allowed_lateness_us, rules.max_keys_per_agent),
        EdgePartial::group,
        Edges::len,
        rows_of(Edges::apply, rows::edge_row),
    )
}

/// The days of users.
fn users<'scope>(
    changes: StreamVec<'scope, Epoch, UserChange>,
    operators: Operators<'_>,
) -> StreamVec<'scope, Epoch, Row> {
    operators.keyed(
        changes,
        "users",
        UserDays::new(operators.shared.rules.users),
        |change: &UserChange| group_of_user(&change.key),
        UserDays::len,
        rows_of(UserDays::apply, rows::user_row),
    )
}

fn session_out(out: SessionOut, loop_min_repeats: u32, rev: Epoch) -> Option<Row> {
    match out {
        SessionOut::Row(summary) => Some(rows::session_row(summary, rev)),
        SessionOut::Gone {
            session,
            segment,
            last_us,
        } => Some(rows::session_gone(session, segment, last_us, rev)),
        SessionOut::Loop {
            session,
            agent,
            found,
            opened_us,
            is_first,
        } => loop_flag(
            &session,
            &agent,
            &found,
            loop_min_repeats,
            opened_us,
            is_first,
        )
        .map(|flag| rows::anomaly_row(flag, rev)),
    }
}
