#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::source::{Record, TopicPartition};

fn spans(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from("spans"),
        partition,
    }
}

fn record(offset: i64, payload: &[u8]) -> Record {
    Record {
        offset,
        timestamp_ms: 1_700_000_000_000 + offset,
        key: Some(b"key".to_vec()),
        headers: vec![
            ("content-type".to_owned(), Some(b"x".to_vec())),
            ("empty".to_owned(), None),
        ],
        payload: Some(payload.to_vec()),
    }
}

fn topic(partitions: i32) -> RecordedTopic {
    RecordedTopic {
        name: "spans".to_owned(),
        topic_id: "id-1".to_owned(),
        partitions,
    }
}

/// A recording with records at the given offsets of partition 0, and its file.
fn recorded(offsets: &[i64], payload: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(folder.path(), &[topic(2)]).unwrap();
    for offset in offsets {
        writer.append(&spans(0), &record(*offset, payload)).unwrap();
    }
    writer.finish().unwrap();
    let file = folder.path().join("spans/0.log");
    (folder, file)
}

fn offsets(reader: &RecordingReader, from: i64) -> Vec<i64> {
    reader
        .read_partition(&spans(0), from)
        .unwrap()
        .map(|r| r.unwrap().offset)
        .collect()
}

#[test]
fn what_was_written_is_read_back() {
    let (folder, _) = recorded(&[3, 4, 9], b"payload");
    let reader = RecordingReader::open(folder.path()).unwrap();
    assert_eq!(reader.partitions(), [spans(0), spans(1)]);
    assert_eq!(reader.topic_id("spans"), "id-1");
    assert_eq!(reader.topic_id("other"), "");
    assert_eq!(reader.records(&spans(0)).unwrap(), 3);
    assert_eq!(reader.first_offset(&spans(0)).unwrap(), 3);
    assert_eq!(reader.end_offset(&spans(0)).unwrap(), 10);
    assert_eq!(reader.end_offset(&spans(1)).unwrap(), 0);
    let records: Vec<_> = reader
        .read_partition(&spans(0), 0)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        records,
        [
            record(3, b"payload"),
            record(4, b"payload"),
            record(9, b"payload")
        ]
    );
    assert_eq!(reader.read_partition(&spans(1), 0).unwrap().count(), 0);
}

#[test]
fn reading_starts_at_the_first_offset_that_is_not_below_the_one_asked_for() {
    // 3 MiB in all, so that the index has several entries.
    let all: Vec<i64> = (0..60).map(|i| i * 2).collect();
    let (folder, _) = recorded(&all, &[7; 50_000]);
    let reader = RecordingReader::open(folder.path()).unwrap();
    for from in [0, 1, 2, 57, 58, 117, 118, 119] {
        let expected: Vec<i64> = all.iter().copied().filter(|o| *o >= from).collect();
        assert_eq!(offsets(&reader, from), expected, "from {from}");
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let (folder, file) = recorded(&[0, 1, 2], b"payload");
    let whole = fs::read(&file).unwrap();
    let last_frame = whole.len() / 3;
    for cut in 1..=last_frame {
        fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let reader = RecordingReader::open(folder.path()).unwrap();
        assert_eq!(offsets(&reader, 0), [0, 1], "{cut} bytes cut off");
        assert_eq!(reader.end_offset(&spans(0)).unwrap(), 2);
    }
    let mut zeros = whole.clone();
    zeros.extend_from_slice(&[0; 5000]);
    fs::write(&file, &zeros).unwrap();
    assert_eq!(
        offsets(&RecordingReader::open(folder.path()).unwrap(), 0),
        [0, 1, 2]
    );
    let mut bad_end = whole;
    *bad_end.last_mut().unwrap() ^= 1;
    fs::write(&file, &bad_end).unwrap();
    assert_eq!(
        offsets(&RecordingReader::open(folder.path()).unwrap(), 0),
        [0, 1]
    );
}

#[test]
fn a_flipped_bit_before_the_end_is_an_error_that_names_file_and_byte() {
    let (folder, file) = recorded(&[0, 1, 2], b"payload");
    let mut bytes = fs::read(&file).unwrap();
    let frame = bytes.len() / 3;
    bytes[2 * frame - 1] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let reader = RecordingReader::open(folder.path()).unwrap();
    let mut records = reader.read_partition(&spans(0), 0).unwrap();
    assert_eq!(records.next().unwrap().unwrap().offset, 0);
    let error = records.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("spans/0.log") && error.contains(&format!("byte {frame}:")),
        "{error}"
    );
    assert!(error.contains("CRC-32"), "{error}");
    assert!(
        records.next().is_none(),
        "after an error the partition ends"
    );
}

#[test]
fn offsets_that_do_not_ascend_are_refused_by_writer_and_reader() {
    let (folder, file) = recorded(&[5], b"payload");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, [bytes.clone(), bytes].concat()).unwrap();
    let error = RecordingReader::open(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("offset 5 does not ascend"), "{error}");
    let other = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(other.path(), &[topic(1)]).unwrap();
    writer.append(&spans(0), &record(5, b"")).unwrap();
    assert!(matches!(
        writer.append(&spans(0), &record(5, b"")),
        Err(RecordingError::NotAscending { .. })
    ));
    assert!(matches!(
        writer.append(&spans(1), &record(6, b"")),
        Err(RecordingError::NoPartition { .. })
    ));
}

#[test]
fn a_recording_is_never_written_over() {
    let (folder, _) = recorded(&[0], b"payload");
    let error = RecordingWriter::create(folder.path(), &[topic(1)])
        .unwrap_err()
        .to_string();
    assert!(error.contains("already here"), "{error}");
}

#[test]
fn metadata_that_says_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = RecordingReader::open(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("recording.json"), "{error}");
    for (text, reason) in [
        ("{", "not a recording"),
        (r#"{"format":"x","version":1,"topics":[]}"#, "format is `x`"),
        (
            r#"{"format":"spanflow-recording","version":2,"topics":[]}"#,
            "version is 2",
        ),
        (
            r#"{"format":"spanflow-recording","version":1,"topics":[{"name":"../x","partitions":1}]}"#,
            "can't be a topic's name",
        ),
        (
            r#"{"format":"spanflow-recording","version":1,"topics":[{"name":"..","partitions":1}]}"#,
            "can't be a topic's name",
        ),
        (
            r#"{"format":"spanflow-recording","version":1,"topics":[{"name":"a","partitions":0}]}"#,
            "has 0 partitions",
        ),
        (
            r#"{"format":"spanflow-recording","version":1,"topics":[{"name":"a","partitions":1},{"name":"a","partitions":1}]}"#,
            "there twice",
        ),
    ] {
        fs::write(folder.path().join("recording.json"), text).unwrap();
        let error = RecordingReader::open(folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn the_bytes_of_a_frame_are_those_of_the_format() {
    let record = Record {
        offset: 1,
        timestamp_ms: -1,
        key: None,
        headers: vec![("h".to_owned(), Some(b"v".to_vec()))],
        payload: Some(b"ab".to_vec()),
    };
    let mut bytes = Vec::new();
    frame::encode(&record, &mut bytes).unwrap();
    let mut body = Vec::new();
    body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[0xff; 8]);
    body.extend_from_slice(&[0xff; 4]);
    body.extend_from_slice(&[1, 0, 0, 0]);
    body.extend_from_slice(&[1, 0, 0, 0, b'h', 1, 0, 0, 0, b'v']);
    body.extend_from_slice(&[2, 0, 0, 0, b'a', b'b']);
    assert_eq!(bytes[..4], [u8::try_from(body.len()).unwrap(), 0, 0, 0]);
    assert_eq!(bytes[8..], body);
    // zlib.crc32 of this body in Python.
    assert_eq!(bytes[4..8], 0xba19_c904_u32.to_le_bytes());
}

proptest! {
    #[test]
    fn any_record_survives_the_round_trip(
        offset in 0i64..i64::MAX,
        timestamp_ms in -1i64..i64::MAX,
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        headers in proptest::collection::vec((".{0,8}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8))), 0..4),
        payload in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let record = Record { offset, timestamp_ms, key, headers, payload };
        let mut bytes = Vec::new();
        frame::encode(&record, &mut bytes).unwrap();
        prop_assert_eq!(frame::decode_body(&bytes[frame::HEAD..]), Ok(record));
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = frame::decode_body(&body);
    }
}
