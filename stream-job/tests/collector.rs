//! What the OpenTelemetry Collector's Kafka exporter writes (`tests/fixtures/collector`) against what the packages sent.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stream_job::decode::protobuf::{WalkOptions, Walker};
use stream_job::decode::{Encoding, detect};
use stream_job::span::{CleanSettings, clean, fingerprint};

const SENT: [&str; 3] = ["openinference-openai", "pydantic-ai", "traceloop-sdk"];

fn messages(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// By fingerprint: what the span's row would say.
fn spans(messages: &[Vec<u8>]) -> BTreeMap<u128, String> {
    let mut walker = Walker::new(WalkOptions::default());
    let settings = CleanSettings::default();
    let mut found = BTreeMap::new();
    for message in messages {
        let visit = |resource: &_, scope: &_, span: &_| {
            let mut row = clean(resource, scope, span, &settings);
            // Where it stands in its message is all that a Collector may change.
            row.index = 0;
            let before = found.insert(fingerprint(span), format!("{row:?}"));
            assert!(before.is_none(), "a span that came twice: {row:?}");
        };
        walker.walk(message, false, visit).unwrap();
    }
    found
}

#[test]
fn a_collector_in_between_changes_no_span() {
    let sent: Vec<Vec<u8>> = SENT
        .iter()
        .flat_map(|package| messages(&format!("conventions/{package}")))
        .collect();
    let written = messages("collector");
    for message in &written {
        let encoding = detect(false, &[], message);
        assert_eq!(encoding, Encoding::OtlpProtobuf);
    }
    let (sent, written) = (spans(&sent), spans(&written));
    assert!(sent.len() > 20, "{}", sent.len());
    assert_eq!(written, sent);
}
