"""Kafka, through ``confluent-kafka`` (librdkafka): idempotent, ``acks=all``, zstd."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from agent_probe.message import CONTENT_TYPE, Message
from agent_probe.transport import Done, Outcome

_HEADERS = [("content-type", CONTENT_TYPE.encode())]
# A message that the broker's or the topic's limits will always refuse.
_REJECTING = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "INVALID_RECORD", "RECORD_LIST_TOO_LARGE")


class KafkaTransport:
    """Sends to the topic that each message names. The client is made on first use, on the sender's thread."""

    by_trace = True
    # librdkafka has pauses of its own.
    quiet_until = 0.0

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        max_message_bytes: int,
        queue_bytes: int,
        give_up_ms: int = 10_000,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """``give_up_ms`` is how long librdkafka tries one message before it comes back as to be retried."""
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "agent-probe",
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "message.max.bytes": max_message_bytes + 65_536,
            "queue.buffering.max.kbytes": max(1024, queue_bytes // 1024),
            "queue.buffering.max.messages": 100_000,
            "message.timeout.ms": give_up_ms,
            "topic.metadata.propagation.max.ms": min(5_000, give_up_ms),
            "reconnect.backoff.max.ms": 1_000,
            "socket.keepalive.enable": True,
            # Failures come through error_cb and the delivery reports.
            "log_level": 0,
            **(config or {}),
        }
        self._producer: Any = None
        self._done: Done | None = None
        self._outstanding = 0
        # Refused in a batch with others: to be sent again, each by itself.
        self._suspects: deque[tuple[int, Message]] = deque()
        self._fatal = False
        self.last_error = ""
        self.deadline = float("inf")

    def open(self, done: Done) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        self._done = done

    def _client(self) -> Any:
        if self._fatal and self._outstanding == 0:
            # An idempotent client that met a fatal error never sends again.
            self._producer, self._fatal = None, False
        if self._producer is None:
            from confluent_kafka import Producer

            self._producer = Producer({**self._config, "error_cb": self._on_error})
        return self._producer

    def _on_error(self, error: Any) -> None:
        self.last_error = error.str()
        self._fatal = self._fatal or bool(error.fatal())

    def submit(self, number: int, message: Message) -> bool:
        """See :class:`agent_probe.transport.Transport`."""
        return self._produce(number, message, alone=False)

    def _produce(self, number: int, message: Message, alone: bool) -> bool:
        try:
            self._client().produce(
                message.topic,
                value=message.value,
                key=message.key or None,
                headers=_HEADERS,
                on_delivery=partial(self._delivered, number, message, alone),
            )
        except BufferError:
            return False
        except Exception as error:
            # A KafkaException carries what librdkafka says; anything else is told as it is.
            self._tell(number, error.args[0] if error.args else error, alone=True)
            return True
        self._outstanding += 1
        return True

    def _delivered(self, number: int, message: Message, alone: bool, error: Any, _message: Any) -> None:
        self._outstanding -= 1
        if error is None:
            self._finish(number, Outcome.DELIVERED, "")
        elif not alone and error.name() in _REJECTING:
            # The broker refuses batches: it may have been another message's fault.
            self._suspects.append((number, message))
        else:
            self._tell(number, error, alone)

    def _tell(self, number: int, error: Any, alone: bool) -> None:
        name = error.name() if hasattr(error, "name") else ""
        if hasattr(error, "fatal") and error.fatal():
            self._fatal = True
        self.last_error = error.str() if hasattr(error, "str") else str(error)
        self._finish(number, Outcome.REJECTED if alone and name in _REJECTING else Outcome.RETRY, self.last_error)

    def _send_a_suspect(self) -> None:
        if self._suspects and self._outstanding == 0:
            number, message = self._suspects.popleft()
            if not self._produce(number, message, alone=True):
                self._finish(number, Outcome.RETRY, "no room in Kafka's queue")

    def _finish(self, number: int, outcome: Outcome, reason: str) -> None:
        if self._done is not None:
            self._done(number, outcome, reason)

    def poll(self, seconds: float) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        if self._producer is not None:
            self._send_a_suspect()
            self._producer.poll(seconds)

    def abandon(self) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        if self._producer is not None:
            # librdkafka's threads did not come along: destroying the handle would wait for them for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))
        self._producer, self._outstanding, self._fatal = None, 0, False
        self._suspects.clear()

    def close(self) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        self._done = None
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
