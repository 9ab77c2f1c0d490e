//! Lines of a tree as text in columns.

use std::fmt::Write as _;

use super::{
    Line, Span, Trace, lines,
    text::{counted, duration, fit, plain, width},
};

/// Columns of an offset, such as `+59.99 s`.
const OFFSET: usize = 9;
/// Columns of a duration.
const DURATION: usize = 8;
/// The least columns of a bar; under it the bars say nothing.
const LEAST_BAR: usize = 8;
/// The least columns of the tree.
const LEAST_LABEL: usize = 20;
/// The least columns of tokens and errors.
const LEAST_NOTE: usize = 12;

const ERROR: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// Whether to use a terminal's colours.
    pub coloured: bool,
}

/// A trace as text: a heading, then a line a span.
#[must_use]
pub fn render(trace: &Trace, style: Style) -> String {
    let lines = lines(&trace.spans);
    let rows: Vec<Row> = lines.iter().map(|line| Row::new(line, trace)).collect();
    let columns = Columns::fit(&rows, style.width);
    let scale = Scale::of(&trace.spans);
    let mut out = heading(trace, &scale, style);
    let mut in_orphans = false;
    for row in &rows {
        if row.orphan && !in_orphans {
            in_orphans = true;
            let _ = writeln!(
                out,
                "{}",
                paint(style, DIM, "orphans: their parent has not come")
            );
        }
        let bar = scale.bar(row.span, columns.bar);
        let colour = if row.failed { ERROR } else { "" };
        let line = format!(
            "{}  {}  {}  {}  {}",
            paint(style, colour, &fit(&row.label, columns.label)),
            left_pad(&format!("+{}", duration(scale.offset(row.span))), OFFSET),
            left_pad(&duration(row.span.duration_us), DURATION),
            paint(style, if row.failed { ERROR } else { DIM }, &bar),
            paint(style, colour, fit(&row.note, columns.note).trim_end()),
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn heading(trace: &Trace, scale: &Scale, style: Style) -> String {
    let spans = &trace.spans;
    let root = lines(spans)
        .into_iter()
        .next()
        .map(|line| &spans[line.span]);
    let errors = spans.iter().filter(|span| span.status == "error").count();
    // Agents repeat the totals of their calls: only the calls count.
    let think = || spans.iter().filter(|span| span.step_type == "think");
    let tokens_in: u64 = think().map(|span| span.input_tokens).sum();
    let tokens_out: u64 = think().map(|span| span.output_tokens).sum();
    let mut parts = vec![counted(spans.len(), "span"), duration(scale.total)];
    if let Some(agent) = root
        .map(|span| plain(&span.agent))
        .filter(|agent| !agent.is_empty())
    {
        parts.insert(0, agent);
    }
    if !trace.session_id.is_empty() {
        parts.insert(0, format!("session {}", plain(&trace.session_id)));
    }
    if tokens_in + tokens_out > 0 {
        parts.push(format!("{tokens_in} tokens in, {tokens_out} out"));
    }
    if errors > 0 {
        parts.push(counted(errors, "error"));
    }
    let title = paint(style, BOLD, &format!("trace {}", plain(&trace.trace_id)));
    format!("{title}\n{}\n", parts.join(" · "))
}

/// What one line says.
struct Row<'a> {
    span: &'a Span,
    label: String,
    note: String,
    orphan: bool,
    failed: bool,
}

impl<'a> Row<'a> {
    fn new(line: &Line, trace: &'a Trace) -> Self {
        let span = &trace.spans[line.span];
        let failed = span.status == "error";
        let named = [&span.tool_name, &span.model, &span.name];
        let what = named
            .into_iter()
            .find(|name| !name.is_empty())
            .map(|name| plain(name));
        let label = format!(
            "{}{} {}",
            line.guide,
            plain(&span.step_type),
            what.unwrap_or_default()
        );
        let mut notes = Vec::new();
        if failed {
            let error = [&*span.error_type, &*span.error_message];
            let said: Vec<_> = error
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(plain)
                .collect();
            notes.push(if said.is_empty() {
                "✗ error".to_owned()
            } else {
                format!("✗ {}", said.join(": "))
            });
        }
        if span.input_tokens + span.output_tokens > 0 {
            notes.push(format!(
                "{}→{} tokens",
                span.input_tokens, span.output_tokens
            ));
        }
        Self {
            span,
            label,
            note: notes.join("  "),
            orphan: line.orphan,
            failed,
        }
    }
}

/// Columns of the parts whose width depends on what they hold.
struct Columns {
    label: usize,
    bar: usize,
    note: usize,
}

impl Columns {
    fn fit(rows: &[Row<'_>], total: usize) -> Self {
        let widest_label = rows.iter().map(|row| width(&row.label)).max().unwrap_or(0);
        let widest_note = rows.iter().map(|row| width(&row.note)).max().unwrap_or(0);
        let label = widest_label.clamp(LEAST_LABEL, (total * 2 / 5).max(LEAST_LABEL));
        // Four gaps of two columns.
        let free = total.saturating_sub(label + OFFSET + DURATION + 8);
        let note = widest_note.min((free / 2).max(LEAST_NOTE));
        Self {
            label,
            bar: free.saturating_sub(note).max(LEAST_BAR),
            note,
        }
    }
}

/// The time that the trace spans, from the first start to the last end, whichever span has it.
struct Scale {
    start_us: i64,
    total: u64,
}

impl Scale {
    fn of(spans: &[Span]) -> Self {
        let start_us = spans.iter().map(|span| span.start_us).min().unwrap_or(0);
        let end_us = spans.iter().map(|span| span.end_us).max().unwrap_or(0);
        Self {
            start_us,
            total: end_us.abs_diff(start_us),
        }
    }

    fn offset(&self, span: &Span) -> u64 {
        span.start_us.abs_diff(self.start_us)
    }

    /// At least one cell, never beyond the last one.
    fn bar(&self, span: &Span, cells: usize) -> String {
        let cell = |us: u64| {
            let place = u128::from(us) * cells as u128 / u128::from(self.total.max(1));
            usize::try_from(place).unwrap_or(cells).min(cells)
        };
        let from = cell(self.offset(span)).min(cells.saturating_sub(1));
        let to = cell(span.end_us.abs_diff(self.start_us)).max(from + 1);
        format!(
            "{}{}{}",
            " ".repeat(from),
            "━".repeat(to - from),
            " ".repeat(cells.saturating_sub(to))
        )
    }
}

fn left_pad(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

fn paint(style: Style, code: &str, text: &str) -> String {
    if !style.coloured || code.is_empty() || text.is_empty() {
        return text.to_owned();
    }
    format!("{code}{text}{RESET}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAIN: Style = Style {
        width: 100,
        coloured: false,
    };

    fn span(id: &str, parent: &str, start_ms: i64, end_ms: i64, step_type: &str) -> Span {
        Span {
            span_id: id.into(),
            parent_span_id: parent.into(),
            start_us: start_ms * 1000,
            end_us: end_ms * 1000,
            duration_us: u64::try_from((end_ms - start_ms) * 1000).unwrap(),
            agent: "planner".into(),
            step_type: step_type.into(),
            status: "ok".into(),
            ..Span::default()
        }
    }

    fn planted() -> Trace {
        let mut think = span("b", "a", 100, 400, "think");
        (think.model, think.input_tokens, think.output_tokens) = ("gpt-x".into(), 120, 30);
        let mut act = span("c", "a", 400, 1200, "act");
        (act.tool_name, act.status) = ("查询天气".into(), "error".into());
        (act.error_type, act.error_message) = ("Timeout".into(), "no\nanswer".into());
        let mut root = span("a", "", 0, 1000, "session");
        root.name = "turn".into();
        let mut stray = span("x", "gone", 500, 600, "observe");
        stray.name = "stray".into();
        Trace {
            trace_id: "t".into(),
            session_id: "s-1".into(),
            spans: vec![act, stray, think, root],
        }
    }

    #[test]
    fn a_trace_is_drawn_with_offsets_durations_tokens_errors_and_orphans() {
        let text = render(&planted(), PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "trace t");
        assert_eq!(
            lines[1],
            "session s-1 · planner · 4 spans · 1.20 s · 120 tokens in, 30 out · 1 error"
        );
        assert!(
            lines[2].starts_with("session turn")
                && lines[2].contains("+0 µs")
                && lines[2].contains("1.00 s")
        );
        assert!(
            lines[3].starts_with("├─ think gpt-x")
                && lines[3].contains("+100.0 ms")
                && lines[3].ends_with("120→30 tokens")
        );
        assert!(
            lines[4].starts_with("└─ act 查询天气") && lines[4].ends_with("✗ Timeout: no answer")
        );
        assert_eq!(lines[5], "orphans: their parent has not come");
        assert!(lines[6].starts_with("observe stray"));
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn columns_are_straight_beside_chinese_and_no_line_is_too_long() {
        for total in [80, 100, 160] {
            let text = render(
                &planted(),
                Style {
                    width: total,
                    coloured: false,
                },
            );
            // The offsets are flush right: each ends in the same column.
            let end = |line: &str| {
                let (before, offset) = line.split_once('+')?;
                Some(width(before) + width(offset.split("  ").next()?))
            };
            let at: Vec<_> = text.lines().filter_map(end).collect();
            assert_eq!(at.len(), 4);
            assert!(at.iter().all(|end| *end == at[0]), "{text}");
            assert!(
                text.lines().skip(2).all(|line| width(line) <= total),
                "{text}"
            );
        }
    }

    #[test]
    fn a_child_that_outlives_its_parent_stretches_the_scale() {
        let trace = planted();
        let scale = Scale::of(&trace.spans);
        assert_eq!(scale.total, 1_200_000);
        let act = scale.bar(&trace.spans[0], 12);
        assert_eq!(act, "    ━━━━━━━━");
        let root = scale.bar(&trace.spans[3], 12);
        assert_eq!(root, "━━━━━━━━━━  ");
    }

    #[test]
    fn a_bar_has_one_cell_at_least_even_at_the_very_end() {
        let spans = [
            span("a", "", 0, 1000, "session"),
            span("b", "a", 1000, 1000, "act"),
        ];
        assert_eq!(Scale::of(&spans).bar(&spans[1], 10), "         ━");
        let instant = [span("a", "", 5, 5, "act")];
        assert_eq!(Scale::of(&instant).bar(&instant[0], 3), "━  ");
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(!render(&planted(), PLAIN).contains('\x1b'));
        let coloured = render(
            &planted(),
            Style {
                coloured: true,
                ..PLAIN
            },
        );
        assert!(coloured.contains(ERROR) && coloured.contains(RESET));
    }
}
