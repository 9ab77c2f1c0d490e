//! ISO 8601 times of session documents.

use chrono::{FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, Utc};

/// UTC as a fixed offset.
pub(super) const UTC: FixedOffset = match FixedOffset::east_opt(0) {
    Some(utc) => utc,
    None => unreachable!(),
};

/// Why a text is no time or time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not in the form that is read.
    #[error("expected an ISO 8601 time such as 2025-08-17T10:00:00.123Z, found {0:?}")]
    Form(String),
    /// In that form, but on no clock or calendar, or outside 1970 to 2554.
    #[error("there is no time {0:?}, or it is before 1970 or after 2554")]
    Range(String),
    /// Not a time zone that is known here.
    #[error(
        "expected the time zone as UTC or as a fixed offset such as +08:00, found {0:?} (names such as Asia/Shanghai \
         are not known here)"
    )]
    Zone(String),
}

/// Reads `document_time_zone`: `UTC`, `Z`, `+08:00`, `-0330` or `+08`.
///
/// # Errors
/// [`TimeError::Zone`] for anything else.
pub fn parse_time_zone(text: &str) -> Result<FixedOffset, TimeError> {
    match text.trim() {
        "UTC" | "utc" => Ok(Utc.fix()),
        trimmed => offset(trimmed).ok_or_else(|| TimeError::Zone(text.to_owned())),
    }
}

/// Reads a time in ns since 1970: `2025-08-17T10:00:00.123456789+08:00`. The `T` may be a space, the seconds and their
/// fraction (after a point or a comma, cut at nanoseconds) may be left out; without an offset `zone` holds.
///
/// # Errors
/// [`TimeError`] for another form, and for dates and times that do not exist.
pub fn parse_time(text: &str, zone: FixedOffset) -> Result<u64, TimeError> {
    let (local, own_zone) = split(text.trim()).ok_or_else(|| TimeError::Form(text.to_owned()))?;
    let range = || TimeError::Range(text.to_owned());
    let seconds_east = i64::from(own_zone.unwrap_or(zone).local_minus_utc());
    let utc = local.naive().ok_or_else(range)?.and_utc();
    let seconds = u64::try_from(utc.timestamp() - seconds_east).map_err(|_| range())?;
    let whole = seconds.checked_mul(1_000_000_000).ok_or_else(range)?;
    // A leap second has a fraction of over 10^9 ns here, and so falls into the second after it.
    whole
        .checked_add(u64::from(utc.timestamp_subsec_nanos()))
        .ok_or_else(range)
}

/// A time as written, perhaps on no calendar.
struct Local {
    date: [u32; 3],
    time: [u32; 3],
    nanos: u32,
}

impl Local {
    fn naive(&self) -> Option<NaiveDateTime> {
        let [year, month, day] = self.date;
        let [hour, minute, second] = self.time;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        let (second, nanos) = match second {
            60 => (59, self.nanos + 1_000_000_000),
            _ => (second, self.nanos),
        };
        Some(date.and_time(NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?))
    }
}

fn split(text: &str) -> Option<(Local, Option<FixedOffset>)> {
    let mut rest = text;
    let date = [
        number(&mut rest, 4)?,
        dashed(&mut rest, '-')?,
        dashed(&mut rest, '-')?,
    ];
    rest = rest.strip_prefix(['T', 't', ' '])?;
    let (hour, minute) = (number(&mut rest, 2)?, dashed(&mut rest, ':')?);
    let (mut second, mut nanos) = (0, 0);
    if rest.starts_with(':') {
        second = dashed(&mut rest, ':')?;
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let mut kept = fraction.get(..length.min(9))?;
            nanos = number(&mut kept, length.min(9))? * 10u32.pow(9 - length.min(9) as u32);
            rest = &fraction[length..];
        }
    }
    let local = Local {
        date,
        time: [hour, minute, second],
        nanos,
    };
    match rest.trim_start() {
        "" => Some((local, None)),
        zone => Some((local, Some(offset(zone)?))),
    }
}

/// `Z` or `±HH`, `±HHMM`, `±HH:MM`.
fn offset(text: &str) -> Option<FixedOffset> {
    if text.eq_ignore_ascii_case("z") {
        return Some(UTC);
    }
    let (sign, mut rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let hours = number(&mut rest, 2)?;
    let mut minutes = 0;
    if !rest.is_empty() {
        rest = rest.strip_prefix(':').unwrap_or(rest);
        minutes = number(&mut rest, 2)?;
    }
    if !rest.is_empty() || minutes > 59 {
        return None;
    }
    FixedOffset::east_opt(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

/// Two digits behind a separator.
fn dashed(rest: &mut &str, separator: char) -> Option<u32> {
    *rest = rest.strip_prefix(separator)?;
    number(rest, 2)
}

/// A number of exactly so many digits, at least one.
fn number(rest: &mut &str, digits: usize) -> Option<u32> {
    let (number, after) = rest.split_at_checked(digits)?;
    if digits == 0 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *rest = after;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// 2025-08-17T10:00:00Z
    const TEN: u64 = 1_755_424_800_000_000_000;
    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn the_forms_of_iso_8601_are_read() {
        for (text, expected) in [
            ("2025-08-17T10:00:00Z", TEN),
            ("2025-08-17t10:00:00z", TEN),
            (" 2025-08-17 10:00 ", TEN),
            ("2025-08-17T10:00:00.5", TEN + 500_000_000),
            ("2025-08-17T10:00:00,123456789987Z", TEN + 123_456_789),
            ("2025-08-17T10:00:00+08:00", TEN - 8 * HOUR),
            ("2025-08-17T10:00:00.000+0800", TEN - 8 * HOUR),
            ("2025-08-17 10:00:00 -03:30", TEN + 3 * HOUR + HOUR / 2),
            ("2025-08-17T10:00:00+08", TEN - 8 * HOUR),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
            ("2016-12-31T23:59:60.5Z", 1_483_228_800_500_000_000),
        ] {
            assert_eq!(parse_time(text, UTC), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_time_without_offset_is_in_the_zone_that_is_set() {
        let zone = parse_time_zone("+08:00").unwrap();
        assert_eq!(parse_time("2025-08-17T18:00:00", zone), Ok(TEN));
        assert_eq!(parse_time("2025-08-17T10:00:00Z", zone), Ok(TEN));
    }

    #[test]
    fn other_forms_and_times_that_do_not_exist_are_refused() {
        for text in [
            "",
            "2025-08-17",
            "17.08.2025 10:00",
            "2025-8-17T10:00:00",
            "2025-08-17T10:00:00.Z",
            "2025-08-17T10:00:00+8",
            "2025-08-17T10:00:00 CET",
            "1755424800",
            "２０２５-08-17T10:00:00",
        ] {
            assert_eq!(parse_time(text, UTC), Err(TimeError::Form(text.to_owned())));
        }
        for text in [
            "2025-02-29T10:00:00Z",
            "2025-13-01T10:00:00Z",
            "2025-08-17T24:00:00Z",
            "2025-08-17T10:60:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2600-01-01T00:00:00Z",
        ] {
            assert_eq!(
                parse_time(text, UTC),
                Err(TimeError::Range(text.to_owned()))
            );
        }
    }

    #[test]
    fn a_named_zone_is_refused_with_advice() {
        assert_eq!(parse_time_zone("UTC"), Ok(UTC));
        assert_eq!(parse_time_zone("-0330").unwrap().local_minus_utc(), -12_600);
        let error = parse_time_zone("Asia/Shanghai").unwrap_err();
        assert!(error.to_string().contains("+08:00"), "{error}");
    }
}
