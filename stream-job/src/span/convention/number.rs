//! Tokens and money as they come: whole numbers, doubles, or either as text.

use super::facts::Facts;
use super::keys::Key;
use crate::span::view::Value;

/// The first of these keys that holds a number of tokens, of at most `max`. A negative number is 0.
pub(crate) fn tokens(facts: &Facts<'_>, keys: &[Key], max: u64) -> Option<u64> {
    keys.iter()
        .filter_map(|&key| facts.get(key).and_then(count))
        .find(|&tokens| tokens <= max)
}

/// The first of these keys that holds an amount in dollars, in nano-dollars of at most `max`, rounded half to even. A negative
/// amount is 0.
pub(crate) fn nanousd(facts: &Facts<'_>, keys: &[Key], max: u64) -> Option<u64> {
    keys.iter()
        .filter_map(|&key| facts.get(key).and_then(amount))
        .map(|usd| (usd.max(0.0) * 1e9).round_ties_even())
        .map(|nano| nano as u64)
        .find(|&nano| nano <= max)
}

/// A whole number that may have come as a double or as text; fractions are cut off.
pub(crate) fn count(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        // The cast saturates, and what is out of range is refused by the caller's bound.
        Value::Double(number) if number.is_finite() => Some(*number as u64),
        Value::Str(text) => {
            let text = text.trim();
            match text.parse::<i64>() {
                Ok(number) => Some(u64::try_from(number).unwrap_or(0)),
                Err(_) => text
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map(|number| number as u64),
            }
        }
        _ => None,
    }
}

fn amount(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        Value::Str(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::span::view::Attr;

    fn one(key: &'static str, value: Value<'static>) -> Vec<Attr<'static>> {
        vec![Attr {
            key: Cow::Borrowed(key),
            value,
        }]
    }

    fn tokens_of(value: Value<'static>) -> Option<u64> {
        let attributes = one("gen_ai.usage.input_tokens", value);
        tokens(&Facts::read(&attributes), &[Key::GenAiTokensIn], 1_000_000)
    }

    fn nano_of(value: Value<'static>) -> Option<u64> {
        let attributes = one("agent.cost_usd", value);
        nanousd(
            &Facts::read(&attributes),
            &[Key::AgentCostUsd],
            1_000_000_000_000,
        )
    }

    #[test]
    fn tokens_come_as_whole_number_double_or_text() {
        assert_eq!(tokens_of(Value::Int(12)), Some(12));
        assert_eq!(tokens_of(Value::Double(12.0)), Some(12));
        assert_eq!(tokens_of(Value::Str(" 12 ".into())), Some(12));
        assert_eq!(tokens_of(Value::Str("12.0".into())), Some(12));
        assert_eq!(tokens_of(Value::Str("many".into())), None);
        assert_eq!(tokens_of(Value::Bool(true)), None);
    }

    #[test]
    fn negative_tokens_are_none_and_absurd_ones_are_not_believed() {
        assert_eq!(tokens_of(Value::Int(-5)), Some(0));
        assert_eq!(tokens_of(Value::Double(-5.0)), Some(0));
        assert_eq!(tokens_of(Value::Str("-5".into())), Some(0));
        assert_eq!(tokens_of(Value::Int(i64::MAX)), None);
        assert_eq!(tokens_of(Value::Double(f64::NAN)), None);
        assert_eq!(tokens_of(Value::Double(1e300)), None);
    }

    #[test]
    fn dollars_become_nano_dollars_rounded_half_to_even() {
        assert_eq!(nano_of(Value::Double(0.000_123_456)), Some(123_456));
        assert_eq!(nano_of(Value::Double(0.1)), Some(100_000_000));
        assert_eq!(nano_of(Value::Double(0.5e-9)), Some(0));
        assert_eq!(nano_of(Value::Double(1.5e-9)), Some(2));
        assert_eq!(nano_of(Value::Double(2.5e-9)), Some(2));
        assert_eq!(nano_of(Value::Int(2)), Some(2_000_000_000));
        assert_eq!(nano_of(Value::Str("0.25".into())), Some(250_000_000));
    }

    #[test]
    fn a_cost_below_zero_is_none_and_an_absurd_one_is_not_believed() {
        assert_eq!(nano_of(Value::Double(-0.01)), Some(0));
        assert_eq!(nano_of(Value::Double(f64::INFINITY)), None);
        assert_eq!(nano_of(Value::Double(1e12)), None);
    }
}
