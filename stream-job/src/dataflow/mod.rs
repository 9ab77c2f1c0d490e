//! The timely dataflow: epochs, deduplication, windows, traces, sessions, anomalies, top-N.
