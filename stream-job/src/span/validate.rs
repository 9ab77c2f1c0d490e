//! What makes a decoded span one that can land: ids and times. Its text and counts were bounded by the walk.

use super::view::SpanView;

/// 2000-01-01T00:00:00Z in ns since 1970. A span that ends before it comes from a clock that was never set.
const YEAR_2000_NS: u64 = 946_684_800_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// The bounds of [`validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far beyond the ingest time a span may end, in ms.
    pub max_ahead_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_ahead_ms: 24 * 60 * 60 * 1000,
        }
    }
}

/// Why one span is a dead letter while the rest of its record lands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SpanReject {
    /// The stable code, one of [`SpanReject::CODES`].
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl SpanReject {
    /// Every code that [`validate`] can give.
    pub const CODES: [&'static str; 5] = [
        "bad_trace_id",
        "bad_span_id",
        "bad_parent_span_id",
        "bad_field",
        "time_out_of_range",
    ];

    #[cold]
    fn new(code: &'static str, message: String) -> Self {
        SpanReject { code, message }
    }
}

/// Checks that a span can land.
///
/// - `bad_field`: the JSON that it was transcoded from has a value in it that cannot be read.
/// - `bad_trace_id`, `bad_span_id`: not 16 and 8 bytes, or all zero.
/// - `bad_parent_span_id`: neither absent nor 8 bytes. All zero is a root, as some SDKs write it so.
/// - `time_out_of_range`: no end, an end before 2000 or more than [`Limits::max_ahead_ms`] after `ingest_ms` (ms since
///   1970, the epoch's wall clock), or a start between 1970 and 2000. An end before the start is no reason: see
///   [`clean_times`].
///
/// # Errors
/// The first of these reasons that applies.
pub fn validate(span: &SpanView<'_>, limits: &Limits, ingest_ms: i64) -> Result<(), SpanReject> {
    if !span.refs.problem.is_empty() {
        return Err(SpanReject::new("bad_field", span.refs.problem.to_string()));
    }
    check_id("bad_trace_id", "trace id", span.trace_id, 16)?;
    check_id("bad_span_id", "span id", span.span_id, 8)?;
    if !matches!(span.parent_span_id.len(), 0 | 8) {
        let message = format!(
            "the parent's span id has {} bytes, expected 8 or none at a root",
            span.parent_span_id.len()
        );
        return Err(SpanReject::new("bad_parent_span_id", message));
    }
    check_times(span, limits, ingest_ms)
}

fn check_id(code: &'static str, what: &str, id: &[u8], bytes: usize) -> Result<(), SpanReject> {
    if id.len() != bytes {
        let message = format!("the {what} has {} bytes, expected {bytes}", id.len());
        return Err(SpanReject::new(code, message));
    }
    if id.iter().all(|&byte| byte == 0) {
        return Err(SpanReject::new(code, format!("the {what} is all zero")));
    }
    Ok(())
}

fn check_times(span: &SpanView<'_>, limits: &Limits, ingest_ms: i64) -> Result<(), SpanReject> {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    let reason = if end == 0 {
        "it has no end time: it has not ended, or its sender lost it".to_owned()
    } else if let Some(reason) = out_of_range("ends", end, limits, ingest_ms) {
        reason
    } else if start != 0 && start < YEAR_2000_NS {
        format!("it starts before 2000, {start} ns after 1970")
    } else {
        return Ok(());
    };
    Err(SpanReject::new("time_out_of_range", reason))
}

/// Why a time is none that a clock shows; `verb` is what happens at it.
#[must_use]
pub(crate) fn out_of_range(
    verb: &str,
    time_ns: u64,
    limits: &Limits,
    ingest_ms: i64,
) -> Option<String> {
    let ingest_ms = u64::try_from(ingest_ms).unwrap_or(0);
    let latest_ms = ingest_ms.saturating_add(limits.max_ahead_ms);
    if time_ns < YEAR_2000_NS {
        return Some(format!("it {verb} before 2000, {time_ns} ns after 1970"));
    }
    (time_ns > latest_ms.saturating_mul(NS_PER_MS)).then(|| {
        format!(
            "it {verb} {} s after its ingest time, {time_ns} ns after 1970; at most {} s are allowed",
            (time_ns / NS_PER_MS).saturating_sub(ingest_ms) / 1000,
            limits.max_ahead_ms / 1000,
        )
    })
}

/// A span's times as they land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanTimes {
    /// Start in µs since 1970.
    pub start_us: i64,
    /// End in µs since 1970: the event time.
    pub end_us: i64,
    /// Duration in µs, from the nanoseconds sent.
    pub duration_us: u64,
    /// Whether the start sent was replaced by the end.
    pub cleaned: bool,
}

/// The times of a span that passed [`validate`]; one without an end has a duration of 0.
///
/// Where the end is before the start (a clock that was set back) or the start is missing, the end stays, as it is the
/// event time that windows go by, and the start becomes the end: a duration of 0. The walk marks such a span with the
/// attribute `spanflow.cleaned`: `end_before_start` or `no_start`.
#[must_use]
pub fn clean_times(span: &SpanView<'_>) -> CleanTimes {
    let end = span.end_time_unix_nano;
    let cleaned = cleaned_times_mark(span).is_some();
    let start = if cleaned {
        end
    } else {
        span.start_time_unix_nano
    };
    // 2^64 ns are 2^54 µs: an i64 holds them.
    CleanTimes {
        start_us: (start / 1000).cast_signed(),
        end_us: (end / 1000).cast_signed(),
        duration_us: end.saturating_sub(start) / 1000,
        cleaned,
    }
}

/// What [`clean_times`] has to clean, as the attribute says it. Nothing where there is no end, as such a span is
/// rejected.
#[inline]
pub(crate) fn cleaned_times_mark(span: &SpanView<'_>) -> Option<&'static str> {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    if start != 0 && start <= end || end == 0 {
        None
    } else if start == 0 {
        Some("no_start")
    } else {
        Some("end_before_start")
    }
}

/// The parent's span id, all zero at a root. `None` where it has a length that [`validate`] rejects.
#[must_use]
pub fn parent_span_id(span: &SpanView<'_>) -> Option<[u8; 8]> {
    match span.parent_span_id {
        [] => Some([0; 8]),
        id => id.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_760_000_000_000;
    const NOW_NS: u64 = 1_760_000_000_000_000_000;
    const DAY_NS: u64 = 86_400_000_000_000;

    fn good() -> SpanView<'static> {
        SpanView {
            trace_id: &[1; 16],
            span_id: &[2; 8],
            start_time_unix_nano: NOW_NS - 1_234_567,
            end_time_unix_nano: NOW_NS,
            ..SpanView::default()
        }
    }

    fn code(span: &SpanView<'_>) -> Option<&'static str> {
        validate(span, &Limits::default(), NOW_MS)
            .err()
            .map(|reject| {
                assert!(SpanReject::CODES.contains(&reject.code));
                assert!(!reject.to_string().is_empty());
                reject.code
            })
    }

    #[test]
    fn a_good_span_passes() {
        assert_eq!(code(&good()), None);
        assert_eq!(
            code(&SpanView {
                parent_span_id: &[9; 8],
                ..good()
            }),
            None
        );
    }

    #[test]
    fn ids_of_a_wrong_length_or_all_zero_are_rejected() {
        assert_eq!(
            code(&SpanView {
                trace_id: &[0; 16],
                ..good()
            }),
            Some("bad_trace_id")
        );
        assert_eq!(
            code(&SpanView {
                trace_id: &[1; 8],
                ..good()
            }),
            Some("bad_trace_id")
        );
        assert_eq!(
            code(&SpanView {
                trace_id: &[],
                ..good()
            }),
            Some("bad_trace_id")
        );
        assert_eq!(
            code(&SpanView {
                span_id: &[0; 8],
                ..good()
            }),
            Some("bad_span_id")
        );
        assert_eq!(
            code(&SpanView {
                span_id: &[1; 16],
                ..good()
            }),
            Some("bad_span_id")
        );
        assert_eq!(
            code(&SpanView {
                parent_span_id: &[1; 4],
                ..good()
            }),
            Some("bad_parent_span_id")
        );
    }

    #[test]
    fn a_parent_of_zeros_is_a_root() {
        let span = SpanView {
            parent_span_id: &[0; 8],
            ..good()
        };
        assert_eq!((code(&span), parent_span_id(&span)), (None, Some([0; 8])));
        assert_eq!(parent_span_id(&good()), Some([0; 8]));
    }

    #[test]
    fn times_outside_the_years_that_clocks_show_are_rejected() {
        let with = |start, end| SpanView {
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..good()
        };
        let out = Some("time_out_of_range");
        assert_eq!(code(&with(0, 0)), out);
        assert_eq!(code(&with(NOW_NS, 0)), out);
        assert_eq!(code(&with(1, 1_000_000_000)), out, "1970");
        assert_eq!(code(&with(0, YEAR_2000_NS - 1)), out);
        assert_eq!(
            code(&with(YEAR_2000_NS - 1, YEAR_2000_NS)),
            out,
            "a start before 2000"
        );
        assert_eq!(code(&with(YEAR_2000_NS, YEAR_2000_NS)), None);
        assert_eq!(code(&with(NOW_NS, NOW_NS + DAY_NS)), None);
        assert_eq!(code(&with(NOW_NS, NOW_NS + DAY_NS + 1)), out);
        assert_eq!(code(&with(NOW_NS, 7_258_118_400_000_000_000)), out, "2200");
        assert_eq!(code(&with(NOW_NS, u64::MAX)), out);
        assert_eq!(code(&with(0, NOW_NS)), None, "cleaned");
        assert_eq!(code(&with(NOW_NS + 5, NOW_NS)), None, "cleaned");
    }

    #[test]
    fn an_end_before_the_start_keeps_the_end() {
        let times = |start, end| {
            let span = SpanView {
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                ..good()
            };
            let times = clean_times(&span);
            (
                times.start_us,
                times.end_us,
                times.duration_us,
                times.cleaned,
            )
        };
        assert_eq!(times(1_999, 4_000), (1, 4, 2, false));
        assert_eq!(times(9_000, 4_000), (4, 4, 0, true));
        assert_eq!(times(0, 4_000), (4, 4, 0, true));
        assert_eq!(
            times(u64::MAX, u64::MAX),
            (18_446_744_073_709_551, 18_446_744_073_709_551, 0, false)
        );
    }

    #[test]
    fn a_problem_of_the_transcoder_rejects_the_span() {
        let mut span = good();
        span.refs.problem = "$.spans[0].end_time at byte 9: not a time".into();
        assert_eq!(code(&span), Some("bad_field"));
    }
}
