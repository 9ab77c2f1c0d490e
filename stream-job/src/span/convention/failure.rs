//! Whether a step failed, and how.

use std::borrow::Cow;

use super::facts::{self, Facts};
use super::keys::Key;
use crate::span::clean::Status;
use crate::span::view::{Attr, EventView};

/// The status in effect and the error behind it.
pub(crate) struct Failure<'a> {
    pub(crate) status: Status,
    pub(crate) error_type: Cow<'a, str>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) stack: Cow<'a, str>,
}

/// The status as sent.
pub(crate) struct SentStatus<'a> {
    /// OTLP status code.
    pub(crate) code: i32,
    /// Status message.
    pub(crate) message: &'a str,
}

/// Decides the status in effect. An error is: status code 2, any `exception` event, `error.type`, or
/// `gen_ai.task.status` = `failure`; each holds against an OK, as instrumentations set OK without looking. Whether an
/// exception was handled can't be told: the SDKs write `exception.escaped` = false for those that end a span too.
///
/// The last exception event tells the error: earlier ones are attempts that were tried again, or causes that it wraps.
pub(crate) fn read<'a>(
    facts: &Facts<'a>,
    events: &'a [EventView<'a>],
    sent: &SentStatus<'a>,
) -> Failure<'a> {
    let exception = events.iter().rev().find(|event| event.name == "exception");
    if !(sent.code == 2 || exception.is_some() || attributes_say_so(facts)) {
        return Failure {
            status: if sent.code == 1 {
                Status::Ok
            } else {
                Status::Unset
            },
            error_type: Cow::Borrowed(""),
            message: Cow::Borrowed(""),
            stack: Cow::Borrowed(""),
        };
    }
    let of_event = |name: &str| exception.and_then(|event| attribute(&event.attributes, name));
    Failure {
        status: Status::Error,
        error_type: facts
            .text(Key::ErrorType)
            .or_else(|| of_event("exception.type"))
            .or_else(|| facts.text(Key::ExceptionType))
            .unwrap_or_default(),
        message: of_event("exception.message")
            .or_else(|| facts.first_text(&[Key::ErrorMessage, Key::ExceptionMessage]))
            .unwrap_or(Cow::Borrowed(sent.message)),
        stack: of_event("exception.stacktrace")
            .or_else(|| facts.text(Key::ExceptionStack))
            .unwrap_or_default(),
    }
}

fn attributes_say_so(facts: &Facts<'_>) -> bool {
    facts.has(Key::ErrorType)
        || facts
            .str(Key::TlTaskStatus)
            .is_some_and(|status| status.eq_ignore_ascii_case("failure"))
}

/// The last attribute of this name that is not empty, as text.
fn attribute<'a>(attributes: &'a [Attr<'a>], name: &str) -> Option<Cow<'a, str>> {
    attributes
        .iter()
        .rev()
        .find(|attribute| attribute.key == name && !facts::is_empty(&attribute.value))
        .map(|attribute| attribute.value.text())
}
