//! Dead letters and alerts as messages: key, value, and headers with an id.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};

use super::alert;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::ads_anomaly::AnomalyRow;

/// What a message is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// What it is called.
    pub(super) name: &'static str,
    /// The table that has the same.
    pub(super) table: &'static str,
}

impl Kind {
    pub(super) const DEAD_LETTER: Self = Self {
        name: "dead letter",
        table: "ods_dead_letter",
    };
    pub(super) const ALERT: Self = Self {
        name: "alert",
        table: "ads_anomaly",
    };
}

/// What a topic gets.
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    /// Equal in all copies, and in nothing else on its topic.
    pub(super) id: String,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) headers: OwnedHeaders,
}

impl<'a> Message<'a> {
    /// A rejected value as it came, with its own key and headers, and what is said of it in further headers.
    pub(super) fn of_letter(letter: &'a DeadLetter) -> Self {
        let (id, partition, offset) = (
            letter.id(),
            letter.partition.to_string(),
            letter.record.offset.to_string(),
        );
        let own = [
            ("spanflow-dead-letter-id", id.as_str()),
            ("spanflow-unit", letter.unit()),
            ("spanflow-error-code", letter.error_code),
            ("spanflow-error", letter.error.as_str()),
            ("spanflow-topic", letter.topic.as_str()),
            ("spanflow-partition", partition.as_str()),
            ("spanflow-offset", offset.as_str()),
        ];
        let mut headers = OwnedHeaders::new();
        for (key, value) in &letter.record.headers {
            // A name with a NUL cannot be sent on; no client makes one.
            if !key.contains('\0') {
                let value = value.as_deref();
                headers = headers.insert(Header { key, value });
            }
        }
        Self {
            kind: Kind::DEAD_LETTER,
            headers: with_headers(headers, &own),
            id,
            key: letter.record.key.as_deref().map(Cow::Borrowed),
            value: letter.value().map(Cow::Borrowed),
        }
    }

    /// A flag as it stands at an epoch.
    pub(super) fn of_flag(flag: &AnomalyRow) -> Self {
        let id = alert::id(flag);
        let own = [
            ("content-type", "application/json"),
            ("spanflow-alert-id", id.as_str()),
        ];
        Self {
            kind: Kind::ALERT,
            headers: with_headers(OwnedHeaders::new(), &own),
            id,
            key: Some(alert::key(flag).into_bytes().into()),
            value: Some(alert::value(flag).into()),
        }
    }
}

fn with_headers(headers: OwnedHeaders, all: &[(&str, &str)]) -> OwnedHeaders {
    all.iter().fold(headers, |headers, &(key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::message::Headers;

    use super::*;

    fn headers(message: &Message<'_>) -> Vec<(String, Vec<u8>)> {
        let headers = message.headers.iter();
        headers
            .map(|header| (header.key.to_owned(), header.value.unwrap().to_vec()))
            .collect()
    }

    fn text(key: &str, value: &str) -> (String, Vec<u8>) {
        (key.to_owned(), value.as_bytes().to_vec())
    }

    #[test]
    fn a_letter_keeps_its_key_value_and_headers_and_says_where_it_came_from() {
        let mut letter = DeadLetter::of_gap("otlp_spans", 3, 42, 45);
        letter.record.key = Some(b"key".to_vec());
        letter.record.payload = Some(b"what came".to_vec());
        letter.record.headers = vec![
            ("mine".to_owned(), Some(b"yes".to_vec())),
            ("n\0ul".to_owned(), Some(b"no".to_vec())),
        ];
        let message = Message::of_letter(&letter);
        assert_eq!(message.id, "otlp_spans/3/42");
        assert_eq!(message.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(message.value.as_deref(), Some(&b"what came"[..]));
        let wanted = [
            text("mine", "yes"),
            text("spanflow-dead-letter-id", "otlp_spans/3/42"),
            text("spanflow-unit", "gap"),
            text("spanflow-error-code", "offset_out_of_range"),
            text("spanflow-error", &letter.error),
            text("spanflow-topic", "otlp_spans"),
            text("spanflow-partition", "3"),
            text("spanflow-offset", "42"),
        ];
        assert_eq!(headers(&message), wanted);
    }

    #[test]
    fn a_flag_is_json_under_an_id_of_its_own_for_each_of_its_changes() {
        let flag = AnomalyRow {
            anomaly_id: "ab12".to_owned(),
            agent: "booker".to_owned(),
            rev: 17,
            ..AnomalyRow::default()
        };
        let message = Message::of_flag(&flag);
        assert_eq!(message.id, "ab12/17");
        assert_eq!(message.key.as_deref(), Some(&b"booker"[..]));
        let wanted = [
            text("content-type", "application/json"),
            text("spanflow-alert-id", "ab12/17"),
        ];
        assert_eq!(headers(&message), wanted);
        let later = AnomalyRow { rev: 18, ..flag };
        assert_eq!(Message::of_flag(&later).id, "ab12/18");
    }
}
