//! Settings, command line, HTTP and metrics.
