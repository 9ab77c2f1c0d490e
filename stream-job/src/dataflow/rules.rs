//! The rules of each operator, taken out of the settings.

use std::time::Duration;

use chrono::FixedOffset;

use super::admit::AdmitRules;
use super::anomaly::AnomalyRules;
use super::coordinator::{CheckpointRule, Cut, TimeRules};
use super::dedup::Horizons;
use super::scan::ScanRules;
use super::session::SessionRules;
use super::trace::TraceRules;
use super::user_day::UserDayRules;
use crate::decode::DecodeOptions;
use crate::decode::document::DocumentOptions;
use crate::decode::protobuf::WalkOptions;
use crate::ops::settings::{Layers, Settings};
use crate::source::TopicFilter;
use crate::span::CleanSettings;
use crate::span::validate::Limits;

/// The rules of all operators.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub admit: AdmitRules,
    pub dedup: Horizons,
    /// How long a dead letter that was sent again is remembered, ms.
    pub replay_memory_ms: i64,
    pub allowed_lateness_us: i64,
    pub max_keys_per_agent: usize,
    pub traces: TraceRules,
    pub sessions: SessionRules,
    pub users: UserDayRules,
    pub anomalies: AnomalyRules,
    pub top_n: usize,
    pub layers: Layers,
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Rules {
    pub(super) fn of(settings: &Settings) -> Self {
        let decode = decode_options(settings);
        let scan = ScanRules {
            decode,
            limits: Limits::default(),
            only_windows: (settings.layers == Layers::Windows).then_some(CleanSettings {
                texts: false,
                ..CleanSettings::default()
            }),
            max_future_skew_us: micros(settings.max_future_skew),
        };
        let allowed_lateness_us = micros(settings.allowed_lateness);
        let admit = AdmitRules {
            scan,
            clean: CleanSettings::default(),
            shards: settings.sink_shards,
            allowed_lateness_us,
            top_n: settings.top_n as usize,
            writes_raw: settings.layers == Layers::All,
        };
        let traces = TraceRules {
            orphan_grace_us: micros(settings.orphan_grace),
            trace_ttl_us: micros(settings.trace_ttl),
            max_spans: u64::from(settings.max_spans_per_trace),
        };
        Self {
            admit,
            dedup: Horizons {
                spans_us: micros(settings.dedup_horizon),
                documents_us: micros(settings.dedup_horizon.max(settings.session_ttl)),
            },
            replay_memory_ms: millis(settings.replay_memory),
            allowed_lateness_us,
            max_keys_per_agent: settings.max_keys_per_agent as usize,
            traces,
            users: UserDayRules {
                zone: settings.business_time_zone.0,
                kept_us: traces.kept_us(),
            },
            sessions: SessionRules {
                idle_us: micros(settings.session_idle),
                ttl_us: micros(settings.session_ttl),
                loop_min_repeats: settings.loop_min_repeats,
                trace_kept_us: traces.kept_us(),
                max_traces: settings.max_traces_per_session as usize,
            },
            anomalies: AnomalyRules {
                baseline_windows: settings.anomaly_baseline_windows as usize,
                min_windows: settings.anomaly_min_windows as usize,
                min_count: u64::from(settings.anomaly_min_count),
                error_score: settings.anomaly_error_score,
                latency_score: settings.anomaly_latency_score,
            },
            top_n: settings.top_n as usize,
            layers: settings.layers,
        }
    }
}

/// How records are decoded.
pub(crate) fn decode_options(settings: &Settings) -> DecodeOptions {
    DecodeOptions {
        metrics_topic: TopicFilter::of(&settings.metrics_topic),
        documents_topic: TopicFilter::of(&settings.documents_topic),
        document: DocumentOptions {
            agent: settings.document_agent.clone(),
            time_zone: FixedOffset::east_opt(settings.document_offset_seconds())
                .unwrap_or(DocumentOptions::default().time_zone),
        },
        max_record_bytes: usize::try_from(settings.max_record_bytes.0).unwrap_or(usize::MAX),
        walk: WalkOptions {
            max_depth: settings.max_depth,
            max_attributes: settings.max_attributes as usize,
            max_events: settings.max_events as usize,
            max_links: settings.max_links as usize,
            max_event_attributes: settings.max_event_attributes as usize,
            max_name_bytes: settings.max_name_bytes as usize,
        },
    }
}

/// When epochs are cut: recordings by record counts, Kafka by the clock.
pub(super) fn cut_of(settings: &Settings, is_recording: bool) -> Cut {
    let (epoch_ms, block_ms) = (
        millis(settings.epoch_interval).max(1),
        millis(settings.dws_block_interval),
    );
    if is_recording {
        Cut::Count {
            epochs_per_block: u64::try_from(block_ms / epoch_ms).unwrap_or(1).max(1),
        }
    } else {
        Cut::Interval { epoch_ms, block_ms }
    }
}

/// When checkpoints are taken: while a recording is read, after as many epochs as there would be in the interval.
pub(super) fn checkpoint_rule(settings: &Settings, is_recording: bool) -> CheckpointRule {
    let interval_ms = millis(settings.checkpoint_interval);
    if !is_recording {
        return CheckpointRule::Interval(interval_ms);
    }
    let epochs = interval_ms / millis(settings.epoch_interval).max(1);
    CheckpointRule::Epochs(u64::try_from(epochs).unwrap_or(1).max(1))
}

/// The rules of the watermark.
pub(super) fn time_rules(settings: &Settings) -> TimeRules {
    TimeRules {
        max_out_of_orderness_us: micros(settings.max_out_of_orderness),
        idle_timeout_us: micros(settings.idle_timeout),
        max_watermark_drift_us: micros(settings.max_watermark_drift),
    }
}
