//! From spans in any order to lines of a tree.

use std::collections::{HashMap, HashSet};

use super::Span;

/// Columns after which a deeper step is not indented further: no screen shows it, and guides would grow with the square of
/// the depth.
const MAX_INDENT: usize = 60;

/// One line of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index of the span.
    pub span: usize,
    /// What stands before its name: `│  ├─ `.
    pub guide: String,
    /// Whether it hangs under no root: its parent has not come.
    pub orphan: bool,
}

/// The lines of a trace: first the trees of its roots, then those of its orphans, each by start time.
///
/// Every span is on exactly one line, whatever the parents say: where two spans have one id the children hang under the
/// first of them, and spans that are each other's parents hang under the one that starts first, as orphans.
#[must_use]
pub fn lines(spans: &[Span]) -> Vec<Line> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|&a, &b| sort_key(&spans[a]).cmp(&sort_key(&spans[b])));
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for &index in &order {
        by_id.entry(&spans[index].span_id).or_insert(index);
    }
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut tops = Vec::new();
    for &index in &order {
        match by_id.get(&*spans[index].parent_span_id) {
            Some(&parent) if parent != index && !spans[index].parent_span_id.is_empty() => {
                children.entry(parent).or_default().push(index);
            }
            _ => tops.push(index),
        }
    }
    let (roots, orphans): (Vec<_>, Vec<_>) = tops
        .into_iter()
        .partition(|&top| spans[top].parent_span_id.is_empty());
    let mut walk = Walk {
        children: &children,
        seen: HashSet::new(),
        lines: Vec::new(),
    };
    for root in roots {
        walk.tree(root, false);
    }
    for orphan in orphans {
        walk.tree(orphan, true);
    }
    // Only spans in a circle are left.
    for &index in &order {
        walk.tree(index, true);
    }
    walk.lines
}

fn sort_key(span: &Span) -> (i64, std::cmp::Reverse<i64>, &str) {
    (span.start_us, std::cmp::Reverse(span.end_us), &span.span_id)
}

struct Walk<'a> {
    children: &'a HashMap<usize, Vec<usize>>,
    seen: HashSet<usize>,
    lines: Vec<Line>,
}

impl Walk<'_> {
    /// Adds a span and all below it. A stack of our own: a trace may be deeper than the thread's.
    fn tree(&mut self, top: usize, orphan: bool) {
        let mut stack = vec![(top, String::new(), String::new())];
        while let Some((index, guide, below)) = stack.pop() {
            if !self.seen.insert(index) {
                continue;
            }
            self.lines.push(Line {
                span: index,
                guide,
                orphan,
            });
            let children = self.children.get(&index).map_or(&[][..], Vec::as_slice);
            let open: Vec<_> = children
                .iter()
                .filter(|child| !self.seen.contains(child))
                .collect();
            for (place, &&child) in open.iter().enumerate().rev() {
                let (branch, trunk) = if place + 1 == open.len() {
                    ("└─ ", "   ")
                } else {
                    ("├─ ", "│  ")
                };
                let further = if below.chars().count() < MAX_INDENT {
                    format!("{below}{trunk}")
                } else {
                    below.clone()
                };
                stack.push((child, format!("{below}{branch}"), further));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn span(id: &str, parent: &str, start_us: i64, end_us: i64) -> Span {
        Span {
            span_id: id.into(),
            parent_span_id: parent.into(),
            start_us,
            end_us,
            duration_us: u64::try_from(end_us - start_us).unwrap(),
            ..Span::default()
        }
    }

    fn drawn(spans: &[Span]) -> Vec<String> {
        let draw = |line: Line| {
            let mark = if line.orphan { "?" } else { "" };
            format!("{mark}{}{}", line.guide, spans[line.span].span_id)
        };
        lines(spans).into_iter().map(draw).collect()
    }

    #[test]
    fn children_that_come_before_their_parent_hang_under_it() {
        let spans = [
            span("c", "b", 2, 3),
            span("b", "a", 1, 4),
            span("a", "", 0, 5),
            span("d", "a", 4, 5),
        ];
        assert_eq!(drawn(&spans), ["a", "├─ b", "│  └─ c", "└─ d"]);
    }

    #[test]
    fn a_span_whose_parent_never_came_is_an_orphan_with_its_own_children() {
        let spans = [
            span("a", "", 5, 9),
            span("x", "gone", 1, 4),
            span("y", "x", 2, 3),
        ];
        assert_eq!(drawn(&spans), ["a", "?x", "?└─ y"]);
    }

    #[test]
    fn a_late_root_takes_its_orphans_in() {
        let mut spans = vec![span("x", "a", 1, 4)];
        assert_eq!(drawn(&spans), ["?x"]);
        spans.push(span("a", "", 0, 9));
        assert_eq!(drawn(&spans), ["a", "└─ x"]);
    }

    #[test]
    fn a_child_that_starts_before_and_ends_after_its_parent_stays_its_child() {
        let spans = [span("a", "", 5, 6), span("b", "a", 1, 9)];
        assert_eq!(drawn(&spans), ["a", "└─ b"]);
    }

    #[test]
    fn parents_in_a_circle_and_a_span_that_is_its_own_parent_are_shown_once() {
        let spans = [
            span("a", "b", 1, 2),
            span("b", "a", 2, 3),
            span("s", "s", 0, 1),
        ];
        assert_eq!(drawn(&spans), ["?s", "?a", "?└─ b"]);
    }

    #[test]
    fn two_spans_of_one_id_are_both_shown_and_the_children_hang_under_the_first() {
        let spans = [
            span("a", "", 0, 9),
            span("a", "", 1, 9),
            span("b", "a", 2, 3),
        ];
        assert_eq!(drawn(&spans), ["a", "└─ b", "a"]);
    }

    #[test]
    fn a_very_deep_trace_does_not_overflow_the_stack() {
        let deep: Vec<Span> = (0..3000_i64)
            .map(|n| {
                let parent = if n == 0 {
                    String::new()
                } else {
                    (n - 1).to_string()
                };
                span(&n.to_string(), &parent, n, 9999)
            })
            .collect();
        let lines = lines(&deep);
        assert_eq!(lines.len(), 3000);
        assert!(
            lines
                .iter()
                .all(|line| line.guide.chars().count() <= MAX_INDENT + 3)
        );
    }
}
