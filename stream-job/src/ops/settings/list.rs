//! The settings themselves: the only place where a name, a default or a sentence is written.

use std::net::SocketAddr;
use std::time::Duration;

use super::declare::{Facts, Spec, check_range, declare_settings};
use super::value::{
    ByteSize, InsertCompression, Layers, OnDataLoss, Properties, SettingValue, StartOffsets,
    TimeZone,
};

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
        /// Topic with OTLP spans, protobuf or JSON. With `^` at its beginning, a regular expression: every topic that it
        /// matches, also those made later, but for those that the job writes, those with metrics and `agent.rules`.
        spans_topic: String = "otlp_spans", SHAPING;
        /// Topic with session documents, or a regular expression as in `spans_topic`.
        documents_topic: String = "agent.conversations", SHAPING;
        /// Topic with OTLP metrics, protobuf or JSON, or a regular expression as in `spans_topic`; empty reads no metrics. They do
        /// not move the watermark. Not read where `layers` is `windows`.
        metrics_topic: String = "otlp_metrics", SHAPING;
        /// Topic that gets every rejected value as it came.
        dead_letter_topic: String = "agent.deadletter", PLAIN;
        /// Topic that gets what the job flags.
        alerts_topic: String = "agent.alerts", PLAIN;
        /// Whether missing topics are made at start.
        create_topics: bool = "true", PLAIN;
        /// Where a fresh start begins. Partitions found later are always read from their first offset.
        start_offsets: StartOffsets = "earliest", PLAIN;
        /// How often the broker is asked for new partitions and topics.
        discovery_interval: Duration = "30s", PLAIN.range(100.0, DAY);
        /// What happens when records were deleted before they were read: `stop`, or `continue` behind them, with the loss
        /// counted and recorded.
        on_data_loss: OnDataLoss = "stop", PLAIN;
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
        /// Bytes of blocks on their way to the warehouse from which on no further epoch is begun.
        max_bytes_in_flight: ByteSize = "32MiB", PLAIN.range(MIB, 4_096.0 * MIB);
        /// How often the blocks of DWS and ADS tables end.
        dws_block_interval: Duration = "2s", PLAIN.range(10.0, HOUR);
    }
    section "Checkpoints" {
        /// How often a checkpoint is taken, at the end of a DWS block.
        checkpoint_interval: Duration = "10s", PLAIN.range(100.0, HOUR);
        /// Checkpoints that are kept, the newest counted; the epoch log reaches back to the oldest.
        checkpoints_kept: u32 = "3", PLAIN.range(1.0, 100.0);
    }
    section "Event time" {
        /// How far the watermark stays behind the newest event time of a partition.
        max_out_of_orderness: Duration = "10s", PLAIN.range(0.0, DAY);
        /// After this long at a partition's end, the partition no longer holds the watermark back.
        idle_timeout: Duration = "30s", PLAIN.range(100.0, DAY);
        /// A partition whose event times are further ahead of the slowest is not read until that has caught up; 0 lets all
        /// run. As long as `allowed_lateness`, it at most doubles the windows in state.
        max_watermark_drift: Duration = "1h", PLAIN.range(0.0, 30.0 * DAY);
        /// How long after its end a window still takes late spans and fires again.
        allowed_lateness: Duration = "1h", SHAPING.range(0.0, 30.0 * DAY);
        /// An event time further ahead of the wall clock than this never moves a watermark.
        max_future_skew: Duration = "60s", PLAIN.range(0.0, DAY);
        /// How far behind the watermark a span's fingerprint is remembered to drop copies of it; for the spans of session
        /// documents, which come again longer, at least `session_ttl`.
        dedup_horizon: Duration = "10min", SHAPING.range(0.0, 30.0 * DAY);
        /// How long it is remembered that a dead letter was sent again and has landed: a second replay of it within that is
        /// a duplicate. At least as long as dead letters are kept.
        replay_memory: Duration = "30d", SHAPING.range(HOUR, 400.0 * DAY);
        /// How long a trace waits for a missing parent before its children count as orphans.
        orphan_grace: Duration = "60s", SHAPING.range(0.0, DAY);
        /// How long after its last span a trace is kept in state.
        trace_ttl: Duration = "1h", SHAPING.range(SECOND, 30.0 * DAY);
        /// Silence after which a session counts as idle.
        session_idle: Duration = "30min", SHAPING.range(SECOND, 30.0 * DAY);
        /// How long after its last span a session is kept in state.
        session_ttl: Duration = "24h", SHAPING.range(SECOND, 90.0 * DAY);
        /// Time zone of the days in `dws_user_1d`. The first migrate of a database fixes it, and a job with another one is
        /// refused.
        business_time_zone: TimeZone = "UTC", SHAPING;
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
        /// Keys of one agent with windows that are not final; further ones are counted under `__overflow__`.
        max_keys_per_agent: u32 = "1000", SHAPING.range(1.0, 1_000_000.0);
        /// Spans of one trace that are kept one by one. Of a trace with more, sums alone are kept, and its earliest 1,000
        /// tool calls: it is flagged `truncated`, and has no transitions and no orphans.
        max_spans_per_trace: u32 = "50000", SHAPING.range(1.0, 10_000_000.0);
        /// Traces of one session that are kept one by one. Of a session with more, those that are older than `trace_ttl` are
        /// kept as sums.
        max_traces_per_session: u32 = "1000", SHAPING.range(1.0, 1_000_000.0);
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
    section "Cluster" {
        /// Name of the job, of letters, digits, `-`, `_` and `.`: processes of another one are not let in.
        job: String = "spanflow", PLAIN;
        /// Processes that run the job together, each with `workers` threads; more than one need `cluster_secret`, which
        /// `submit` makes up where it is not set.
        processes: u16 = "1", PLAIN.range(1.0, 64.0);
        /// Where each process listens for the others, `host:port` with commas between them, process 0 first; empty for all
        /// on this machine.
        hosts: String = "", PLAIN;
        /// Port of process 0 on loopback where `hosts` is empty; the other processes take free ones.
        cluster_port: u16 = "7190", PLAIN.range(1.0, 65_535.0);
        /// What the processes of a job know and nobody else, at least 16 characters.
        cluster_secret: String = "", PLAIN.secret();
        /// How long a process may take to join the others, and a link between two may take to come about.
        cluster_timeout: Duration = "30s", PLAIN.range(100.0, HOUR);
    }
    section "Process" {
        /// Where epoch log and checkpoints are kept: a folder, or `s3://BUCKET/PREFIX` in programs built with `s3`.
        state_dir: String = ".spanflow/job", PLAIN;
        /// Worker threads; 0 takes one a core, at most `sink_shards`, as a shard's rows are built by one worker.
        workers: u16 = "0", PLAIN.range(0.0, 256.0);
        /// Which part of the dataflow is built; `windows` writes nothing and is for benchmarks.
        layers: Layers = "all", SHAPING;
        /// File that gets the one-minute windows, as they stand at the end of a run of the layers `windows`, one JSON object a
        /// line; empty writes none. For benchmarks.
        windows_file: String = "", PLAIN;
        /// How long a stop may take: a job whose rows have not all landed by then, as the warehouse is away, ends with 6, and
        /// its next start writes them.
        drain_timeout: Duration = "60s", PLAIN.range(100.0, 24.0 * HOUR);
        /// Address of the job's HTTP server; anything but loopback needs `http_token`.
        http_listen: SocketAddr = "127.0.0.1:8090", PLAIN;
        /// Token that every HTTP request but the health checks must carry as `Authorization: Bearer`.
        http_token: String = "", PLAIN.secret();
        /// What is logged: a level, or `target=level` directives as in `RUST_LOG`, which goes before this.
        log: String = "info", PLAIN;
    }
    section "Supervisor" {
        /// How long `submit` waits before it starts the job again after a failure; doubled after each further one.
        restart_backoff_min: Duration = "500ms", PLAIN.range(10.0, HOUR);
        /// The longest such wait.
        restart_backoff_max: Duration = "30s", PLAIN.range(10.0, HOUR);
        /// Failures in a row, with no epoch landed in between, after which `submit` gives up.
        restart_limit: u32 = "10", PLAIN.range(1.0, 1_000_000.0);
        /// How long a new program may take until it is ready before a hand-over goes back to the old one.
        handover_timeout: Duration = "30s", PLAIN.range(SECOND, HOUR);
        /// Folder of the programs that a hand-over may start; no other is started.
        jobs_dir: String = ".spanflow/jobs", PLAIN;
        /// Folder of the processes' logs; empty is `logs` in `state_dir`, or `.spanflow/logs` where that is a URL.
        log_dir: String = "", PLAIN;
        /// Size at which a log file is put aside and a new one begun.
        log_file_bytes: ByteSize = "16MiB", PLAIN.range(4.0 * KIB, 1_024.0 * MIB);
        /// Log files that are kept of each process besides the newest.
        log_files: u16 = "4", PLAIN.range(0.0, 1_000.0);
    }
}
