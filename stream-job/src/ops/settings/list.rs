//! The settings themselves: the only place where a name, a default or a sentence is written.

use std::net::SocketAddr;
use std::time::Duration;

use super::declare::{Facts, Spec, check_range, declare_settings};
use super::value::{ByteSize, InsertCompression, Layers, Properties, SettingValue, StartOffsets};

const PLAIN: Facts = Facts::PLAIN;
const SHAPING: Facts = Facts::SHAPING;

const SECOND: f64 = 1_000.0;
const HOUR: f64 = 3_600.0 * SECOND;
const DAY: f64 = 24.0 * HOUR;
const KIB: f64 = 1_024.0;
const MIB: f64 = 1_024.0 * KIB;

declare_settings! {
    section "Source" {
        /// Kafka brokers to start from, `host:port` with commas between them.
        kafka_bootstrap_servers: String = "localhost:9092", PLAIN.alias("KAFKA_BOOTSTRAP_SERVERS");
        /// Folder of a recording to read instead of Kafka; empty reads Kafka.
        recording: String = "", PLAIN;
        /// Topic with OTLP spans, protobuf or JSON.
        spans_topic: String = "otlp_spans", SHAPING;
        /// Topic with session documents.
        documents_topic: String = "agent.conversations", SHAPING;
        /// Topic that gets every rejected value as it came.
        dead_letter_topic: String = "agent.deadletter", PLAIN;
        /// Topic that gets what the job flags.
        alerts_topic: String = "agent.alerts", PLAIN;
        /// Whether missing topics are made at start.
        create_topics: bool = "true", PLAIN;
        /// Where a partition that the epoch log does not know begins.
        start_offsets: StartOffsets = "earliest", PLAIN;
        /// Properties handed to librdkafka as they are, such as `security.protocol`; passwords only by environment.
        kafka_properties: Properties = "", PLAIN;
    }
    section "Epochs" {
        /// How often an epoch is cut while reading Kafka.
        epoch_interval: Duration = "500ms", PLAIN.range(10.0, 60.0 * SECOND);
        /// Payload bytes after which an epoch is cut early.
        epoch_max_bytes: ByteSize = "16MiB", PLAIN.range(64.0 * KIB, 1_024.0 * MIB);
        /// Records after which an epoch is cut while reading a recording, which time never cuts.
        epoch_records: u32 = "10000", PLAIN.range(1.0, 10_000_000.0);
        /// Epochs that may be between source and warehouse before the source waits.
        max_epochs_in_flight: u32 = "4", PLAIN.range(1.0, 1_000.0);
        /// How often the blocks of DWS and ADS tables end.
        dws_block_interval: Duration = "2s", PLAIN.range(10.0, HOUR);
    }
    section "Event time" {
        /// How far the watermark stays behind the newest event time of a partition.
        max_out_of_orderness: Duration = "10s", PLAIN.range(0.0, DAY);
        /// After this long at a partition's end, the partition no longer holds the watermark back.
        idle_timeout: Duration = "30s", PLAIN.range(100.0, DAY);
        /// How long after its end a window still takes late spans and fires again.
        allowed_lateness: Duration = "1h", SHAPING.range(0.0, 30.0 * DAY);
        /// An event time further ahead of the wall clock than this never moves a watermark.
        max_future_skew: Duration = "60s", PLAIN.range(0.0, DAY);
        /// How far behind the watermark a span's fingerprint is remembered to drop copies of it; for the spans of session
        /// documents, which come again longer, at least `session_ttl`.
        dedup_horizon: Duration = "10min", SHAPING.range(0.0, 30.0 * DAY);
        /// How long a trace waits for a missing parent before its children count as orphans.
        orphan_grace: Duration = "60s", SHAPING.range(0.0, DAY);
        /// How long after its last span a trace is kept in state.
        trace_ttl: Duration = "1h", SHAPING.range(SECOND, 30.0 * DAY);
        /// Silence after which a session counts as idle.
        session_idle: Duration = "30min", SHAPING.range(SECOND, 30.0 * DAY);
        /// How long after its last span a session is kept in state.
        session_ttl: Duration = "24h", SHAPING.range(SECOND, 90.0 * DAY);
    }
    section "Limits" {
        /// Attributes kept of a span or resource; further ones are dropped and their number noted.
        max_attributes: u32 = "1024", SHAPING.range(1.0, 65_536.0);
        /// Events kept of a span.
        max_events: u32 = "1024", SHAPING.range(0.0, 65_536.0);
        /// Links kept of a span.
        max_links: u32 = "1024", SHAPING.range(0.0, 65_536.0);
        /// Attributes kept of an event or link.
        max_event_attributes: u32 = "128", SHAPING.range(0.0, 65_536.0);
        /// Bytes kept of a span's or event's name and of an attribute's key.
        max_name_bytes: u32 = "1024", SHAPING.range(16.0, 65_536.0);
        /// Levels of lists and maps within an attribute; a record with a deeper one is a dead letter.
        max_depth: u32 = "64", SHAPING.range(1.0, 200.0);
        /// Window keys of one agent and minute; further ones are counted under `__overflow__`.
        max_keys_per_agent: u32 = "1000", SHAPING.range(1.0, 1_000_000.0);
        /// Largest record that is decoded; a larger one is a dead letter.
        max_record_bytes: ByteSize = "8MiB", SHAPING.range(KIB, 256.0 * MIB);
    }
    section "Session documents" {
        /// Agent of a document whose record has no `service.name` header.
        document_agent: String = "document", SHAPING;
        /// Zone of a document's times that have no offset: `UTC` or a fixed offset such as `+08:00`.
        document_time_zone: String = "UTC", SHAPING;
    }
    section "Warehouse" {
        /// The warehouse's HTTP address, ClickHouse or `warehouse serve`.
        clickhouse_url: String = "http://127.0.0.1:8123", PLAIN.alias("CLICKHOUSE_URL");
        /// Database of the tables.
        clickhouse_database: String = "spanflow", PLAIN.alias("CLICKHOUSE_DATABASE");
        /// User to log in as.
        clickhouse_user: String = "default", PLAIN.alias("CLICKHOUSE_USER");
        /// Password or token of that user.
        clickhouse_token: String = "", PLAIN.alias("CLICKHOUSE_TOKEN").secret();
        /// Streams of blocks for each ODS and DWD table; a record goes to shard partition modulo this.
        sink_shards: u16 = "2", SHAPING.range(1.0, 64.0);
        /// Inserts that may run at the same time.
        insert_concurrency: u16 = "4", PLAIN.range(1.0, 64.0);
        /// Compression of insert bodies.
        insert_compression: InsertCompression = "none", PLAIN;
        /// Whether the warehouse is asked to sync every insert to disk, which costs about 20 ms each.
        warehouse_fsync: bool = "false", PLAIN;
    }
    section "Anomalies" {
        /// Windows of a key's own past that make its baseline.
        anomaly_baseline_windows: u32 = "30", SHAPING.range(2.0, 1_440.0);
        /// Windows that a baseline needs before anything is flagged.
        anomaly_min_windows: u32 = "10", SHAPING.range(2.0, 1_440.0);
        /// Steps that a window needs before it is judged.
        anomaly_min_count: u32 = "20", SHAPING.range(1.0, 1_000_000.0);
        /// Score from which an error rate is flagged.
        anomaly_error_score: f64 = "6", SHAPING.range(0.1, 1_000.0);
        /// Score from which a p95 latency is flagged.
        anomaly_latency_score: f64 = "6", SHAPING.range(0.1, 1_000.0);
        /// Calls of one tool with equal arguments in a row that count as a loop.
        loop_min_repeats: u32 = "5", SHAPING.range(2.0, 10_000.0);
        /// Rows of each top list.
        top_n: u32 = "10", SHAPING.range(1.0, 1_000.0);
    }
    section "Process" {
        /// Folder of the epoch log.
        state_dir: String = ".spanflow/job", PLAIN;
        /// Worker threads; 0 takes one a core, at most `sink_shards`, as a shard's rows are built by one worker.
        workers: u16 = "0", PLAIN.range(0.0, 256.0);
        /// Which part of the dataflow is built; `windows` writes nothing and is for benchmarks.
        layers: Layers = "all", SHAPING;
        /// Address of the job's HTTP server; anything but loopback needs `http_token`.
        http_listen: SocketAddr = "127.0.0.1:8090", PLAIN;
        /// Token that every HTTP request but the health checks must carry as `Authorization: Bearer`.
        http_token: String = "", PLAIN.secret();
        /// What is logged: a level, or `target=level` directives as in `RUST_LOG`, which goes before this.
        log: String = "info", PLAIN;
    }
}
