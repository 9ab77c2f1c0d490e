//! Which encoding a record has.

use super::Headers;
use super::schema::{request, resource_spans};
use super::wire::Cursor;

/// How a record's payload is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// OTLP `ExportTraceServiceRequest`, protobuf.
    OtlpProtobuf,
    /// The same as JSON.
    OtlpJson,
    /// A session document, JSON.
    Document,
    /// OTLP `ExportMetricsServiceRequest`, protobuf.
    OtlpMetrics,
    /// The same as JSON.
    MetricsJson,
    /// None of these.
    Unknown,
}

impl Encoding {
    /// The name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::OtlpProtobuf => "otlp_protobuf",
            Encoding::OtlpJson => "otlp_json",
            Encoding::Document => "document",
            Encoding::OtlpMetrics => "otlp_metrics",
            Encoding::MetricsJson => "otlp_metrics_json",
            Encoding::Unknown => "unknown",
        }
    }

    /// Whether its units are metric points, not spans.
    #[must_use]
    pub fn is_metrics(self) -> bool {
        matches!(self, Encoding::OtlpMetrics | Encoding::MetricsJson)
    }
}

/// The last value of a header that is UTF-8 and not empty. Names are compared without regard to case.
pub(crate) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .rev()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .filter_map(|(_, value)| std::str::from_utf8(value.as_deref()?).ok())
        .map(str::trim)
        .find(|value| !value.is_empty())
}

/// Finds the encoding of a payload.
///
/// 1. A `content-type` header decides between protobuf (`application/x-protobuf`, `application/protobuf`) and JSON
///    (`application/json`, `…+json`). Without one, or with another, the payload does: JSON if its first byte that is
///    not white space is `{`, protobuf if it starts as every `ExportTraceServiceRequest` does, else unknown.
/// 2. JSON with `resourceSpans` (or `resource_spans`) at its top is OTLP; with `session_id` or `spans` it is a
///    document. With none of these it is a document on `documents_topic`, OTLP if it is an empty object or broken
///    (decoding it will say where), and unknown otherwise.
#[must_use]
pub fn detect(is_documents_topic: bool, headers: &Headers, payload: &[u8]) -> Encoding {
    if payload.is_empty() {
        return Encoding::Unknown;
    }
    match header(headers, "content-type").and_then(content_type) {
        Some(true) => json_kind(is_documents_topic, payload),
        Some(false) => Encoding::OtlpProtobuf,
        None if is_framed_request(payload) => Encoding::OtlpProtobuf,
        None => match skip_blank(payload).first() {
            Some(b'{') => json_kind(is_documents_topic, payload),
            _ if is_documents_topic => Encoding::Document,
            // A request that was cut: the walk says where.
            _ if payload[0] == request::RESOURCE_SPANS as u8 => Encoding::OtlpProtobuf,
            _ => Encoding::Unknown,
        },
    }
}

/// Finds the encoding of a payload of a topic with metrics: a `content-type` header decides, else the first byte that is
/// not white space.
#[must_use]
pub fn detect_metrics(headers: &Headers, payload: &[u8]) -> Encoding {
    let is_json = header(headers, "content-type").and_then(content_type);
    // The first byte of a request is a line feed, which is white space in JSON; what follows is never a brace but for a
    // length of 123, whose next byte begins a field.
    let begins_as_json = || {
        let text = skip_blank(payload);
        text.starts_with(b"{") && matches!(text[1..].trim_ascii_start().first(), Some(b'"' | b'}'))
    };
    match is_json.unwrap_or_else(begins_as_json) {
        true => Encoding::MetricsJson,
        false => Encoding::OtlpMetrics,
    }
}

/// Whether a content type is JSON; `None` where it is neither JSON nor protobuf.
fn content_type(value: &str) -> Option<bool> {
    let media = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media == "application/json" || media.ends_with("+json") {
        Some(true)
    } else if media == "application/x-protobuf" || media == "application/protobuf" {
        Some(false)
    } else {
        None
    }
}

/// Whether the lengths of a request's two outer levels fit exactly. Its first byte is a line feed, which is white
/// space in JSON, and a length of 123 is `{`: only the framing tells a request from JSON after an empty line.
fn is_framed_request(payload: &[u8]) -> bool {
    if payload[0] != request::RESOURCE_SPANS as u8 {
        return false;
    }
    let mut outer = Cursor::new(payload);
    let mut framed = || {
        while !outer.is_done() {
            let start = outer.at();
            let key = outer.key().ok()?;
            if key != request::RESOURCE_SPANS {
                outer.skip(start, key, request::KNOWN).ok()?;
                continue;
            }
            let mut inner = outer.message().ok()?;
            while !inner.is_done() {
                let start = inner.at();
                match inner.key().ok()? {
                    resource_spans::RESOURCE | resource_spans::SCOPE_SPANS => {
                        inner.bytes().ok()?;
                    }
                    key => inner.skip(start, key, resource_spans::KNOWN).ok()?,
                }
            }
        }
        Some(())
    };
    framed().is_some()
}

/// The payload without a byte order mark and white space before it.
fn skip_blank(payload: &[u8]) -> &[u8] {
    payload
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(payload)
        .trim_ascii_start()
}

fn json_kind(is_documents_topic: bool, payload: &[u8]) -> Encoding {
    match top_level_key(skip_blank(payload)) {
        Some(Top::Otlp) => Encoding::OtlpJson,
        Some(Top::Document) => Encoding::Document,
        _ if is_documents_topic => Encoding::Document,
        Some(Top::Other) => Encoding::Unknown,
        None => Encoding::OtlpJson,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Top {
    Otlp,
    Document,
    Other,
}

/// What the keys at the top of a JSON object say; `None` if there are none before the object or the payload ends.
/// Only strings and brackets are looked at: whether the rest is JSON, the decoder finds out.
fn top_level_key(payload: &[u8]) -> Option<Top> {
    let mut depth = 0u32;
    let mut found = None;
    let mut at = 0;
    while let Some(&byte) = payload.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return found,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = string_end(payload, at)?;
                let is_key = || payload[end + 1..].trim_ascii_start().first() == Some(&b':');
                if depth == 1 && is_key() {
                    match &payload[at..end] {
                        b"resourceSpans" | b"resource_spans" => return Some(Top::Otlp),
                        b"session_id" | b"spans" => return Some(Top::Document),
                        _ => found = Some(Top::Other),
                    }
                }
                at = end + 1;
            }
            _ => {}
        }
    }
    None
}

/// The position of the quote that ends the string whose first byte is at `at`.
fn string_end(payload: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', payload.get(at..)?)?;
        if payload[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::span::view::{ResourceView, ScopeView, SpanView};

    fn plain(payload: &[u8]) -> Encoding {
        detect(false, &[], payload)
    }

    fn with_type(content_type: &str, payload: &[u8]) -> Encoding {
        let headers = [(
            "Content-Type".to_owned(),
            Some(content_type.as_bytes().to_vec()),
        )];
        detect(false, &headers, payload)
    }

    #[test]
    fn the_payload_decides_where_no_header_does() {
        assert_eq!(plain(b" \r\n\t{\"resourceSpans\":[]}"), Encoding::OtlpJson);
        assert_eq!(
            plain(b"\n\n{\n  \"resource_spans\": []}"),
            Encoding::OtlpJson
        );
        assert_eq!(
            plain(b"\xef\xbb\xbf{\"resourceSpans\":[]}"),
            Encoding::OtlpJson
        );
        assert_eq!(
            plain(b"{\"user_id\":\"resourceSpans\",\"spans\":[]}"),
            Encoding::Document
        );
        assert_eq!(
            plain(b"{\"a\":{\"resourceSpans\":1},\"session_id\":1}"),
            Encoding::Document
        );
        assert_eq!(plain(b"{}"), Encoding::OtlpJson);
        assert_eq!(plain(b"{\"a"), Encoding::OtlpJson);
        assert_eq!(plain(b"{\"resourceMetrics\":[]}"), Encoding::Unknown);
        assert_eq!(plain(b"[]"), Encoding::Unknown);
        assert_eq!(plain(b"hello"), Encoding::Unknown);
        assert_eq!(plain(b""), Encoding::Unknown);
        assert_eq!(plain(b"\x0a\x50cut"), Encoding::OtlpProtobuf);
    }

    #[test]
    fn a_content_type_beats_the_first_byte() {
        assert_eq!(
            with_type("application/x-protobuf", b"{}"),
            Encoding::OtlpProtobuf
        );
        assert_eq!(
            with_type("Application/JSON; charset=utf-8", b"\x0a\x00"),
            Encoding::OtlpJson
        );
        assert_eq!(with_type("text/plain", b"{}"), Encoding::OtlpJson);
    }

    #[test]
    fn a_topic_with_metrics_holds_protobuf_unless_it_says_or_looks_like_json() {
        let json = [(
            "content-type".to_owned(),
            Some(b"application/json".to_vec()),
        )];
        assert_eq!(
            detect_metrics(&[], b"\n\x02\x0a\x00"),
            Encoding::OtlpMetrics
        );
        assert_eq!(
            detect_metrics(&[], b"\n{\x0a\x00"),
            Encoding::OtlpMetrics,
            "123 bytes"
        );
        assert_eq!(detect_metrics(&[], b""), Encoding::OtlpMetrics);
        assert_eq!(
            detect_metrics(&[], b" {\n\"resourceMetrics\": []}"),
            Encoding::MetricsJson
        );
        assert_eq!(detect_metrics(&json, b"\n\x00"), Encoding::MetricsJson);
    }

    #[test]
    fn the_documents_topic_holds_documents_unless_they_say_otherwise() {
        let on_topic = |payload: &[u8]| detect(true, &[], payload);
        assert_eq!(on_topic(b"{\"foo\":1}"), Encoding::Document);
        assert_eq!(on_topic(b"not json"), Encoding::Document);
        assert_eq!(on_topic(b"{\"resourceSpans\":[]}"), Encoding::OtlpJson);
    }

    #[test]
    fn a_request_whose_length_is_a_brace_is_protobuf() {
        let name = "n".repeat(1000);
        let with_name = |length: usize| {
            let span = SpanView {
                name: name[..length].into(),
                ..SpanView::default()
            };
            encode::request(&ResourceView::default(), &ScopeView::default(), &[span])
        };
        let payload = (1..200)
            .map(with_name)
            .find(|p| p[1] == b'{')
            .expect("a length of 123");
        assert_eq!(payload[..2], *b"\n{");
        assert_eq!(plain(&payload), Encoding::OtlpProtobuf);
    }
}
