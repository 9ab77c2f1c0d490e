//! What makes two spans the same span.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

use super::view::{Attr, EventView, SpanView, Value};
use crate::decode::READ_LEVELS;

/// The fingerprint of a span by which duplicates are found: 128 bits over its ids, parent, name, kind, times, status,
/// attributes by key, and events in order, **as decoded**. Neither its resource and scope nor its wire bytes take part,
/// as a Collector on the way rewrites those; nor do `trace_state` and links.
///
/// Two encodings of one span (defaults written or left out, fields in another order, JSON or protobuf) give one
/// fingerprint. Attributes, and the entries of nested key-value lists, count by key, in any order.
///
/// # Why sums are enough
/// Each attribute is hashed to 128 bits by itself, xxh3-128 of its value seeded by xxh3-64 of its key and the value's
/// type, and the hashes are added modulo 2^128, with their number beside the sum. For inputs that were not built to
/// collide the hashes act as independent uniform numbers, and so does every sum of them: two different sets of
/// attributes meet with probability 2^-128, or 2^-64 where they differ in one key only (the seed has 64 bits), and this
/// only among spans whose ids, name and times are equal already. An exclusive or would do as much but for one case: a
/// key sent twice with one value would cancel itself; in a sum it counts twice.
#[must_use]
pub fn fingerprint(span: &SpanView<'_>) -> u128 {
    let mut state = Fields::default();
    state.id::<16>(span.trace_id);
    state.id::<8>(span.span_id);
    // A root's parent is sent as nothing or as zeros.
    state.id::<8>(span.parent_span_id);
    state.put(&span.kind.to_le_bytes());
    state.put(&span.start_time_unix_nano.to_le_bytes());
    state.put(&span.end_time_unix_nano.to_le_bytes());
    state.put(&span.status_code.to_le_bytes());
    state.put(&xxh3_128(span.name.as_bytes()).to_le_bytes());
    state.put(&xxh3_128(span.status_message.as_bytes()).to_le_bytes());
    state.put(&attributes(&span.attributes).to_le_bytes());
    state.put(&(span.attributes.len() as u64).to_le_bytes());
    state.put(&events(&span.events).to_le_bytes());
    xxh3_128(state.as_bytes())
}

/// The fixed-size parts of a span, one after the other.
struct Fields {
    bytes: [u8; 160],
    filled: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Fields {
            bytes: [0; 160],
            filled: 0,
        }
    }
}

impl Fields {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        self.bytes[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    /// An id of `N` bytes. One of another length (validation rejects such a span, but may come later) is cut or
    /// filled up with zeros.
    #[inline]
    fn id<const N: usize>(&mut self, id: &[u8]) {
        let mut fixed = [0; N];
        let length = id.len().min(N);
        fixed[..length].copy_from_slice(&id[..length]);
        self.put(&fixed);
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

/// The sum of the hashes of attributes.
#[inline]
pub(crate) fn attributes(attributes: &[Attr<'_>]) -> u128 {
    attributes.iter().fold(0u128, |sum, attr| {
        sum.wrapping_add(attribute(attr, READ_LEVELS))
    })
}

#[inline]
fn attribute(attr: &Attr<'_>, levels: u32) -> u128 {
    value(&attr.value, xxh3_64(attr.key.as_bytes()), levels)
}

/// Far apart, so that one value under two types has unrelated seeds.
const TYPE_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn value(value: &Value<'_>, seed: u64, levels: u32) -> u128 {
    let seed_of = |number: u64| seed.wrapping_add(number.wrapping_mul(TYPE_STEP));
    match value {
        Value::Str(text) => xxh3_128_with_seed(text.as_bytes(), seed_of(1)),
        Value::Bool(flag) => xxh3_128_with_seed(&[u8::from(*flag)], seed_of(2)),
        Value::Int(number) => xxh3_128_with_seed(&number.to_le_bytes(), seed_of(3)),
        Value::Double(number) => {
            // JSON has one NaN only.
            let bits = if number.is_nan() { f64::NAN } else { *number }.to_bits();
            xxh3_128_with_seed(&bits.to_le_bytes(), seed_of(4))
        }
        Value::Bytes(bytes) => xxh3_128_with_seed(bytes, seed_of(5)),
        Value::Array(_) if levels > 0 => {
            let seed = seed_of(6);
            let mut chain = Chain::default();
            for item in value.items() {
                chain.add(self::value(&item, 0, levels - 1));
            }
            xxh3_128_with_seed(&chain.end(), seed)
        }
        Value::KvList(_) if levels > 0 => {
            let (mut sum, mut count) = (0u128, 0u128);
            for entry in value.entries() {
                sum = sum.wrapping_add(attribute(&entry, levels - 1));
                count += 1;
            }
            let mut both = [0; 32];
            both[..16].copy_from_slice(&sum.to_le_bytes());
            both[16..].copy_from_slice(&count.to_le_bytes());
            xxh3_128_with_seed(&both, seed_of(7))
        }
        Value::Empty | Value::Array(_) | Value::KvList(_) => xxh3_128_with_seed(&[], seed_of(8)),
    }
}

/// Hashes in their order, and their number.
#[derive(Default)]
struct Chain {
    hash: u128,
    count: u128,
}

impl Chain {
    fn add(&mut self, hash: u128) {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&self.hash.to_le_bytes());
        both[16..].copy_from_slice(&hash.to_le_bytes());
        self.hash = xxh3_128(&both);
        self.count += 1;
    }

    fn end(self) -> [u8; 32] {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&self.hash.to_le_bytes());
        both[16..].copy_from_slice(&self.count.to_le_bytes());
        both
    }
}

fn events(events: &[EventView<'_>]) -> u128 {
    let mut chain = Chain::default();
    for event in events {
        let mut fields = Fields::default();
        fields.put(&event.time_unix_nano.to_le_bytes());
        fields.put(&xxh3_128(event.name.as_bytes()).to_le_bytes());
        fields.put(&attributes(&event.attributes).to_le_bytes());
        fields.put(&(event.attributes.len() as u64).to_le_bytes());
        chain.add(xxh3_128(fields.as_bytes()));
    }
    xxh3_128(&chain.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode::{array, attr, kv_list, text_attr};

    fn span() -> SpanView<'static> {
        SpanView {
            trace_id: &[1; 16],
            span_id: &[2; 8],
            name: "act".into(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            attributes: vec![
                text_attr("a", "x"),
                text_attr("b", "y"),
                attr("n", Value::Int(0)),
            ],
            events: vec![event("first"), event("second")],
            ..SpanView::default()
        }
    }

    fn event(name: &'static str) -> EventView<'static> {
        EventView {
            time_unix_nano: 3,
            name: name.into(),
            attributes: vec![text_attr("a", "1"), text_attr("b", "2")],
        }
    }

    #[test]
    fn attributes_in_another_order_are_the_same_span() {
        let mut other = span();
        other.attributes.reverse();
        other.events[0].attributes.reverse();
        other.index = 9;
        other.raw = b"other bytes";
        other.trace_state = "rewritten=1".into();
        other.parent_span_id = &[0; 8];
        assert_eq!(fingerprint(&span()), fingerprint(&other));
    }

    #[test]
    fn every_difference_that_counts_gives_another_fingerprint() {
        let changes: Vec<fn(&mut SpanView<'static>)> = vec![
            |_| {},
            |s| s.trace_id = &[3; 16],
            |s| s.span_id = &[3; 8],
            |s| s.parent_span_id = &[3; 8],
            |s| s.name = "observe".into(),
            |s| s.kind = 1,
            |s| s.start_time_unix_nano = 9,
            |s| s.end_time_unix_nano = 9,
            |s| s.status_code = 1,
            |s| s.status_message = "m".into(),
            |s| s.attributes[0].value = Value::Str("y".into()),
            |s| s.attributes[0].key = "aa".into(),
            // Values swapped between keys.
            |s| (s.attributes[0].key, s.attributes[1].key) = ("b".into(), "a".into()),
            |s| s.attributes.truncate(2),
            |s| s.attributes.push(text_attr("a", "x")),
            |s| {
                s.attributes
                    .extend([text_attr("a", "x"), text_attr("a", "x")])
            },
            |s| s.attributes[2].value = Value::Str("0".into()),
            |s| s.attributes[2].value = Value::Str("\0\0\0\0\0\0\0\0".into()),
            |s| s.attributes[2].value = Value::Bool(false),
            |s| s.attributes[2].value = Value::Double(0.0),
            |s| s.attributes[2].value = Value::Double(-0.0),
            |s| s.attributes[2].value = Value::Bytes(&[0; 8]),
            |s| s.attributes[2].value = Value::Bytes(&[]),
            |s| s.attributes[2].value = Value::Empty,
            |s| s.attributes[2].value = Value::Array(&[]),
            |s| s.attributes[2].value = Value::KvList(&[]),
            |s| s.events.reverse(),
            |s| s.events.truncate(1),
            |s| s.events[0].time_unix_nano = 4,
            |s| s.events[0].attributes[0].value = Value::Int(1),
            |s| s.events.push(event("second")),
        ];
        let mut seen = std::collections::HashMap::new();
        for (i, change) in changes.iter().enumerate() {
            let mut changed = span();
            change(&mut changed);
            if let Some(before) = seen.insert(fingerprint(&changed), i) {
                panic!("changes {before} and {i} have one fingerprint");
            }
        }
    }

    #[test]
    fn nested_lists_count_by_content_not_by_bytes() {
        let of = |value: Value<'_>| {
            fingerprint(&SpanView {
                attributes: vec![attr("nested", value)],
                ..SpanView::default()
            })
        };
        let forward = kv_list(&[text_attr("a", "1"), text_attr("b", "2")]);
        let backward = kv_list(&[text_attr("b", "2"), text_attr("a", "1")]);
        assert_eq!(of(Value::KvList(&forward)), of(Value::KvList(&backward)));

        let one_two = array(&[Value::Int(1), Value::Int(2)]);
        let two_one = array(&[Value::Int(2), Value::Int(1)]);
        assert_ne!(of(Value::Array(&one_two)), of(Value::Array(&two_one)));

        // An unknown field before the items, as a later version of OTLP may have: the content is the same.
        let with_unknown = [&[0x98, 0x06, 0x01], one_two.as_slice()].concat();
        assert_eq!(of(Value::Array(&one_two)), of(Value::Array(&with_unknown)));
    }

    #[test]
    fn defaults_written_out_and_fields_in_another_order_are_the_same_span() {
        use crate::decode::encode::{Writer, request};
        use crate::decode::protobuf::Walker;
        use crate::decode::schema::{
            any_value, event, key_value, scope_spans, span as field, status,
        };

        let mut usual = span();
        usual.parent_span_id = &[];
        usual.attributes = vec![text_attr("b", ""), attr("n", Value::Int(0))];
        usual.events = vec![EventView::default()];
        let usual = request(&Default::default(), &Default::default(), &[usual]);

        let mut other = Writer::new();
        other.resource_spans(|w| {
            w.scope_spans(|w| {
                w.message(scope_spans::SPANS, |w| {
                    w.message(field::STATUS, |w| {
                        w.varint(status::CODE, 0);
                        w.bytes(status::MESSAGE, b"");
                    });
                    w.message(field::EVENTS, |w| w.fixed64(event::TIME, 0));
                    w.message(field::ATTRIBUTES, |w| {
                        w.message(key_value::VALUE, |w| w.varint(any_value::INT, 0));
                        w.bytes(key_value::KEY, b"n");
                    });
                    w.attribute(field::ATTRIBUTES, "b", &Value::Str("".into()));
                    w.bytes(field::PARENT_SPAN_ID, &[0; 8]);
                    w.varint(field::KIND, 0);
                    w.fixed64(field::END_TIME, 2);
                    w.fixed64(field::START_TIME, 1);
                    w.bytes(field::NAME, b"overwritten");
                    w.bytes(field::NAME, b"act");
                    w.bytes(field::SPAN_ID, &[2; 8]);
                    w.bytes(field::TRACE_ID, &[1; 16]);
                });
            });
        });
        let other = other.into_bytes();
        assert_ne!(usual, other);
        let print = |payload: &[u8]| {
            let mut print = None;
            let walked = Walker::default()
                .walk(payload, false, |_, _, span| print = Some(fingerprint(span)));
            assert_eq!(walked, Ok(1));
            print
        };
        assert_eq!(print(&usual), print(&other));
    }

    #[test]
    fn the_fingerprint_is_stable_across_versions() {
        // State and replays hold fingerprints: a change of this number is a change of their format.
        assert_eq!(fingerprint(&span()), STABLE);
    }

    const STABLE: u128 = 257_453_434_984_836_486_217_174_256_057_404_101_718;
}
