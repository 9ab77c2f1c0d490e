//! Recordings: a folder of partitions with offsets.
