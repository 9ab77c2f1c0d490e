//! OTLP/JSON to OTLP protobuf.
//!
//! The mapping is proto3's JSON mapping as the OTLP specification bends it
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids are hex, enums are numbers. Read as well:
//! names of enum values, `snake_case` field names, 64-bit integers as numbers or strings, `NaN` and `Infinity` as
//! strings, base64 of either alphabet. `null` is a field left out; unknown fields are ignored.
//!
//! Text that is not JSON rejects the record. In valid JSON, a span or metric point with a value that cannot be read (an id
//! that is not hex, a name that is a number) is handed on with its problem instead of its fields, so that validation
//! rejects it alone.

mod metrics;

use std::borrow::Cow;

use super::RecordError;
use super::base64;
use super::encode::Writer;
use super::reader::{JsonFault, Kind, Reader};
use super::schema::{
    any_value, event, key_value, link, list, request, resource, resource_spans, scope, scope_spans,
    span, status,
};
use super::wire::Key;

type Result<T> = std::result::Result<T, JsonFault>;

/// Reads one field of a message, by its JSON name, and writes it.
type Field<'a> = fn(&mut Reader<'a>, &mut Writer, &str) -> Result<()>;

/// Transcodes an `ExportTraceServiceRequest` or `TracesData`.
///
/// # Errors
/// [`RecordError::BadJson`] for what is not JSON or has another shape than a request down to its spans.
pub fn transcode(payload: &[u8]) -> std::result::Result<Vec<u8>, RecordError> {
    transcode_by(payload, request_field)
}

/// Transcodes an `ExportMetricsServiceRequest` or `MetricsData`.
///
/// # Errors
/// [`RecordError::BadJson`] for what is not JSON or has another shape than a request down to its points.
pub fn transcode_metrics(payload: &[u8]) -> std::result::Result<Vec<u8>, RecordError> {
    transcode_by(payload, metrics::request_field)
}

fn transcode_by<'a>(
    payload: &'a [u8],
    field: Field<'a>,
) -> std::result::Result<Vec<u8>, RecordError> {
    let mut writer = Writer::new();
    let mut read = || -> Result<()> {
        let mut reader = Reader::new(payload)?;
        reader.object(|r, name| field(r, &mut writer, name))?;
        reader.end()
    };
    match read() {
        Ok(()) => Ok(writer.into_bytes()),
        Err(JsonFault { at, path, problem }) => Err(RecordError::BadJson { at, path, problem }),
    }
}

fn request_field<'a>(r: &mut Reader<'a>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "resourceSpans" | "resource_spans" => {
            messages(r, w, request::RESOURCE_SPANS, resource_spans_field)
        }
        _ => r.skip(),
    }
}

fn resource_spans_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "resource" => message(r, w, resource_spans::RESOURCE, resource_field),
        "scopeSpans" | "scope_spans" => {
            messages(r, w, resource_spans::SCOPE_SPANS, scope_spans_field)
        }
        _ => r.skip(),
    }
}

fn resource_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "attributes" => attributes(r, w, resource::ATTRIBUTES),
        _ => r.skip(),
    }
}

fn scope_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "name" => text(r, w, scope::NAME),
        "version" => text(r, w, scope::VERSION),
        _ => r.skip(),
    }
}

fn scope_spans_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "scope" => message(r, w, scope_spans::SCOPE, scope_field),
        "spans" => elements(r, |r| {
            or_problem(r, w, scope_spans::SPANS, |r, w| {
                message(r, w, scope_spans::SPANS, span_field)
            })
        }),
        _ => r.skip(),
    }
}

/// Writes what `read` reads, a span or a point under `key`; where it cannot be read, but is JSON, one that has only the
/// problem.
pub(super) fn or_problem<'a>(
    r: &mut Reader<'a>,
    w: &mut Writer,
    key: Key,
    read: impl FnOnce(&mut Reader<'a>, &mut Writer) -> Result<()>,
) -> Result<()> {
    let (at, levels, written) = (r.at(), r.levels(), w.len());
    let Err(fault) = read(r, w) else {
        return Ok(());
    };
    r.back_to(at, levels);
    r.skip()?;
    w.truncate(written);
    let problem = format!("{} at byte {}: {}", fault.path, fault.at, fault.problem);
    w.message(key, |w| w.bytes(span::PROBLEM, problem.as_bytes()));
    Ok(())
}

fn span_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "traceId" | "trace_id" => id(r, w, span::TRACE_ID),
        "spanId" | "span_id" => id(r, w, span::SPAN_ID),
        "parentSpanId" | "parent_span_id" => id(r, w, span::PARENT_SPAN_ID),
        "traceState" | "trace_state" => text(r, w, span::TRACE_STATE),
        "name" => text(r, w, span::NAME),
        "kind" => enumeration(r, w, span::KIND, &SPAN_KINDS),
        "startTimeUnixNano" | "start_time_unix_nano" => fixed64(r, w, span::START_TIME),
        "endTimeUnixNano" | "end_time_unix_nano" => fixed64(r, w, span::END_TIME),
        "attributes" => attributes(r, w, span::ATTRIBUTES),
        "events" => messages(r, w, span::EVENTS, event_field),
        "links" => messages(r, w, span::LINKS, link_field),
        "status" => message(r, w, span::STATUS, |r, w, name| match name {
            "message" => text(r, w, status::MESSAGE),
            "code" => enumeration(r, w, status::CODE, &STATUS_CODES),
            _ => r.skip(),
        }),
        _ => r.skip(),
    }
}

fn event_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "timeUnixNano" | "time_unix_nano" => fixed64(r, w, event::TIME),
        "name" => text(r, w, event::NAME),
        "attributes" => attributes(r, w, event::ATTRIBUTES),
        _ => r.skip(),
    }
}

fn link_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "traceId" | "trace_id" => id(r, w, link::TRACE_ID),
        "spanId" | "span_id" => id(r, w, link::SPAN_ID),
        "traceState" | "trace_state" => text(r, w, link::TRACE_STATE),
        "attributes" => attributes(r, w, link::ATTRIBUTES),
        _ => r.skip(),
    }
}

fn attributes(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    messages(r, w, key, key_value_field)
}

fn key_value_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        "key" => text(r, w, key_value::KEY),
        "value" => message(r, w, key_value::VALUE, any_value_field),
        _ => r.skip(),
    }
}

fn any_value_field(r: &mut Reader<'_>, w: &mut Writer, name: &str) -> Result<()> {
    match name {
        _ if r.null()? => Ok(()),
        "stringValue" | "string_value" => {
            let text = r.string()?;
            w.bytes(any_value::STRING, text.as_bytes());
            Ok(())
        }
        "boolValue" | "bool_value" => {
            w.varint(any_value::BOOL, u64::from(r.boolean()?));
            Ok(())
        }
        "intValue" | "int_value" => {
            w.varint(any_value::INT, int64(r)?.cast_unsigned());
            Ok(())
        }
        "doubleValue" | "double_value" => {
            w.fixed64(any_value::DOUBLE, double(r)?.to_bits());
            Ok(())
        }
        "arrayValue" | "array_value" => message(r, w, any_value::ARRAY, |r, w, name| match name {
            "values" => array_items(r, w),
            _ => r.skip(),
        }),
        "kvlistValue" | "kvlist_value" => {
            message(r, w, any_value::KVLIST, |r, w, name| match name {
                "values" => messages(r, w, list::VALUES, key_value_field),
                _ => r.skip(),
            })
        }
        "bytesValue" | "bytes_value" => {
            let (at, text) = (r.at(), r.string()?);
            let bytes = base64::decode(&text).ok_or_else(|| r.fault(at, "expected base64"))?;
            w.bytes(any_value::BYTES, &bytes);
            Ok(())
        }
        _ => r.skip(),
    }
}

/// The items of an array value. `null` is an item without a value here, as dropping it would move the others.
fn array_items(r: &mut Reader<'_>, w: &mut Writer) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    r.array(|r| {
        w.message(list::VALUES, |w| match r.null()? {
            true => Ok(()),
            false => r.object(|r, name| any_value_field(r, w, name)),
        })
    })
}

/// A message: nothing where it is `null`.
fn message<'a>(r: &mut Reader<'a>, w: &mut Writer, key: Key, field: Field<'a>) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    w.message(key, |w| r.object(|r, name| field(r, w, name)))
}

/// A repeated message.
fn messages<'a>(r: &mut Reader<'a>, w: &mut Writer, key: Key, field: Field<'a>) -> Result<()> {
    elements(r, |r| message(r, w, key, field))
}

/// The elements of a repeated field: none where it is `null`.
fn elements<'a>(
    r: &mut Reader<'a>,
    element: impl FnMut(&mut Reader<'a>) -> Result<()>,
) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    r.array(element)
}

fn text(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    if !r.null()? {
        let text = r.string()?;
        w.bytes_unless_empty(key, text.as_bytes());
    }
    Ok(())
}

fn id(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    let at = r.at();
    let text = r.string()?;
    let bytes = hex(&text).ok_or_else(|| r.fault(at, "expected an id in hex digits"))?;
    w.bytes_unless_empty(key, &bytes);
    Ok(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8));
    if rest.is_empty() {
        bytes.collect()
    } else {
        None
    }
}

fn fixed64(r: &mut Reader<'_>, w: &mut Writer, key: Key) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    let number = unsigned64(r, "expected nanoseconds, 0 to 2^64 - 1")?;
    w.fixed64_unless_zero(key, number);
    Ok(())
}

fn unsigned64(r: &mut Reader<'_>, expected: &str) -> Result<u64> {
    let at = r.at();
    let text = number_text(r)?;
    let whole = text.parse().ok().or_else(|| {
        let number = whole(&text)?;
        (0.0..2f64.powi(64))
            .contains(&number)
            .then_some(number as u64)
    });
    whole.ok_or_else(|| r.fault(at, expected))
}

fn int64(r: &mut Reader<'_>) -> Result<i64> {
    let at = r.at();
    let text = number_text(r)?;
    let whole = text.parse().ok().or_else(|| {
        let number = whole(&text)?;
        (-(2f64.powi(63))..2f64.powi(63))
            .contains(&number)
            .then_some(number as i64)
    });
    whole.ok_or_else(|| r.fault(at, "expected a whole number of 64 bits"))
}

/// A whole number that is written as `1.0` or `1e3`.
fn whole(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.fract() == 0.0)
}

fn double(r: &mut Reader<'_>) -> Result<f64> {
    let at = r.at();
    let is_text = r.peek()? == Kind::String;
    let text = number_text(r)?;
    match text.as_ref() {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        // Rust reads "inf" and "nan" as numbers too, JSON's mapping does not.
        _ if is_text && text.contains(['n', 'N', 'y', 'Y']) => {
            Err(r.fault(at, "expected a number"))
        }
        _ => text.parse().map_err(|_| r.fault(at, "expected a number")),
    }
}

/// A number's text, whether it stands as a number or as a string.
fn number_text<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, str>> {
    match r.peek()? {
        Kind::String => r.string(),
        _ => r.number().map(Cow::Borrowed),
    }
}

const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// An enum's value, as its number or its name.
fn enumeration(r: &mut Reader<'_>, w: &mut Writer, key: Key, names: &[&str]) -> Result<()> {
    if r.null()? {
        return Ok(());
    }
    let at = r.at();
    let text = number_text(r)?;
    let named = names
        .iter()
        .position(|name| *name == text)
        .and_then(|i| i32::try_from(i).ok());
    let number: i32 = named.or_else(|| text.parse().ok()).ok_or_else(|| {
        r.fault(
            at,
            format!("expected a number or one of {}", names.join(", ")),
        )
    })?;
    if number != 0 {
        w.varint(key, i64::from(number).cast_unsigned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
