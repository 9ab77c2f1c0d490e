//! Days of the business time zone.

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;

/// A day, in days since 1970-01-01: what the tables' `Date` is.
pub type Day = u16;

/// The day that a time, µs since 1970, lies in. A time before the first day or after the last one lies in that one.
#[must_use]
pub fn day_of(time_us: i64, zone: Tz) -> Day {
    let seconds = time_us.div_euclid(1_000_000);
    let offset = DateTime::from_timestamp(seconds, 0).map_or(0, |at| {
        let offset = zone.offset_from_utc_datetime(&at.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    });
    let day = (seconds + offset).div_euclid(86_400);
    Day::try_from(day.max(0)).unwrap_or(Day::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(time: &str) -> i64 {
        DateTime::parse_from_rfc3339(time)
            .unwrap()
            .timestamp_micros()
    }

    /// Days since 1970 of a date.
    fn date(date: &str) -> i64 {
        at(&format!("{date}T00:00:00Z")) / 86_400_000_000
    }

    #[test]
    fn days_of_23_and_25_hours_begin_and_end_at_midnight_of_the_zone() {
        for (first, last, day, hours) in [
            // Clocks go from 02:00 to 03:00.
            (
                "2026-03-28T23:00:00Z",
                "2026-03-29T21:59:59Z",
                "2026-03-29",
                23,
            ),
            // Clocks go from 03:00 to 02:00.
            (
                "2026-10-24T22:00:00Z",
                "2026-10-25T22:59:59Z",
                "2026-10-25",
                25,
            ),
            (
                "2026-11-22T23:00:00Z",
                "2026-11-23T22:59:59Z",
                "2026-11-23",
                24,
            ),
        ] {
            let (first, last) = (at(first), at(last) + 999_999);
            let days = [first - 1, first, last, last + 1];
            let days = days.map(|us| i64::from(day_of(us, Tz::Europe__Berlin)) - date(day));
            assert_eq!(days, [-1, 0, 0, 1], "{day}");
            assert_eq!(last + 1 - first, hours * 3_600_000_000, "{day}");
        }
    }

    #[test]
    fn zones_ahead_of_and_behind_utc_have_other_days() {
        let evening = at("2026-11-23T20:00:00Z");
        for (zone, day) in [
            (Tz::UTC, "2026-11-23"),
            (Tz::Asia__Shanghai, "2026-11-24"),
            (Tz::Pacific__Kiritimati, "2026-11-24"),
            (Tz::America__Los_Angeles, "2026-11-23"),
        ] {
            assert_eq!(i64::from(day_of(evening, zone)), date(day), "{zone}");
        }
        let night = at("2026-11-23T03:00:00Z");
        let there = day_of(night, Tz::America__Los_Angeles);
        assert_eq!(i64::from(there), date("2026-11-22"));
    }

    #[test]
    fn times_beyond_the_days_of_a_table_lie_in_the_first_and_the_last() {
        assert_eq!(day_of(i64::MIN, Tz::UTC), 0);
        assert_eq!(day_of(-1, Tz::Asia__Shanghai), 0);
        assert_eq!(day_of(i64::MAX - 1, Tz::UTC), Day::MAX);
    }
}
