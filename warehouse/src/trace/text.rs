//! Text in columns: what it takes on a terminal, cut and padded, and numbers that people can read.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text` in `width` columns: cut with `…` or filled with spaces. A Chinese character takes two columns.
pub(super) fn fit(text: &str, width: usize) -> String {
    let taken = text.width();
    if taken <= width {
        return format!("{text}{}", " ".repeat(width - taken));
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        out.push(c);
        used += wide;
    }
    if width > 0 {
        out.push('…');
        used += 1;
    }
    out.push_str(&" ".repeat(width.saturating_sub(used)));
    out
}

/// The columns that `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` on one line and without what steers a terminal: spans are written by strangers.
pub(super) fn plain(text: &str) -> String {
    let space = |c: char| {
        if c.is_whitespace() || c.is_control() {
            ' '
        } else {
            c
        }
    };
    // Marks that turn the direction of writing would put the columns in disorder.
    let turns = |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let cleaned: String = text.chars().filter(|c| !turns(c)).map(space).collect();
    cleaned
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// µs as people say them: `850 µs`, `12.3 ms`, `1.24 s`, `2m 05s`, `1h 02m`.
pub(super) fn duration(us: u64) -> String {
    const MS: u64 = 1_000;
    const S: u64 = 1_000_000;
    // Rounded to the digits shown, so that 999,999 µs is not "1000.0 ms".
    let tenth_ms = us.saturating_add(50) / 100;
    let hundredth_s = us.saturating_add(5_000) / 10_000;
    let s = us.saturating_add(500_000) / S;
    if us < MS {
        format!("{us} µs")
    } else if tenth_ms < 10_000 {
        format!("{}.{} ms", tenth_ms / 10, tenth_ms % 10)
    } else if hundredth_s < 6_000 {
        format!("{}.{:02} s", hundredth_s / 100, hundredth_s % 100)
    } else if s < 3_600 {
        format!("{}m {:02}s", s / 60, s % 60)
    } else {
        format!("{}h {:02}m", s / 3_600, s % 3_600 / 60)
    }
}

/// `n` things: `1 span`, `3 spans`.
pub(super) fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_takes_two_columns_and_is_never_cut_in_half() {
        assert_eq!(fit("查询天气", 10), "查询天气  ");
        assert_eq!(fit("查询天气", 8), "查询天气");
        assert_eq!(fit("查询天气", 7), "查询天…");
        assert_eq!(fit("查询天气", 6), "查询… ");
        assert_eq!(width(&fit("a查b询c", 4)), 4);
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        assert_eq!(plain("a\u{1b}[31m\nb\u{202e} \t c"), "a [31m b c");
    }

    #[test]
    fn durations_are_rounded_to_what_is_shown() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (12_345, "12.3 ms"),
            (999_940, "999.9 ms"),
            (999_960, "1.00 s"),
            (1_240_000, "1.24 s"),
            (59_994_000, "59.99 s"),
            (59_996_000, "1m 00s"),
            (125_000_000, "2m 05s"),
            (3_599_600_000, "1h 00m"),
            (u64::MAX, "5124095576h 01m"),
        ];
        for (us, text) in cases {
            assert_eq!(duration(us), text, "{us}");
        }
    }
}
