//! The way through a trace: which kind of step came after which. Where no span says observe or response, they are derived
//! as in the view `dwd_step`: an observe is a tool's result, from the end of the act to the start of the next think; a
//! response is the last output of a think, once the root has come.

use super::{Node, TraceState};
use crate::dataflow::edge::{Edge, EdgeSums, StepKind};
use crate::dataflow::trace_summary::ToolCall;
use crate::span::clean::StepType;

/// A step on the way. Ordered by when it came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OnTheWay<'a> {
    start_us: i64,
    end_us: i64,
    derived: bool,
    span_id: u64,
    kind: StepKind,
    tool: &'a str,
    failed: bool,
}

impl<'a> OnTheWay<'a> {
    fn sent(node: &Node, kind: StepKind, tool: &'a str) -> Self {
        Self {
            start_us: node.start_us,
            end_us: node.end_us,
            derived: false,
            span_id: node.span_id,
            kind,
            tool,
            failed: node.failed,
        }
    }

    fn derived(node: &Node, kind: StepKind, end_us: i64) -> Self {
        Self {
            start_us: node.end_us,
            end_us,
            derived: true,
            failed: false,
            ..Self::sent(node, kind, "")
        }
    }
}

impl TraceState {
    /// Gives every transition of the trace as it stands; none of one whose spans were too many.
    pub(in crate::dataflow) fn each_edge<'a>(&'a self, mut give: impl FnMut(Edge<'a>, EdgeSums)) {
        if self.is_truncated() {
            return;
        }
        let way = self.way();
        let (Some(first), Some(last)) = (way.first(), way.last()) else {
            return;
        };
        let agent = self.agent();
        let mut edge = |from, after: &OnTheWay<'a>, to, sums| {
            let edge = Edge {
                agent,
                minute_s: after.end_us.div_euclid(60_000_000) * 60,
                from,
                to,
            };
            give(edge, sums);
        };
        let at = |step: &OnTheWay<'a>| (step.kind, step.tool);
        let sums = |derived: bool, step: &OnTheWay<'a>, gap_us: i64| EdgeSums {
            count: 1,
            derived: i64::from(derived),
            errors: i64::from(step.failed),
            gap_sum_us: gap_us.max(0),
            duration_sum_us: step.end_us - step.start_us,
        };
        edge(
            (StepKind::Start, ""),
            first,
            at(first),
            sums(first.derived, first, 0),
        );
        for (before, after) in way.iter().zip(&way[1..]) {
            let derived = before.derived || after.derived;
            let sums = sums(derived, after, after.start_us - before.end_us);
            edge(at(before), after, at(after), sums);
        }
        let ended = EdgeSums {
            count: 1,
            derived: i64::from(last.derived),
            ..EdgeSums::default()
        };
        edge(at(last), last, (StepKind::End, ""), ended);
    }

    /// The steps in the order of time.
    fn way(&self) -> Vec<OnTheWay<'_>> {
        let mut calls = self.calls.iter();
        let mut way = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            match node.step_type {
                StepType::Think => way.push(OnTheWay::sent(node, StepKind::Think, "")),
                StepType::Observe => way.push(OnTheWay::sent(node, StepKind::Observe, "")),
                StepType::Response => way.push(OnTheWay::sent(node, StepKind::Response, "")),
                StepType::Act => {
                    let tool = calls
                        .next()
                        .map_or("", |ToolCall { tool_name, .. }| tool_name);
                    way.push(OnTheWay::sent(node, StepKind::Act, tool));
                }
                _ => {}
            }
        }
        let thinks = |node: &&Node| node.step_type == StepType::Think;
        let has_sent = |step_type| self.nodes.iter().any(|node| node.step_type == step_type);
        if !has_sent(StepType::Observe) {
            let mut starts: Vec<i64> = (self.nodes.iter().filter(thinks))
                .map(|node| node.start_us)
                .collect();
            starts.sort_unstable();
            let acts = self
                .nodes
                .iter()
                .filter(|node| node.step_type == StepType::Act);
            for act in acts.filter(|act| act.has_output) {
                let next = starts.partition_point(|start| *start < act.end_us);
                if let Some(&start_us) = starts.get(next) {
                    way.push(OnTheWay::derived(act, StepKind::Observe, start_us));
                }
            }
        }
        if !has_sent(StepType::Response) && self.root.is_some() {
            let answers = self
                .nodes
                .iter()
                .filter(thinks)
                .filter(|node| node.has_output);
            if let Some(last) = answers.max_by_key(|node| (node.end_us, node.span_id)) {
                way.push(OnTheWay::derived(last, StepKind::Response, last.end_us));
            }
        }
        way.sort_unstable();
        way
    }
}
