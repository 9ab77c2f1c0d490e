//! The broker's own ids of topics: a topic that was deleted and made again has the same name and another id.
//!
//! The safe wrapper has no `DescribeTopics`, so librdkafka is called here. Every object it hands out is owned by a guard
//! or by the event, and none outlives the function.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

/// librdkafka's name for an id that is all zero: the broker has none (before Kafka 2.8).
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Destroys what librdkafka handed out when it goes out of scope.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to this destructor, and is used nowhere else.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Ids of the topics by name, as `kafka-topics --describe` prints them (URL-safe base64 without padding). A topic that
/// is not there, or has no id, is left out.
///
/// # Errors
/// The broker did not answer within `timeout` or refused; the text says what it said.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, String>, String> {
    let names = topics
        .iter()
        .map(|topic| CString::new(*topic).map_err(|_| format!("{topic:?} has a zero byte")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut name_pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let rk = client.native_ptr();
    // SAFETY: the client lives through this function; the names live until its end; every pointer is checked or used
    // only by librdkafka, and destroyed once by its guard, the queue last as it was made first.
    unsafe {
        let queue = Owned(
            native::rd_kafka_queue_new(rk),
            native::rd_kafka_queue_destroy,
        );
        let options = Owned(
            native::rd_kafka_AdminOptions_new(
                rk,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            native::rd_kafka_AdminOptions_destroy,
        );
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            timeout_ms,
            ptr::null_mut(),
            0,
        );
        let wanted = Owned(
            native::rd_kafka_TopicCollection_of_topic_names(
                name_pointers.as_mut_ptr(),
                name_pointers.len(),
            ),
            native::rd_kafka_TopicCollection_destroy,
        );
        native::rd_kafka_DescribeTopics(rk, wanted.0, options.0, queue.0);
        let event = Owned(
            native::rd_kafka_queue_poll(queue.0, timeout_ms),
            native::rd_kafka_event_destroy,
        );
        if event.0.is_null() {
            return Err(format!("no answer within {timeout:?}"));
        }
        if native::rd_kafka_event_error(event.0)
            != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(text(native::rd_kafka_event_error_string(event.0)));
        }
        Ok(read_ids(native::rd_kafka_event_DescribeTopics_result(
            event.0,
        )))
    }
}

/// Reads the answer.
///
/// # Safety
/// `result` is null or points into an event that outlives this call.
unsafe fn read_ids(
    result: *const native::rd_kafka_DescribeTopics_result_t,
) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    if result.is_null() {
        return ids;
    }
    let mut count = 0;
    // SAFETY: the array has `count` descriptions, which live as long as the event.
    unsafe {
        let descriptions = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for i in 0..count {
            let description = *descriptions.add(i);
            let error = native::rd_kafka_TopicDescription_error(description);
            let failed = !error.is_null()
                && native::rd_kafka_error_code(error)
                    != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let id = native::rd_kafka_TopicDescription_topic_id(description);
            if failed || id.is_null() {
                continue;
            }
            // librdkafka writes standard base64, Kafka's own tools the alphabet that is safe in URLs.
            let id = url_safe(&text(native::rd_kafka_Uuid_base64str(id)));
            if !id.is_empty() && id != NO_ID {
                ids.insert(
                    text(native::rd_kafka_TopicDescription_name(description)),
                    id,
                );
            }
        }
    }
    ids
}

fn url_safe(base64: &str) -> String {
    base64.replace('+', "-").replace('/', "_")
}

/// A copy of a terminated string of librdkafka's.
///
/// # Safety
/// `start` is null or points to a terminated string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(start) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::url_safe;

    #[test]
    fn ids_are_written_as_kafkas_own_tools_write_them() {
        assert_eq!(url_safe("AXzoS+MxRcKAYAMS92nf/A"), "AXzoS-MxRcKAYAMS92nf_A");
    }
}
