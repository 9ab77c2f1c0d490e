"""From the agent's threads to the transport: a bounded queue that takes spans at once, and a thread for the rest."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from opentelemetry import context as otel
from opentelemetry.sdk.trace import ReadableSpan

from agent_probe.message import Accounts, Message
from agent_probe.otlp import attributes_of, span_body, trace_request
from agent_probe.outbox import Outbox
from agent_probe.privacy import Privacy
from agent_probe.spill import Backlog
from agent_probe.transport import Transport

logger = logging.getLogger("agent_probe")

# Of a resource and its scopes in a message, beside its spans.
_ENVELOPE_BYTES = 4_096
_SPAN_WEIGHT = 1_000
_POLL_SECONDS = 0.05
# How long after the last span the thread still looks by the clock.
_AWAKE_SECONDS = 2.0
MAX_DELAY = 0.2
# What OpenTelemetry's instrumentors ask for before they make a span.
_SUPPRESS = getattr(otel, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")


@dataclass(frozen=True)
class Limits:
    """How much is kept, and for how long. Times in seconds."""

    delay: float = 0.1
    queue_spans: int = 20_000
    queue_bytes: int = 64 << 20
    max_message_bytes: int = 1_000_000
    patience: float = 2.0
    report_period: float = 60.0


class _Flush:
    """Asks the sender's thread to answer when all that came before has been dealt with."""

    def __init__(self) -> None:
        self.answer: SimpleQueue[bool] = SimpleQueue()


_Item = tuple[ReadableSpan, int] | Message | _Flush


def weigh(span: ReadableSpan) -> int:
    """About how many bytes of memory a span holds."""
    size = _SPAN_WEIGHT
    for value in attributes_of(span).values():
        if type(value) is str:
            size += len(value)
    for event in span.events:
        for value in (event.attributes or {}).values():
            if isinstance(value, str):
                size += len(value)
    return size


class Sender:
    """Never blocks and never raises into the caller, also from signal handlers and finalizers.

    That is why the queue is a ``SimpleQueue`` (its ``put`` may interrupt itself), and why the only lock is re-entrant
    and not taken by the sender's own thread.
    """

    def __init__(
        self,
        transport: Transport,
        open_backlog: Callable[[], Backlog],
        *,
        topic: str,
        privacy: Privacy,
        limits: Limits,
    ) -> None:
        """``open_backlog`` is called on the sender's thread, again in a child after a fork."""
        self.accounts = Accounts()
        self._transport = transport
        self._open_backlog = open_backlog
        self._topic = topic
        self._privacy = privacy
        self._limits = limits
        self._fresh()

    def _fresh(self) -> None:
        self._gate = threading.RLock()
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._hurry: SimpleQueue[None] = SimpleQueue()
        # Taken in by callers, under the gate, and let out by the thread.
        self._in_spans = self._in_bytes = 0
        self._out_spans = self._out_bytes = 0
        self._outbox: Outbox | None = None
        self._backlog: Backlog | None = None
        self._waiting: deque[_Flush] = deque()
        self._thread: threading.Thread | None = None
        self._closing = self._closed = False
        self._deadline = float("inf")
        self._last_taken = float("-inf")
        self._reported = 0
        self._report_at = time.monotonic() + self._limits.report_period

    def after_fork_in_child(self) -> None:
        """Begins anew: what was queued is the parent's to send, and its thread did not come along."""
        self._transport.abandon()
        self._transport.deadline = float("inf")
        abandon = getattr(self._backlog, "abandon", None)
        if abandon is not None:
            with contextlib.suppress(OSError):
                abandon()
        self.accounts = Accounts()
        closed = self._closed
        self._fresh()
        self._closed = closed

    # What callers use.

    def offer(self, span: ReadableSpan) -> bool:
        """Takes an ended span, or counts it as dropped where there is no room."""
        size = weigh(span)
        limits = self._limits
        with self._gate:
            self.accounts.offered += 1
            if self._closed:
                self.accounts.drop("after_shutdown", 1)
                return False
            if (
                self._in_spans - self._out_spans >= limits.queue_spans
                or self._in_bytes - self._out_bytes + size > limits.queue_bytes
            ):
                self.accounts.drop("queue_full", 1)
                return False
            self._in_spans += 1
            self._in_bytes += size
            if self._thread is None:
                self._start()
        self._queue.put((span, size))
        return True

    def offer_message(self, message: Message) -> bool:
        """Takes a message that is encoded already (metrics)."""
        with self._gate:
            if self._closed:
                return False
            if self._thread is None:
                self._start()
        self._queue.put(message)
        return True

    @property
    def queued(self) -> int:
        """Spans that wait for the sender's thread."""
        return self._in_spans - self._out_spans

    @property
    def backing_up(self) -> bool:
        """Whether spans go to the spill file."""
        return self._outbox is not None and self._outbox.backing_up

    def flush(self, seconds: float) -> bool:
        """Waits until all that was taken is acknowledged, the backlog too. False where that takes longer."""
        if self._thread is None or threading.current_thread() is self._thread:
            return self._thread is None and self.queued == 0
        request = _Flush()
        self._queue.put(request)
        self._hurry.put(None)
        try:
            return request.answer.get(timeout=max(seconds, 0.0))
        except Empty:
            return False

    def shutdown(self, seconds: float) -> bool:
        """Sends what is there; what is not acknowledged in time is in the backlog. Takes nothing afterwards."""
        with self._gate:
            if self._closed:
                return True
            self._closed = True
            thread = self._thread
        if thread is None:
            return True
        # A tenth is kept for writing to the backlog.
        self._deadline = time.monotonic() + seconds * 0.9
        self._transport.deadline = self._deadline
        self._closing = True
        self._hurry.put(None)
        self._queue.put(_Flush())
        if thread is threading.current_thread():
            return False
        thread.join(max(seconds, 0.0))
        return not thread.is_alive()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="agent-probe-sender", daemon=True)
        # Set first: starting a thread can run code that ends a span.
        self._thread = thread
        # Without the step that happens to be current, which the thread would hold on to.
        token = otel.attach(otel.Context())
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is shutting down: nothing can be sent any more.
            self._closed = True
        finally:
            otel.detach(token)

    # What the thread does.

    def _run(self) -> None:
        # An instrumented Kafka client must not make spans of the sending of spans.
        otel.attach(otel.set_value(_SUPPRESS, True, otel.Context()))
        try:
            self._backlog = self._open_backlog()
            outbox = self._outbox = Outbox(
                self._transport,
                self._backlog,
                self.accounts,
                patience=self._limits.patience,
                memory_bytes=self._limits.queue_bytes,
            )
        except Exception:
            logger.exception("agent-probe can't send anything")
            self._closed = True
            return
        while not (self._closing and self._finished(outbox)):
            try:
                items = self._take(outbox)
                self._pass_on(outbox, items)
                outbox.tick(_POLL_SECONDS if outbox.busy and not items and self._in_a_hurry(outbox) else 0.0)
                self._answer(outbox)
                self._report()
            except Exception as error:
                # Should not be: whatever it was, the spans after it still go out.
                self.accounts.last_error = repr(error)
                logger.debug("agent-probe's sender", exc_info=True)
                time.sleep(_POLL_SECONDS)
        with contextlib.suppress(Exception):
            outbox.secure()
            self._answer(outbox, last=True)
            outbox.close()
            self._report(now=True)

    def _finished(self, outbox: Outbox) -> bool:
        return self._queue.empty() and (not outbox.worth_waiting() or time.monotonic() >= self._deadline)

    def _take(self, outbox: Outbox) -> list[_Item]:
        """What is queued, after the time that a first one waits for others to come with it.

        While spans keep coming it looks by the clock: then none of the agent's threads has to wake anybody.
        """
        items: list[_Item] = []
        hurried = self._in_a_hurry(outbox)
        awake = outbox.busy or time.monotonic() - self._last_taken < _AWAKE_SECONDS
        with contextlib.suppress(Empty):
            if not hurried and not awake:
                items.append(self._queue.get(timeout=self._limits.report_period))
                hurried = self._closing or isinstance(items[0], _Flush)
            if not hurried:
                self._hurry.get(timeout=min(self._limits.delay, MAX_DELAY))
        with contextlib.suppress(Empty):
            while True:
                items.append(self._queue.get_nowait())
        if items:
            self._last_taken = time.monotonic()
            with contextlib.suppress(Empty):
                while True:
                    self._hurry.get_nowait()
        return items

    def _in_a_hurry(self, outbox: Outbox) -> bool:
        """Whether somebody waits for acknowledgements, rather than for the next spans."""
        return self._closing or bool(self._waiting) or outbox.backing_up

    def _pass_on(self, outbox: Outbox, items: list[_Item]) -> None:
        groups: dict[bytes, list[tuple[ReadableSpan, bytes]]] = {}
        for item in items:
            if isinstance(item, Message):
                outbox.put(item)
            elif isinstance(item, _Flush):
                self._waiting.append(item)
            else:
                span, size = item
                self._out_spans += 1
                self._out_bytes += size
                self._encode(span, groups)
        for key, spans in groups.items():
            for message in self._messages(key, spans):
                outbox.put(message)

    def _encode(self, span: ReadableSpan, groups: dict[bytes, list[tuple[ReadableSpan, bytes]]]) -> None:
        try:
            context = span.get_span_context()
            body = span_body(span, self._privacy)
        except Exception as error:
            self.accounts.drop("not_encodable", 1)
            self.accounts.last_error = repr(error)
            return
        key = b"%032x" % context.trace_id if context is not None and self._transport.by_trace else b""
        groups.setdefault(key, []).append((span, body))

    def _messages(self, key: bytes, spans: list[tuple[ReadableSpan, bytes]]) -> list[Message]:
        """One message for the spans, or more where it would be too large."""
        limit = self._limits.max_message_bytes - _ENVELOPE_BYTES
        parts: list[list[tuple[ReadableSpan, bytes]]] = []
        room = 0
        for span, body in spans:
            if not parts or len(body) > room:
                parts.append([])
                room = limit
            parts[-1].append((span, body))
            room -= len(body)
        return [Message(self._topic, key, trace_request(part), len(part)) for part in parts]

    def _answer(self, outbox: Outbox, last: bool = False) -> None:
        if last or not outbox.busy:
            while self._waiting:
                self._waiting.popleft().answer.put(not outbox.busy)

    def _report(self, now: bool = False) -> None:
        """One line a period on what was dropped in it."""
        if not now and time.monotonic() < self._report_at:
            return
        self._report_at = time.monotonic() + self._limits.report_period
        dropped = sum(self.accounts.dropped.values())
        if dropped > self._reported:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.accounts.dropped.items()))
            logger.warning(
                "agent-probe dropped %d spans since its last report (all so far: %s); last error: %s",
                dropped - self._reported,
                reasons,
                self.accounts.last_error or "none",
            )
        self._reported = dropped
