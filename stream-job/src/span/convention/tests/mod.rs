//! The contract's table cell by cell, and the hazards of its list that one span decides.

mod kinds;
mod outcome;
mod people;
mod tools;
mod words;

use std::borrow::Cow;

use crate::decode::document;
use crate::span::clean::{CleanSpan, Convention, StepType};
use crate::span::view::{Attr, DocumentRefs, EventView, ResourceView, ScopeView, SpanView, Value};
use crate::span::{CleanSettings, clean};

const PARENT: [u8; 8] = [7; 8];

/// A span to clean; a root of kind internal unless told otherwise.
struct Sent {
    resource: ResourceView<'static>,
    scope: ScopeView<'static>,
    span: SpanView<'static>,
    settings: CleanSettings,
}

impl Sent {
    fn new(name: &'static str) -> Self {
        Sent {
            resource: ResourceView::default(),
            scope: ScopeView::default(),
            span: SpanView {
                index: 3,
                trace_id: &[1; 16],
                span_id: &[2; 8],
                parent_span_id: &[],
                trace_state: Cow::Borrowed(""),
                name: Cow::Borrowed(name),
                kind: 1,
                start_time_unix_nano: 1_700_000_000_000_000_000,
                end_time_unix_nano: 1_700_000_000_012_345_678,
                attributes: Vec::new(),
                events: Vec::new(),
                links: Vec::new(),
                status_code: 0,
                status_message: Cow::Borrowed(""),
                refs: DocumentRefs::default(),
                raw: &[],
            },
            settings: CleanSettings::default(),
        }
    }

    fn with(mut self, key: &'static str, value: impl Into<Sample>) -> Self {
        self.span.attributes.push(attribute(key, value));
        self
    }

    fn resource(mut self, key: &'static str, value: impl Into<Sample>) -> Self {
        self.resource.attributes.push(attribute(key, value));
        self
    }

    fn event(mut self, name: &'static str, attributes: &[(&'static str, &'static str)]) -> Self {
        self.span.events.push(EventView {
            time_unix_nano: self.span.end_time_unix_nano,
            name: Cow::Borrowed(name),
            attributes: attributes
                .iter()
                .map(|&(key, value)| attribute(key, value))
                .collect(),
        });
        self
    }

    fn child(mut self) -> Self {
        self.span.parent_span_id = &PARENT;
        self
    }

    fn kind(mut self, kind: i32) -> Self {
        self.span.kind = kind;
        self
    }

    fn status(mut self, code: i32, message: &'static str) -> Self {
        self.span.status_code = code;
        self.span.status_message = Cow::Borrowed(message);
        self
    }

    fn document(mut self) -> Self {
        self.scope.name = Cow::Borrowed(document::SCOPE);
        self
    }

    fn clean(&self) -> CleanSpan<'_> {
        clean(&self.resource, &self.scope, &self.span, &self.settings)
    }

    fn decided(&self) -> (StepType, Convention) {
        let span = self.clean();
        (span.step_type, span.convention)
    }
}

/// An attribute value as a test writes it.
struct Sample(Value<'static>);

impl From<&'static str> for Sample {
    fn from(text: &'static str) -> Self {
        Sample(Value::Str(Cow::Borrowed(text)))
    }
}

impl From<i64> for Sample {
    fn from(number: i64) -> Self {
        Sample(Value::Int(number))
    }
}

impl From<f64> for Sample {
    fn from(number: f64) -> Self {
        Sample(Value::Double(number))
    }
}

fn attribute(key: &'static str, value: impl Into<Sample>) -> Attr<'static> {
    Attr {
        key: Cow::Borrowed(key),
        value: value.into().0,
    }
}
