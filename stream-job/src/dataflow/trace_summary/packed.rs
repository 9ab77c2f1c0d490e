//! The small form of what traces say, as their session keeps it.

use super::{Root, SessionSource, ToolCall, Totals, TraceSummary};
use crate::dataflow::packing::{Packer, Unpacker};

impl Totals {
    pub(in crate::dataflow) fn pack(&self, out: &mut Packer<'_>) {
        let Totals {
            spans,
            steps,
            llm_calls,
            tool_calls,
            errors,
            input_tokens,
            output_tokens,
            cost_nanousd,
        } = *self;
        for number in [
            spans,
            steps,
            llm_calls,
            tool_calls,
            errors,
            input_tokens,
            output_tokens,
            cost_nanousd,
        ] {
            out.number(number);
        }
    }

    pub(in crate::dataflow) fn unpack(from: &mut Unpacker<'_>) -> Self {
        Self {
            spans: from.number(),
            steps: from.number(),
            llm_calls: from.number(),
            tool_calls: from.number(),
            errors: from.number(),
            input_tokens: from.number(),
            output_tokens: from.number(),
            cost_nanousd: from.number(),
        }
    }
}

impl Root {
    pub(in crate::dataflow) fn pack<'a>(&'a self, out: &mut Packer<'a>) {
        out.place(self.place);
        out.text(&self.name);
        out.text(&self.agent);
        out.flag(self.failed);
    }

    pub(in crate::dataflow) fn unpack(from: &mut Unpacker<'_>) -> Self {
        Self {
            place: from.place(),
            name: from.text().to_owned(),
            agent: from.text().to_owned(),
            failed: from.flag(),
        }
    }
}

impl ToolCall {
    fn pack<'a>(&'a self, out: &mut Packer<'a>) {
        out.place(self.place);
        out.signed(self.end_us.wrapping_sub(self.place.0));
        self.pack_but_times(out);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        let place = from.place();
        let end_us = place.0.wrapping_add(from.signed());
        Self::unpack_at(place, end_us, from)
    }

    /// What is told of it besides where it stands and when it ended.
    pub(in crate::dataflow) fn pack_but_times<'a>(&'a self, out: &mut Packer<'a>) {
        out.text(&self.tool_name);
        out.raw(self.args_hash.to_le_bytes());
    }

    pub(in crate::dataflow) fn unpack_at(
        place: super::Place,
        end_us: i64,
        from: &mut Unpacker<'_>,
    ) -> Self {
        Self {
            place,
            end_us,
            tool_name: from.text().to_owned(),
            args_hash: u64::from_le_bytes(from.raw()),
        }
    }
}

impl SessionSource {
    fn number(self) -> u64 {
        match self {
            SessionSource::Session => 0,
            SessionSource::Conversation => 1,
            SessionSource::Trace => 2,
        }
    }

    fn of_number(number: u64) -> Self {
        match number {
            0 => SessionSource::Session,
            1 => SessionSource::Conversation,
            _ => SessionSource::Trace,
        }
    }
}

impl TraceSummary {
    pub(in crate::dataflow) fn pack<'a>(&'a self, out: &mut Packer<'a>) {
        let TraceSummary {
            totals,
            turns,
            first_us,
            last_us,
            session_source,
            user_id,
            agent,
            root,
            agents,
            calls,
            orphans,
            truncated,
        } = self;
        totals.pack(out);
        out.number(*turns);
        out.signed(*first_us);
        out.signed(last_us.wrapping_sub(*first_us));
        out.number(session_source.number());
        out.flag(user_id.is_some());
        if let Some((place, user)) = user_id {
            out.place(*place);
            out.text(user);
        }
        out.text(agent);
        out.flag(root.is_some());
        if let Some(root) = root {
            root.pack(out);
        }
        out.number(agents.len() as u64);
        agents.iter().for_each(|agent| out.text(agent));
        out.number(calls.len() as u64);
        calls.iter().for_each(|call| call.pack(out));
        out.number(*orphans << 1 | u64::from(*truncated));
    }

    pub(in crate::dataflow) fn unpack(from: &mut Unpacker<'_>) -> Self {
        let mut summary = Self::unpack_v1(from);
        summary.truncated = summary.orphans & 1 == 1;
        summary.orphans >>= 1;
        summary
    }

    /// As the first version of the sessions' state has it.
    pub(in crate::dataflow) fn unpack_v1(from: &mut Unpacker<'_>) -> Self {
        let totals = Totals::unpack(from);
        let turns = from.number();
        let first_us = from.signed();
        Self {
            totals,
            turns,
            first_us,
            last_us: first_us.wrapping_add(from.signed()),
            session_source: SessionSource::of_number(from.number()),
            user_id: (from.flag()).then(|| (from.place(), from.text().to_owned())),
            agent: from.text().to_owned(),
            root: from.flag().then(|| Root::unpack(from)),
            agents: (0..from.count()).map(|_| from.text().to_owned()).collect(),
            calls: (0..from.count()).map(|_| ToolCall::unpack(from)).collect(),
            orphans: from.number(),
            truncated: false,
        }
    }
}
