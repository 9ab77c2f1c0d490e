"""Kafka as an output, through ``confluent-kafka`` (librdkafka)."""

from __future__ import annotations

import sys
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from agent_probe.simulator.output import MAX_MESSAGE_BYTES, TOPICS, OutputError, Partitioner, Record

# Partitions are read from the broker once: the job makes the topics before anything is sent.
_POLL_SECONDS = 0.5
_TELL_SECONDS = 5.0


class Kafka:
    """Produces with ``acks=all``, idempotence and zstd; every record is accounted for at the end."""

    def __init__(self, bootstrap: str, wait_seconds: float, flush_seconds: float, linger_ms: int) -> None:
        """Waits up to ``wait_seconds`` for the broker and its topics. Raises :class:`OutputError` past that."""
        self._bootstrap = bootstrap
        self._flush_seconds = flush_seconds
        self._sent = self._delivered = 0
        self._failed: dict[str, int] = {}
        self._last_error = ""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "agent-simulator",
                # Failures come through error_cb and the delivery reports.
                "log_level": 2,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "zstd",
                "linger.ms": linger_ms,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": 262_144,
                "queue.buffering.max.messages": 200_000,
                "delivery.timeout.ms": 120_000,
            },
            error_cb=self._on_error,
        )
        self._partitioner = Partitioner(self._wait_for_topics(wait_seconds))

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()

    def _wait_for_topics(self, wait_seconds: float) -> dict[str, int]:
        began = told = time.monotonic()
        limit = began + wait_seconds
        while True:
            try:
                known = self._producer.list_topics(timeout=2.0).topics
                reason = ""
            except KafkaException as error:
                known, reason = {}, f"; the broker does not answer: {self._last_error or error.args[0].str()}"
            found = {name: len(known[name].partitions) for name in TOPICS if name in known and known[name].partitions}
            if len(found) == len(TOPICS):
                return found
            missing = ", ".join(name for name in TOPICS if name not in found)
            now = time.monotonic()
            if now - told >= _TELL_SECONDS:
                told = now
                print(f"agent-simulator: waiting for {self._bootstrap}, topics {missing}{reason}", file=sys.stderr)
            if now >= limit:
                raise OutputError(
                    f"no topic {missing} at {self._bootstrap} after {now - began:.0f} s{reason}. "
                    "Is Kafka up, and has `stream-job run` made the topics? --wait sets the limit"
                )
            time.sleep(_POLL_SECONDS)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._delivered += 1
        else:
            self._failed[error.str()] = self._failed.get(error.str(), 0) + 1

    def send(self, record: Record) -> None:
        """Queues the record; waits where the queue is full."""
        limit = time.monotonic() + self._flush_seconds
        partition = self._partitioner.partition(record)
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    value=record.payload,
                    key=record.key,
                    headers=list(record.headers),
                    partition=partition,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                if time.monotonic() >= limit:
                    raise OutputError(
                        f"Kafka at {self._bootstrap} took nothing for {self._flush_seconds:.0f} s and the queue is full"
                        f" ({self._last_error or 'no error was given'})"
                    ) from None
                self._producer.poll(0.05)
            else:
                self._sent += 1
                return

    def poll(self) -> None:
        """Serves delivery reports."""
        self._producer.poll(0)

    def close(self) -> None:
        """Waits until everything was acknowledged."""
        self._producer.flush(self._flush_seconds)
        missing = self._sent - self._delivered
        if missing:
            reasons = "; ".join(f"{count} × {reason}" for reason, count in self._failed.items())
            raise OutputError(
                f"{missing} of {self._sent} records were not acknowledged by Kafka at {self._bootstrap} within "
                f"{self._flush_seconds:.0f} s: {reasons or self._last_error or 'no answer'}"
            )
