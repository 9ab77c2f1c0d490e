//! The small form of a trace that has been told of, and waits for more spans or its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Named, Node, TraceState};
use crate::dataflow::packing::{Packer, Unpacker};
use crate::dataflow::trace_summary::{Root, ToolCall, Totals, TraceUser};
use crate::span::clean::StepType;

/// What a node's parent is, besides its step type in one byte.
const NO_PARENT: u8 = 0 << 4;
const PARENT_OF_THE_LAST: u8 = 1 << 4;
const PARENT_FOLLOWS: u8 = 2 << 4;
const FAILED: u8 = 1 << 6;
const HAS_OUTPUT: u8 = 1 << 7;

fn pack_named<'a>(named: &'a Named, out: &mut Packer<'a>) {
    out.flag(named.is_some());
    if let Some((place, text)) = named {
        out.place(*place);
        out.text(text);
    }
}

fn unpack_named(from: &mut Unpacker<'_>) -> Named {
    (from.flag()).then(|| (from.place(), from.text().to_owned()))
}

impl TraceState {
    /// The small form, with the parents that are missed.
    pub(in crate::dataflow) fn pack(&self, missing: &BTreeSet<u64>) -> Arc<[u8]> {
        let TraceState {
            totals,
            first_us,
            last_us,
            session,
            conversation,
            user,
            earliest,
            root,
            root_namespace,
            agents,
            nodes: _,
            calls: _,
        } = self;
        let mut out = Packer::new();
        out.signed(*last_us);
        out.signed(first_us.wrapping_sub(*last_us));
        totals.pack(&mut out);
        for named in [session, conversation, user] {
            pack_named(named, &mut out);
        }
        out.flag(earliest.is_some());
        if let Some((place, agent, namespace)) = earliest {
            out.place(*place);
            out.text(agent);
            out.text(namespace);
        }
        out.flag(root.is_some());
        if let Some(root) = root {
            root.pack(&mut out);
        }
        out.text(root_namespace);
        out.number(agents.len() as u64);
        agents.iter().for_each(|agent| out.text(agent));
        self.pack_nodes(&mut out);
        out.number(missing.len() as u64);
        (missing.iter()).for_each(|parent| out.raw(parent.to_le_bytes()));
        out.finish()
    }

    /// The nodes, each act with its call: parts are merged in one order, so that the calls stand in the order of the acts.
    fn pack_nodes<'a>(&'a self, out: &mut Packer<'a>) {
        out.number(self.nodes.len() as u64);
        let mut calls = self.calls.iter();
        let mut last_parent = 0;
        for node in &self.nodes {
            let parent = match node.parent {
                0 => NO_PARENT,
                parent if parent == last_parent => PARENT_OF_THE_LAST,
                _ => PARENT_FOLLOWS,
            };
            let failed = if node.failed { FAILED } else { 0 };
            let has_output = if node.has_output { HAS_OUTPUT } else { 0 };
            out.raw([node.step_type as u8 | parent | failed | has_output]);
            out.raw(node.span_id.to_le_bytes());
            if parent == PARENT_FOLLOWS {
                out.raw(node.parent.to_le_bytes());
                last_parent = node.parent;
            }
            if node.step_type.is_step() {
                out.signed(node.start_us.wrapping_sub(self.first_us));
                out.signed(node.end_us.wrapping_sub(node.start_us));
            }
            if node.step_type == StepType::Act {
                let call = calls.next().expect("an act has a call");
                debug_assert_eq!(call.place.1, node.span_id, "calls are in the order of acts");
                call.pack_but_times(out);
            }
        }
    }

    fn unpack_nodes(&mut self, from: &mut Unpacker<'_>) {
        let count = from.count();
        self.nodes = from.room_for(count);
        self.calls = from.room_for(count / 2);
        let mut last_parent = 0;
        for _ in 0..count {
            let [kind] = from.raw();
            let span_id = u64::from_le_bytes(from.raw());
            let step_type = StepType::ALL[usize::from(kind & 0xf)];
            let parent = match kind & (3 << 4) {
                NO_PARENT => 0,
                PARENT_OF_THE_LAST => last_parent,
                _ => {
                    last_parent = u64::from_le_bytes(from.raw());
                    last_parent
                }
            };
            let (start_us, end_us) = if step_type.is_step() {
                let start_us = self.first_us.wrapping_add(from.signed());
                (start_us, start_us.wrapping_add(from.signed()))
            } else {
                (0, 0)
            };
            if step_type == StepType::Act {
                let call = ToolCall::unpack_at((start_us, span_id), end_us, from);
                self.calls.push(call);
            }
            self.nodes.push(Node {
                span_id,
                parent,
                step_type,
                start_us,
                end_us,
                failed: kind & FAILED != 0,
                has_output: kind & HAS_OUTPUT != 0,
            });
        }
    }

    /// What [`TraceState::pack`] was called with.
    pub(in crate::dataflow) fn unpack(packed: &[u8]) -> (Self, BTreeSet<u64>) {
        let mut from = Unpacker::new(packed);
        let mut state = Self::unpack_head(&mut from);
        state.unpack_nodes(&mut from);
        let missing = (0..from.count())
            .map(|_| u64::from_le_bytes(from.raw()))
            .collect();
        debug_assert!(from.is_done(), "all that was packed is unpacked");
        (state, missing)
    }

    /// All but the nodes and their calls.
    fn unpack_head(from: &mut Unpacker<'_>) -> Self {
        let last_us = from.signed();
        Self {
            last_us,
            first_us: last_us.wrapping_add(from.signed()),
            totals: Totals::unpack(from),
            session: unpack_named(from),
            conversation: unpack_named(from),
            user: unpack_named(from),
            earliest: (from.flag())
                .then(|| (from.place(), from.text().to_owned(), from.text().to_owned())),
            root: from.flag().then(|| Root::unpack(from)),
            root_namespace: from.text().to_owned(),
            agents: (0..from.count()).map(|_| from.text().to_owned()).collect(),
            nodes: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// [`TraceState::user`] of a packed trace.
    pub(in crate::dataflow) fn packed_user(packed: &[u8]) -> Option<TraceUser> {
        Self::unpack_head(&mut Unpacker::new(packed)).user()
    }

    /// The latest end, µs since 1970, of a packed trace.
    pub(in crate::dataflow) fn packed_last_us(packed: &[u8]) -> i64 {
        Unpacker::new(packed).signed()
    }
}
