"""Where records go, and which partition each goes to."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

SPANS = "otlp_spans"
CONVERSATIONS = "agent.conversations"
METRICS = "otlp_metrics"
# Topics that the simulator writes to, with their partitions.
TOPICS = {SPANS: 6, CONVERSATIONS: 6, METRICS: 3}
MAX_MESSAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """One Kafka record to be."""

    topic: str
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    payload: bytes
    # ms since 1970.
    timestamp_ms: int


class OutputError(Exception):
    """Records could not be written; the message says what to do."""


class Output(Protocol):
    """A place that records go to."""

    def send(self, record: Record) -> None:
        """Takes a record, in order within its partition."""

    def poll(self) -> None:
        """Does what is due, without waiting. Called at least every 50 ms."""

    def close(self) -> None:
        """Waits, for a limited time, until all that was sent is safe. Raises :class:`OutputError` where it is not."""


class Partitioner:
    """Keyed records by the key's CRC-32, as librdkafka does; the others in turn, so that a run can be repeated."""

    def __init__(self, partitions: dict[str, int]) -> None:
        """``partitions`` gives the number of each topic's partitions."""
        self._partitions = partitions
        self._turn: Counter[str] = Counter()

    def partition(self, record: Record) -> int:
        """The record's partition."""
        count = self._partitions[record.topic]
        if record.key is not None:
            return zlib.crc32(record.key) % count
        self._turn[record.topic] += 1
        return self._turn[record.topic] % count
