//! How one setting's value is written and read: text in, a typed value out, and back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A type that a setting can have.
pub trait SettingValue: Sized {
    /// What the reference says that a value looks like, such as "duration (`500ms`, `10s`, `1h`)".
    const KIND: &'static str;

    /// Reads a value.
    ///
    /// # Errors
    /// What was expected instead, as the end of a sentence that begins with "expected".
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes a value so that [`SettingValue::parse`] reads the same one.
    fn show(&self) -> String;

    /// The number that bounds are checked against: ms for a duration, bytes for a size, else the number itself.
    fn measure(&self) -> Option<f64> {
        None
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "expected `true` or `false`".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($($number:ty),+) => {$(
        impl SettingValue for $number {
            const KIND: &'static str = "whole number";

            fn parse(text: &str) -> Result<Self, String> {
                text.replace('_', "").parse().map_err(|_| {
                    format!("expected a whole number between 0 and {}", <$number>::MAX)
                })
            }

            fn show(&self) -> String {
                self.to_string()
            }

            #[allow(clippy::cast_precision_loss)]
            fn measure(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    )+};
}
whole_number!(u16, u32, u64);

impl SettingValue for f64 {
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("expected a number, such as `6` or `2.5`".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> Option<f64> {
        Some(*self)
    }
}

/// A time zone by its name in the IANA time zone database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeZone(pub chrono_tz::Tz);

impl SettingValue for TimeZone {
    const KIND: &'static str = "IANA name of a time zone (`UTC`, `Asia/Shanghai`)";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(TimeZone).map_err(|_| {
            "expected the name of a time zone as the IANA database has it, such as `UTC` or `Asia/Shanghai`"
                .to_owned()
        })
    }

    fn show(&self) -> String {
        self.0.name().to_owned()
    }
}

impl SettingValue for SocketAddr {
    const KIND: &'static str = "address and port";

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.replacen("localhost:", "127.0.0.1:", 1);
        text.parse()
            .map_err(|_| "expected an IP address and port, such as `127.0.0.1:8090`".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A unit's name and its size in the base unit.
type Unit = (&'static str, u64);

const TIME_UNITS: [Unit; 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [Unit; 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// `12min` with the units of time gives 720,000. Fractions are not taken: `1500ms`, not `1.5s`.
fn parse_quantity(text: &str, units: &[Unit]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let number: u64 = text[..digits].replace('_', "").parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*size)
}

/// The largest unit that leaves a whole number.
fn show_quantity(quantity: u64, units: &[Unit]) -> String {
    let fits = |unit: &&Unit| quantity.is_multiple_of(unit.1) && quantity > 0;
    let (name, size) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", quantity / size)
}

impl SettingValue for Duration {
    const KIND: &'static str = "duration (`500ms`, `10s`, `5min`, `1h`, `7d`)";

    fn parse(text: &str) -> Result<Self, String> {
        parse_quantity(text, &TIME_UNITS)
            .map(Duration::from_millis)
            .ok_or_else(|| {
                "expected a whole number with a unit of ms, s, min, h or d, such as `500ms` or `1h`"
                    .to_owned()
            })
    }

    fn show(&self) -> String {
        show_quantity(
            u64::try_from(self.as_millis()).unwrap_or(u64::MAX),
            &TIME_UNITS,
        )
    }

    #[allow(clippy::cast_precision_loss)]
    fn measure(&self) -> Option<f64> {
        Some(self.as_millis() as f64)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The number of bytes, at most what a `usize` holds.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl SettingValue for ByteSize {
    const KIND: &'static str = "size (`512KiB`, `32MiB`, `1GiB`)";

    fn parse(text: &str) -> Result<Self, String> {
        parse_quantity(text, &SIZE_UNITS)
            .map(ByteSize)
            .ok_or_else(|| {
                "expected a whole number with a unit of B, KiB, MiB or GiB, such as `32MiB`"
                    .to_owned()
            })
    }

    fn show(&self) -> String {
        show_quantity(self.0, &SIZE_UNITS)
    }

    #[allow(clippy::cast_precision_loss)]
    fn measure(&self) -> Option<f64> {
        Some(self.0 as f64)
    }
}

/// Raw properties by name. Given whole only as a TOML table; one by one elsewhere.
pub type Properties = BTreeMap<String, String>;

impl SettingValue for Properties {
    const KIND: &'static str = "table of text";

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Properties::new());
        }
        text.split(',')
            .map(|pair| {
                pair.split_once('=')
                    .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                    .ok_or_else(|| {
                        "expected `name=value` pairs with commas between them".to_owned()
                    })
            })
            .collect()
    }

    fn show(&self) -> String {
        let pairs: Vec<String> = self.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join(",")
    }
}

/// Declares an enum whose variants are the words that a setting may say.
macro_rules! setting_words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl SettingValue for $name {
            const KIND: &'static str = concat!("one of" $(, " `", $word, "`")+);

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(concat!("expected one of" $(, " `", $word, "`")+).to_owned()),
                }
            }

            fn show(&self) -> String {
                match self { $($name::$variant => $word.to_owned(),)+ }
            }
        }
    };
}

setting_words! {
    /// Where a partition without a recorded position begins.
    StartOffsets {
        /// At its oldest record.
        Earliest = "earliest",
        /// Behind its newest record.
        Latest = "latest",
    }
}

setting_words! {
    /// What happens when records were deleted before they were read.
    OnDataLoss {
        /// The job stops and says which.
        Stop = "stop",
        /// It goes on behind them; the loss is counted and recorded.
        Continue = "continue",
    }
}

setting_words! {
    /// How the bodies of inserts are compressed.
    InsertCompression {
        /// Not at all: best on loopback and in one network.
        None = "none",
        /// LZ4 blocks.
        Lz4 = "lz4",
    }
}

setting_words! {
    /// Which part of the dataflow is built.
    Layers {
        /// Every layer, written to the warehouse.
        All = "all",
        /// Kafka to windows alone, nothing written: for benchmarks.
        Windows = "windows",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_and_shown_in_the_largest_that_fits() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2min"),
            ("1 h", 3_600_000, "1h"),
            ("48h", 172_800_000, "2d"),
            ("0s", 0, "0ms"),
            ("1_500ms", 1_500, "1500ms"),
        ] {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(duration.show(), shown, "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_or_with_a_wrong_one_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "10 sec",
            "-1s",
            "99999999999999999999d",
            "20000000000000000d",
        ] {
            assert!(Duration::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_binary_and_decimal_units_are_refused() {
        assert_eq!(ByteSize::parse("32MiB").unwrap(), ByteSize(32 << 20));
        assert_eq!(ByteSize(3 << 30).show(), "3GiB");
        assert_eq!(ByteSize(1_500).show(), "1500B");
        assert!(ByteSize::parse("32MB").is_err());
    }

    #[test]
    fn words_are_exact_and_the_error_lists_them() {
        assert_eq!(StartOffsets::parse("latest"), Ok(StartOffsets::Latest));
        let error = StartOffsets::parse("newest").unwrap_err();
        assert!(error.contains("`earliest` `latest`"), "{error}");
    }
}
