//! One partition's queue of librdkafka, drained in batches.
//!
//! The safe wrapper hands out one message a call, each with an allocation of its own, and panics on a header whose name
//! is not UTF-8, which anyone can produce. This one takes many messages a call and cleans such a name.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use crate::source::buffer::Headers;

type Wake = Box<dyn Fn() + Send + Sync>;

/// Messages taken in one call.
const TAKEN_AT_ONCE: usize = 512;

/// What a drained message says.
pub(super) enum Taken<'a> {
    /// A record.
    Record(NativeRecord<'a>),
    /// The consumer stands at the partition's end, which is this offset. Offsets below it that brought no record are
    /// those of aborted transactions and of the broker's own markers.
    EndOfPartition(i64),
    /// The broker does not have the offset that is asked for, any more or again.
    OutOfRange,
    /// The client reports an error for this partition.
    Error(String),
}

/// A message that lives until its batch is given back.
pub(super) struct NativeRecord<'a> {
    message: &'a native::rd_kafka_message_t,
}

/// A partition's own queue.
pub(super) struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: *mut native::rd_kafka_queue_t,
    messages: Vec<*mut native::rd_kafka_message_t>,
    _wake: Box<Wake>,
    _consumer: Arc<BaseConsumer<C>>,
}

unsafe extern "C" fn on_nonempty(_client: *mut native::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` points to the boxed closure, which the queue keeps until the callback is taken away in `drop`.
    let wake = unsafe { &*opaque.cast::<Wake>() };
    wake();
}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// Splits the queue of an assigned partition off the consumer's main queue. `wake` is called, on one of librdkafka's
    /// threads, each time the queue goes from empty to filled.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        wake: Wake,
    ) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let wake = Box::new(wake);
        // SAFETY: the client outlives the queue, as `_consumer` holds it; the name lives through the call.
        let queue = unsafe {
            let client = consumer.client().native_ptr();
            native::rd_kafka_queue_get_partition(client, name.as_ptr(), partition)
        };
        if queue.is_null() {
            return None;
        }
        let opaque = ptr::from_ref::<Wake>(&wake).cast_mut().cast::<c_void>();
        // SAFETY: the queue is ours; the closure behind `opaque` lives in a box until the callback is disabled.
        unsafe {
            native::rd_kafka_queue_forward(queue, ptr::null_mut());
            native::rd_kafka_queue_cb_event_enable(queue, Some(on_nonempty), opaque);
        }
        Some(Self {
            queue,
            messages: vec![ptr::null_mut(); TAKEN_AT_ONCE],
            _wake: wake,
            _consumer: consumer.clone(),
        })
    }

    /// Hands every message that is there, at most [`TAKEN_AT_ONCE`], to `take`. Returns how many there were.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Taken<'_>)) -> usize {
        // SAFETY: the array has room for as many messages as are asked for; a timeout of 0 never blocks.
        let count = unsafe {
            native::rd_kafka_consume_batch_queue(
                self.queue,
                0,
                self.messages.as_mut_ptr(),
                self.messages.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for &message in &self.messages[..count] {
            // SAFETY: librdkafka filled the first `count` entries with messages that are ours until destroyed.
            take(unsafe { Taken::from_native(&*message) });
            // SAFETY: destroyed once, after the last use.
            unsafe { native::rd_kafka_message_destroy(message) };
        }
        count
    }
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; once the callback is disabled nobody holds the closure.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            native::rd_kafka_queue_destroy(self.queue);
        }
    }
}

impl<'a> Taken<'a> {
    unsafe fn from_native(message: &'a native::rd_kafka_message_t) -> Self {
        match message.err {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                Taken::Record(NativeRecord { message })
            }
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                Taken::EndOfPartition(message.offset)
            }
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
            | native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            | native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__LOG_TRUNCATION => Taken::OutOfRange,
            error => {
                // SAFETY: the function returns a static, terminated string.
                let text = unsafe { CStr::from_ptr(native::rd_kafka_err2str(error)) };
                Taken::Error(text.to_string_lossy().into_owned())
            }
        }
    }
}

impl<'a> NativeRecord<'a> {
    pub(super) fn offset(&self) -> i64 {
        self.message.offset
    }

    /// In ms since 1970, -1 where there is none.
    pub(super) fn timestamp_ms(&self) -> i64 {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives; `kind` is written once.
        unsafe { native::rd_kafka_message_timestamp(self.message, &mut kind) }
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        bytes_at(self.message.key, self.message.key_len)
    }

    pub(super) fn payload(&self) -> Option<&'a [u8]> {
        bytes_at(self.message.payload, self.message.len)
    }

    pub(super) fn headers(&self) -> Headers {
        let mut headers: *mut native::rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: the headers stay owned by the message, which lives for 'a.
        unsafe { native::rd_kafka_message_headers(self.message, &mut headers) };
        (0..).map_while(|index| header_at(headers, index)).collect()
    }
}

fn header_at(
    headers: *const native::rd_kafka_headers_t,
    index: usize,
) -> Option<(String, Option<Vec<u8>>)> {
    if headers.is_null() {
        return None;
    }
    let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) =
        (ptr::null(), ptr::null(), 0);
    // SAFETY: the headers live as long as their message; name and value point into it.
    unsafe {
        let error =
            native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
        if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let name = CStr::from_ptr(name).to_string_lossy().into_owned();
        Some((name, bytes_at(value, size).map(<[u8]>::to_vec)))
    }
}

fn bytes_at<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives the start and length of bytes that live as long as their message.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}
