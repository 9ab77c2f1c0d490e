#![allow(clippy::unwrap_used)]

use super::*;
use crate::source::Record;
use crate::span::fingerprint;

fn span_bytes<'a>(
    topic: &str,
    record: &'a Record,
    options: &DecodeOptions,
) -> (Encoding, Result<SpanBytes<'a>, RecordError>) {
    let payload = record.payload.as_deref().unwrap_or_default();
    super::span_bytes(topic, &record.headers, payload, options)
}

fn record(payload: Option<&[u8]>, headers: &[(&str, &str)]) -> Record {
    Record {
        offset: 0,
        timestamp_ms: -1,
        key: None,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())))
            .collect(),
        payload: payload.map(<[u8]>::to_vec),
    }
}

fn code(topic: &str, record: &Record, options: &DecodeOptions) -> (&'static str, &'static str) {
    let (encoding, result) = span_bytes(topic, record, options);
    let error = result.unwrap_err();
    assert!(RecordError::CODES.contains(&error.code()));
    (encoding.as_str(), error.code())
}

const DOCUMENT: &str = r#"{"session_id":"s","conversation_id":"c","spans":[
    {"span_id":"1","name":"n","start_time":"2025-08-17T10:00:00Z","end_time":"2025-08-17T10:00:01Z"}]}"#;

#[test]
fn each_encoding_ends_as_protobuf_and_only_ours_may_use_private_fields() {
    let options = DecodeOptions::default();
    let protobuf = record(Some(&[0x0a, 0x00]), &[]);
    let (encoding, bytes) = span_bytes("otlp_spans", &protobuf, &options);
    assert_eq!(encoding, Encoding::OtlpProtobuf);
    let bytes = bytes.unwrap();
    assert!(matches!(bytes.bytes, Cow::Borrowed([0x0a, 0x00])) && !bytes.transcoded);

    let json = record(Some(br#"{"resourceSpans":[{}]}"#), &[]);
    let (encoding, bytes) = span_bytes("otlp_spans", &json, &options);
    assert_eq!(encoding, Encoding::OtlpJson);
    assert_eq!(
        bytes.unwrap(),
        SpanBytes {
            bytes: vec![0x0a, 0x00].into(),
            transcoded: true
        }
    );

    let document = record(Some(DOCUMENT.as_bytes()), &[("service.name", "shop")]);
    let (encoding, bytes) = span_bytes("agent.conversations", &document, &options);
    assert_eq!(encoding, Encoding::Document);
    let bytes = bytes.unwrap();
    let walked = protobuf::Walker::default().walk(
        &bytes.bytes,
        bytes.transcoded,
        |resource, scope, span| {
            assert_eq!(resource.attributes[0].value.text(), "shop");
            assert_eq!(
                (scope.name.as_ref(), span.refs.span_ref.as_ref()),
                (document::SCOPE, "1")
            );
        },
    );
    assert_eq!(walked, Ok(1));
}

#[test]
fn records_without_decodable_bytes_have_their_own_codes() {
    let options = DecodeOptions {
        max_record_bytes: 20,
        ..DecodeOptions::default()
    };
    let of = |payload: Option<&[u8]>| code("otlp_spans", &record(payload, &[]), &options);
    assert_eq!(of(None), ("unknown", "empty_payload"));
    assert_eq!(of(Some(b"")), ("unknown", "empty_payload"));
    assert_eq!(of(Some(b"\xff\xfehello")), ("unknown", "unknown_encoding"));
    assert_eq!(
        of(Some(b"{\"resourceSpans\":[nonsense]}")),
        ("otlp_json", "too_large")
    );
    assert_eq!(of(Some(b"{\"resourceSpans\":")), ("otlp_json", "bad_json"));
    assert_eq!(
        of(Some(b"{\"session_id\":1}")),
        ("document", "bad_document")
    );
}

#[test]
fn a_document_that_comes_again_longer_gives_its_old_spans_the_same_fingerprints() {
    let longer = DOCUMENT.replace("}]}", "},{\"span_id\":\"2\"}],\"timestamp\":\"later\"}");
    let prints = |json: &str| {
        let record = record(Some(json.as_bytes()), &[]);
        let bytes = span_bytes("agent.conversations", &record, &DecodeOptions::default())
            .1
            .unwrap();
        let mut prints = Vec::new();
        protobuf::Walker::default()
            .walk(&bytes.bytes, true, |_, _, span| {
                prints.push(fingerprint(span))
            })
            .unwrap();
        prints
    };
    let (first, second) = (prints(DOCUMENT), prints(&longer));
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(first[0], second[0]);
}
