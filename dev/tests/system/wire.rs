//! Spans as a sender would write them, and what sends them.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dev::kafka;
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use stream_job::decode::encode;
use stream_job::span::view::{ResourceView, ScopeView, SpanView};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Now, ns since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// A span's ids and times; everything else is up to the test.
pub(crate) struct Span {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) end_ns: u64,
}

impl Span {
    /// A span with ids of its own.
    pub(crate) fn ending_at(end_ns: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut trace_id = [7; 16];
        trace_id[8..].copy_from_slice(&number.to_be_bytes());
        Self {
            trace_id,
            span_id: (number << 8 | 1).to_be_bytes(),
            end_ns,
        }
    }

    pub(crate) fn now() -> Self {
        Self::ending_at(now_ns())
    }

    /// A tool call of 5 ms.
    pub(crate) fn view(&self) -> SpanView<'_> {
        SpanView {
            trace_id: &self.trace_id,
            span_id: &self.span_id,
            name: "act search".into(),
            kind: 1,
            start_time_unix_nano: self.end_ns - 5_000_000,
            end_time_unix_nano: self.end_ns,
            attributes: vec![
                encode::text_attr("agent.step.type", "act"),
                encode::text_attr("gen_ai.tool.name", "search"),
            ],
            ..SpanView::default()
        }
    }
}

/// A request of one agent.
pub(crate) fn request(agent: &str, spans: &[SpanView<'_>]) -> Vec<u8> {
    let resource = ResourceView {
        attributes: vec![encode::text_attr("service.name", agent)],
    };
    encode::request(&resource, &ScopeView::default(), spans)
}

/// A record to send.
#[derive(Clone, Default)]
pub(crate) struct Outgoing {
    pub(crate) topic: &'static str,
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: OwnedHeaders,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) timestamp_ms: Option<i64>,
}

/// A producer with further properties of librdkafka.
pub(crate) fn producer(bootstrap: &str, properties: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("message.max.bytes", kafka::MAX_MESSAGE_BYTES.to_string());
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Hands a record to the producer.
pub(crate) fn send(producer: &BaseProducer, outgoing: &Outgoing) {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(outgoing.topic)
        .partition(outgoing.partition)
        .headers(outgoing.headers.clone());
    if let Some(key) = &outgoing.key {
        record = record.key(key);
    }
    if let Some(payload) = &outgoing.payload {
        record = record.payload(payload);
    }
    if let Some(timestamp_ms) = outgoing.timestamp_ms {
        record = record.timestamp(timestamp_ms);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// Hands over a record with one header more, of a name that is not UTF-8: rdkafka takes only those that are.
pub(crate) fn send_with_header_name(
    producer: &BaseProducer,
    outgoing: &Outgoing,
    case: &CStr,
    name: &CStr,
) {
    use native::rd_kafka_vtype_t::{
        RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_PARTITION,
        RD_KAFKA_VTYPE_TOPIC, RD_KAFKA_VTYPE_VALUE,
    };
    let topic = CString::new(outgoing.topic).unwrap();
    let payload = outgoing.payload.clone().unwrap();
    let header = |name: &CStr, value: &CStr| native::rd_kafka_vu_s__bindgen_ty_1 {
        header: native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
            name: name.as_ptr(),
            val: value.as_ptr().cast(),
            size: value.count_bytes().cast_signed(),
        },
    };
    let mem = native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: payload.as_ptr().cast_mut().cast(),
        size: payload.len(),
    };
    let arguments = [
        (
            RD_KAFKA_VTYPE_TOPIC,
            native::rd_kafka_vu_s__bindgen_ty_1 {
                cstr: topic.as_ptr(),
            },
        ),
        (
            RD_KAFKA_VTYPE_PARTITION,
            native::rd_kafka_vu_s__bindgen_ty_1 {
                i32_: outgoing.partition,
            },
        ),
        (
            RD_KAFKA_VTYPE_MSGFLAGS,
            native::rd_kafka_vu_s__bindgen_ty_1 {
                i: native::RD_KAFKA_MSG_F_COPY,
            },
        ),
        (
            RD_KAFKA_VTYPE_VALUE,
            native::rd_kafka_vu_s__bindgen_ty_1 { mem },
        ),
        (RD_KAFKA_VTYPE_HEADER, header(c"case", case)),
        (RD_KAFKA_VTYPE_HEADER, header(name, c"1")),
    ]
    .map(|(vtype, u)| native::rd_kafka_vu_t { vtype, u });
    // SAFETY: the client and everything that the arguments point to live through the call, which copies them.
    let error = unsafe {
        let client = producer.client().native_ptr();
        native::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len())
    };
    assert!(error.is_null(), "librdkafka refuses the record");
}

/// Sends all and waits for the broker's acknowledgements.
pub(crate) fn send_all(producer: &BaseProducer, all: &[Outgoing]) {
    for outgoing in all {
        send(producer, outgoing);
    }
    producer.flush(LIMIT).unwrap();
}
