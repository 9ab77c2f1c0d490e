//! One span of a session document.

use std::borrow::Cow;

use chrono::FixedOffset;

use super::time::parse_time;
use super::{Head, Result, id_text};
use crate::decode::encode::{Writer, text_attr};
use crate::decode::reader::{Kind, Reader};
use crate::decode::schema::{any_value, key_value, list, scope_spans, span};
use crate::span::view::{EventView, Value};

/// The names of the attributes that we derive.
const DERIVED: [&str; 7] = [
    "session.id",
    "gen_ai.conversation.id",
    "user.id",
    "agent.step.type",
    "gen_ai.tool.name",
    "input.value",
    "output.value",
];

/// One span of a document: what is known of it once its object is read.
#[derive(Default)]
pub(super) struct Step<'a> {
    span_ref: Cow<'a, str>,
    parent_ref: Cow<'a, str>,
    name: Cow<'a, str>,
    start_ns: Option<u64>,
    end_ns: Option<u64>,
    duration_ns: Option<u64>,
    step_type: Cow<'a, str>,
    tool_name: Cow<'a, str>,
    status: Cow<'a, str>,
    error_message: Cow<'a, str>,
    /// The content as an encoded `AnyValue`.
    content: Option<Writer>,
    /// The attributes under their own names, as encoded fields of a span.
    attributes: Writer,
    /// Which of [`DERIVED`] the document says itself.
    said: [bool; DERIVED.len()],
}

impl<'a> Step<'a> {
    pub(super) fn read(r: &mut Reader<'a>, zone: FixedOffset) -> Result<Self> {
        let mut step = Step::default();
        r.object(|r, name| step.span_field(r, name, zone))?;
        Ok(step)
    }

    fn span_field(&mut self, r: &mut Reader<'a>, name: &str, zone: FixedOffset) -> Result<()> {
        match name {
            _ if r.null()? => {}
            "span_id" => self.span_ref = id_text(r)?,
            "parent_span_id" => self.parent_ref = id_text(r)?,
            "name" => self.name = r.string()?,
            "start_time" => self.start_ns = Some(time(r, zone)?),
            "end_time" => self.end_ns = Some(time(r, zone)?),
            "duration_ms" => self.duration_ns = Some(duration(r)?),
            "attributes" => r.object(|r, name| self.attribute(r, name))?,
            _ => self.attribute(r, name)?,
        }
        Ok(())
    }

    fn attribute(&mut self, r: &mut Reader<'a>, name: &str) -> Result<()> {
        let is_text = r.peek()? == Kind::String;
        match name {
            _ if r.null()? => return Ok(()),
            "content" => {
                let mut content = Writer::new();
                plain_value(r, &mut content)?;
                self.content = Some(content);
                return Ok(());
            }
            "step_type" if is_text => self.step_type = r.string()?,
            "tool_name" if is_text => self.tool_name = r.string()?,
            "status" if is_text => self.status = r.string()?,
            "error_message" if is_text => self.error_message = r.string()?,
            _ => {
                if let Some(derived) = DERIVED.iter().position(|key| *key == name) {
                    self.said[derived] = true;
                }
                return plain_attribute(r, &mut self.attributes, span::ATTRIBUTES, name);
            }
        }
        Ok(())
    }

    /// Start and end in ns since 1970, 0 where unknown.
    fn times(&self) -> (u64, u64) {
        match (self.start_ns, self.end_ns, self.duration_ns) {
            (Some(start), None, Some(duration)) => (start, start.saturating_add(duration)),
            (None, Some(end), Some(duration)) => (end.saturating_sub(duration), end),
            (start, end, _) => (start.unwrap_or(0), end.unwrap_or(0)),
        }
    }

    /// Writes the span of the step.
    pub(super) fn write(&self, w: &mut Writer, head: &Head<'_>) {
        w.message(scope_spans::SPANS, |w| {
            let (start_ns, end_ns) = self.times();
            w.bytes(span::TRACE_ID, &head.trace_id);
            if !self.span_ref.is_empty() {
                w.bytes(span::SPAN_ID, &head.span_id(&self.span_ref));
            }
            if !self.parent_ref.is_empty() {
                w.bytes(span::PARENT_SPAN_ID, &head.span_id(&self.parent_ref));
            }
            w.bytes_unless_empty(span::NAME, self.name.as_bytes());
            w.fixed64_unless_zero(span::START_TIME, start_ns);
            w.fixed64_unless_zero(span::END_TIME, end_ns);
            w.append(&self.attributes);
            self.write_derived(w, head);
            self.write_status(w, end_ns);
            self.write_refs(w, head);
        });
    }

    fn write_derived(&self, w: &mut Writer, head: &Head<'_>) {
        let texts: [&str; 5] = [
            &head.session_id,
            &head.conversation_id,
            &head.user_id,
            &self.step_type,
            &self.tool_name,
        ];
        for (i, text) in texts.into_iter().enumerate() {
            if !text.is_empty() && !self.said[i] {
                w.attribute(span::ATTRIBUTES, DERIVED[i], &Value::Str(text.into()));
            }
        }
        let content = if self.step_type == "act" { 5 } else { 6 };
        if let Some(value) = &self.content
            && !self.said[content]
        {
            w.message(span::ATTRIBUTES, |w| {
                w.bytes(key_value::KEY, DERIVED[content].as_bytes());
                w.bytes(key_value::VALUE, value.as_bytes());
            });
        }
    }

    fn write_status(&self, w: &mut Writer, end_ns: u64) {
        let text = |w: &mut Writer, key, value: &str| {
            w.attribute(span::ATTRIBUTES, key, &Value::Str(value.into()));
        };
        let failed =
            self.status == "error" || (self.status != "success" && !self.error_message.is_empty());
        match self.status.as_ref() {
            "" | "error" => {}
            "success" => {
                if !self.error_message.is_empty() {
                    text(w, "error_message", &self.error_message);
                }
                w.status(1, "");
            }
            other => text(w, "status", other),
        }
        if failed {
            if !self.error_message.is_empty() {
                w.event(&EventView {
                    time_unix_nano: end_ns,
                    name: "exception".into(),
                    attributes: vec![text_attr("exception.message", &self.error_message)],
                });
            }
            w.status(2, &self.error_message);
        }
    }

    fn write_refs(&self, w: &mut Writer, head: &Head<'_>) {
        let trace_ref = match head.conversation_id.as_ref() {
            "" => head.session_id.to_string(),
            conversation_id => format!("{}/{conversation_id}", head.session_id),
        };
        w.bytes(span::TRACE_REF, trace_ref.as_bytes());
        w.bytes_unless_empty(span::SPAN_REF, self.span_ref.as_bytes());
        w.bytes_unless_empty(span::PARENT_SPAN_REF, self.parent_ref.as_bytes());
    }
}

fn time(r: &mut Reader<'_>, zone: FixedOffset) -> Result<u64> {
    if r.peek()? != Kind::String {
        return Err(r.fault(r.at(), "expected an ISO 8601 time as text"));
    }
    let at = r.at();
    let text = r.string()?;
    parse_time(&text, zone).map_err(|error| r.fault(at, error.to_string()))
}

/// A duration in ms, as ns. A number, or its text.
fn duration(r: &mut Reader<'_>) -> Result<u64> {
    let kind = r.peek()?;
    let at = r.at();
    let text = if kind == Kind::String {
        r.string()?
    } else {
        r.number()?.into()
    };
    let ns = text.trim().parse::<f64>().unwrap_or(f64::NAN) * 1e6;
    if (0.0..1e19).contains(&ns) {
        Ok(ns.round() as u64)
    } else {
        Err(r.fault(
            at,
            format!("expected milliseconds, 0 or more, found {text}"),
        ))
    }
}

/// Writes a `KeyValue` whose value is plain JSON.
fn plain_attribute(r: &mut Reader<'_>, w: &mut Writer, key: u32, name: &str) -> Result<()> {
    w.message(key, |w| {
        w.bytes_unless_empty(key_value::KEY, name.as_bytes());
        w.message(key_value::VALUE, |w| plain_value(r, w))
    })
}

/// Writes plain JSON as the fields of an `AnyValue`. A number that neither an i64 nor an f64 holds stays text.
fn plain_value(r: &mut Reader<'_>, w: &mut Writer) -> Result<()> {
    match r.peek()? {
        Kind::Null => return r.skip(),
        Kind::Bool => w.varint(any_value::BOOL, u64::from(r.boolean()?)),
        Kind::Number => {
            let text = r.number()?;
            let is_whole = !text.contains(['.', 'e', 'E']);
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => w.any_value(&Value::Int(number)),
                (_, Ok(number)) if !is_whole && number.is_finite() => {
                    w.any_value(&Value::Double(number));
                }
                _ => w.any_value(&Value::Str(text.into())),
            }
        }
        Kind::String => {
            let text = r.string()?;
            w.bytes(any_value::STRING, text.as_bytes());
        }
        Kind::Array => {
            return w.message(any_value::ARRAY, |w| {
                r.array(|r| w.message(list::VALUES, |w| plain_value(r, w)))
            });
        }
        Kind::Object => {
            return w.message(any_value::KVLIST, |w| {
                r.object(|r, name| plain_attribute(r, w, list::VALUES, name))
            });
        }
    }
    Ok(())
}
