//! From rows to blocks to ClickHouse, exactly once.
