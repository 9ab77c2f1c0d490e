//! `stream-job replay-dead-letters`: sends dead letters again, to the topic that they came from.
//!
//! A letter that is a whole record goes out as it came. One that is a span goes out in a record of its own, with the
//! resource and the scope that it had. Each says in a header which letter it stands for, so that the job takes it once.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clickhouse::Row;
use futures_util::{StreamExt as _, stream};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Deserialize;

use super::cli::SettingsSource;
use super::job::Shutdown;
use super::settings::Settings;
use crate::dataflow::replays::REPLAY_OF;
use crate::dataflow::{decode_options, target_of};
use crate::decode::protobuf::Walker;
use crate::decode::{DecodeOptions, Encoding, encode, span_bytes};
use crate::source::buffer::Headers;
use crate::source::kafka::client_config;

/// Letters on their way to the broker at a time.
const IN_FLIGHT: usize = 256;
/// How long the broker may take to acknowledge one.
const SEND_WITHIN: Duration = Duration::from_secs(30);
const PROTOBUF: &[u8] = b"application/x-protobuf";

/// Arguments of `stream-job replay-dead-letters`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub(crate) source: SettingsSource,
    /// Which letters: a condition in SQL on the columns of `ods_dead_letter_status`, such as "error_code = 'bad_json'".
    #[arg(long = "where", value_name = "SQL")]
    condition: String,
    /// Print what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Send letters again that have landed; the job counts them as duplicates.
    #[arg(long)]
    again: bool,
    /// Most letters to send.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    limit: u64,
}

/// A letter as the warehouse has it. What may be any bytes comes as hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Row, Deserialize)]
struct Letter {
    id: String,
    replay_of: String,
    topic: String,
    index: u32,
    unit: String,
    error_code: String,
    key: String,
    headers: Vec<(String, String)>,
    payload: String,
    /// The whole record that a span came in; empty where it is no longer kept.
    record: String,
}

/// What goes out for a letter.
#[derive(Debug, PartialEq, Eq)]
struct Outgoing {
    topic: String,
    key: Option<Vec<u8>>,
    headers: Headers,
    payload: Vec<u8>,
}

/// Sends the letters, and says of each what became of it.
///
/// # Errors
/// The warehouse or the broker does not answer, or the condition is no SQL.
pub fn replay(args: &ReplayArgs, settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let letters = runtime.block_on(find(args, settings))?;
    let options = decode_options(settings);
    let mut out = Vec::new();
    let mut left_out = 0;
    for letter in &letters {
        match outgoing(letter, &options) {
            Ok(outgoing) => out.push((letter, outgoing)),
            Err(reason) => {
                left_out += 1;
                println!("{} {}: left out, {reason}", letter.id, letter.error_code);
            }
        }
    }
    let found = letters.len();
    if args.dry_run {
        for (letter, outgoing) in &out {
            let Outgoing { topic, payload, .. } = outgoing;
            let (id, code) = (&letter.id, letter.error_code.as_str());
            println!("{id} {code}: would go to {topic}, {} bytes", payload.len());
        }
        println!("{found} dead letters, {left_out} left out, nothing was sent");
        return Ok(());
    }
    let sent = runtime.block_on(send(settings, &out, shutdown))?;
    println!("{found} dead letters, {left_out} left out, {sent} sent");
    if sent < out.len() {
        bail!("{} were not sent", out.len() - sent);
    }
    Ok(())
}

async fn find(args: &ReplayArgs, settings: &Settings) -> anyhow::Result<Vec<Letter>> {
    let landed = if args.again {
        ""
    } else {
        " AND status != 'replayed'"
    };
    // The client takes a lone question mark for a value to put in.
    let condition = args.condition.replace('?', "??");
    let query = format!(
        "SELECT toString(letter.id) AS id, toString(letter.replay_of) AS replay_of, toString(letter.topic) AS topic,
                letter.index AS index, toString(letter.unit) AS unit, toString(letter.error_code) AS error_code,
                hex(letter.key) AS key, arrayMap(h -> (hex(h.1), hex(h.2)), letter.headers) AS headers,
                hex(letter.payload) AS payload, hex(came.payload) AS record
         FROM
         (
             SELECT * FROM ods_dead_letter_status
             WHERE ({condition}) AND unit != 'gap'{landed}
             ORDER BY topic, partition, offset, index LIMIT {limit}
         ) AS letter
         LEFT ANY JOIN ods_record AS came
             ON came.topic = letter.topic AND came.partition = letter.partition AND came.offset = letter.offset
         ORDER BY letter.topic, letter.partition, letter.offset, letter.index",
        limit = args.limit,
    );
    let client = target_of(settings).client();
    client
        .query(&query)
        .fetch_all()
        .await
        .with_context(|| format!("ask for the dead letters where {}", args.condition))
}

/// What goes out for a letter, or why nothing does.
fn outgoing(letter: &Letter, options: &DecodeOptions) -> Result<Outgoing, String> {
    let text = |hex: &str| Ok::<_, String>(String::from_utf8_lossy(&unhex(hex)?).into_owned());
    let mut headers = Headers::new();
    for (name, value) in &letter.headers {
        headers.push((text(name)?, Some(unhex(value)?)));
    }
    if letter.unit == "point" {
        return Err(
            "a metric point is not sent again: the next one of its series stands for it".to_owned(),
        );
    }
    let payload = if letter.unit == "span" {
        let record = unhex(&letter.record)?;
        let span = span_alone(&letter.topic, &headers, &record, letter.index, options)?;
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        headers.push(("content-type".to_owned(), Some(PROTOBUF.to_vec())));
        span
    } else {
        unhex(&letter.payload)?
    };
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(REPLAY_OF));
    let stands_for = letter.replay_of.clone().into_bytes();
    headers.push((REPLAY_OF.to_owned(), Some(stands_for)));
    Ok(Outgoing {
        topic: letter.topic.clone(),
        key: Some(unhex(&letter.key)?).filter(|key| !key.is_empty()),
        headers,
        payload,
    })
}

/// A request with one span of a record, under the resource and the scope that it had there.
fn span_alone(
    topic: &str,
    headers: &Headers,
    record: &[u8],
    index: u32,
    options: &DecodeOptions,
) -> Result<Vec<u8>, String> {
    if record.is_empty() {
        return Err("the record that it came in is no longer kept".to_owned());
    }
    let (encoding, bytes) = span_bytes(topic, headers, record, options);
    if encoding == Encoding::Document {
        return Err(
            "a span of a session document goes with its document: send that again".to_owned(),
        );
    }
    let bytes = bytes.map_err(|error| error.to_string())?;
    let mut alone = None;
    let mut walker = Walker::new(options.walk);
    let walked = walker.walk(&bytes.bytes, bytes.transcoded, |resource, scope, span| {
        if span.index == index {
            alone = Some(encode::request(resource, scope, std::slice::from_ref(span)));
        }
    });
    walked.map_err(|error| error.to_string())?;
    alone.ok_or_else(|| format!("its record has no span {index}"))
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |at: usize| char::from(hex.as_bytes()[at]).to_digit(16);
    let byte = |at: usize| u8::try_from(digit(at)? << 4 | digit(at + 1)?).ok();
    let bytes = (0..hex.len() / 2).map(|at| byte(at * 2));
    bytes
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| "the warehouse answered with something that is not hex".to_owned())
}

/// Sends all; a stop ends it after those on their way. Gives how many the broker has acknowledged.
async fn send(
    settings: &Settings,
    all: &[(&Letter, Outgoing)],
    shutdown: &Shutdown,
) -> anyhow::Result<usize> {
    let mut config = client_config(settings);
    config.set("enable.idempotence", "true");
    if config.get("message.max.bytes").is_none() {
        // As much as a record that the job takes, and its headers.
        let bytes = settings.max_record_bytes.0.saturating_mul(2);
        config.set("message.max.bytes", bytes.min(1_000_000_000).to_string());
    }
    let producer: FutureProducer = config.create().context("make a producer")?;
    let deliveries = stream::iter(all)
        .take_while(|_| std::future::ready(!shutdown.requested()))
        .map(async |(letter, outgoing)| (letter, deliver(&producer, outgoing).await))
        .buffered(IN_FLIGHT);
    let mut deliveries = std::pin::pin!(deliveries);
    let mut sent = 0;
    while let Some((letter, delivered)) = deliveries.next().await {
        let (id, code) = (&letter.id, letter.error_code.as_str());
        match delivered {
            Ok(()) => {
                sent += 1;
                println!("{id} {code}: sent");
            }
            Err(error) => println!("{id} {code}: not sent, {error}"),
        }
    }
    Ok(sent)
}

async fn deliver(
    producer: &FutureProducer,
    outgoing: &Outgoing,
) -> Result<(), rdkafka::error::KafkaError> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &outgoing.headers {
        let value = value.as_ref();
        headers = headers.insert(Header { key, value });
    }
    let mut record: FutureRecord<'_, Vec<u8>, Vec<u8>> = FutureRecord::to(&outgoing.topic)
        .headers(headers)
        .payload(&outgoing.payload);
    if let Some(key) = &outgoing.key {
        record = record.key(key);
    }
    let delivered = producer.send(record, SEND_WITHIN).await;
    delivered.map(|_| ()).map_err(|(error, _)| error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::span::view::{ResourceView, ScopeView, SpanView};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    fn letter(unit: &str, payload: &[u8]) -> Letter {
        Letter {
            id: "otlp_spans/3/42".to_owned(),
            replay_of: "otlp_spans/3/42".to_owned(),
            topic: "otlp_spans".to_owned(),
            unit: unit.to_owned(),
            key: hex(b"k"),
            payload: hex(payload),
            ..Letter::default()
        }
    }

    fn header(name: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
        (name.to_owned(), Some(value.to_vec()))
    }

    #[test]
    fn a_record_goes_out_as_it_came_and_says_what_it_stands_for() {
        let mut record = letter("record", b"\xff\x00 bytes");
        record.headers = vec![(hex(b"content-type"), hex(b"text/plain"))];
        let out = outgoing(&record, &DecodeOptions::default()).unwrap();
        assert_eq!(out.payload, b"\xff\x00 bytes");
        assert_eq!(out.key.as_deref(), Some(&b"k"[..]));
        let wanted = [
            header("content-type", b"text/plain"),
            header(REPLAY_OF, b"otlp_spans/3/42"),
        ];
        assert_eq!(out.headers, wanted);
    }

    #[test]
    fn a_replay_that_was_rejected_again_still_stands_for_the_first_letter() {
        let mut again = letter("record", b"x");
        again.id = "otlp_spans/5/99".to_owned();
        again.headers = vec![(hex(b"Spanflow-Replay-Of"), hex(b"otlp_spans/3/42"))];
        let out = outgoing(&again, &DecodeOptions::default()).unwrap();
        assert_eq!(out.headers, [header(REPLAY_OF, b"otlp_spans/3/42")]);
    }

    #[test]
    fn a_span_goes_out_alone_under_its_resource() {
        let resource = ResourceView {
            attributes: vec![encode::text_attr("service.name", "shop")],
        };
        let spans = [1_u8, 2].map(|n| SpanView {
            index: u32::from(n) - 1,
            name: format!("span {n}").into(),
            start_time_unix_nano: 3,
            end_time_unix_nano: 5,
            ..SpanView::default()
        });
        let record = encode::request(&resource, &ScopeView::default(), &spans);
        let span = Letter {
            index: 1,
            record: hex(&record),
            ..letter("span", b"its own bytes")
        };
        let out = outgoing(&span, &DecodeOptions::default()).unwrap();
        let wanted = encode::request(&resource, &ScopeView::default(), &spans[1..]);
        assert_eq!(out.payload, wanted);
        assert_eq!(out.headers[0], header("content-type", PROTOBUF));
    }

    #[test]
    fn a_span_whose_record_is_not_kept_or_was_a_document_is_left_out() {
        let options = DecodeOptions::default();
        let reason = outgoing(&letter("span", b"x"), &options).unwrap_err();
        assert!(reason.contains("no longer kept"), "{reason}");
        let document = Letter {
            topic: "agent.conversations".to_owned(),
            record: hex(br#"{"session_id":"s","spans":[]}"#),
            ..letter("span", b"x")
        };
        let reason = outgoing(&document, &options).unwrap_err();
        assert!(reason.contains("document"), "{reason}");
    }
}
