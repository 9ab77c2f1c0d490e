"""What plugs into OpenTelemetry: exporters for any set-up, and the processor that ``init`` uses."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from agent_probe import settings as configuration
from agent_probe.message import Accounts, Message
from agent_probe.otlp_metrics import metrics_request
from agent_probe.privacy import Mask, Privacy
from agent_probe.sender import Limits, Sender, logger
from agent_probe.settings import Settings
from agent_probe.spill import Backlog, MemoryBacklog, SpillFolder
from agent_probe.transport import Transport
from agent_probe.transport.http import HttpTransport
from agent_probe.transport.kafka import KafkaTransport

# Spans that never end are not watched beyond this.
_MAX_OPEN = 100_000


def open_backlog(settings: Settings) -> Callable[[], Backlog]:
    """Opens the spill folder, or keeps to memory where that can't be had."""

    def opened() -> Backlog:
        root = settings.spill_root()
        if root is not None and settings.spill_bytes > 0:
            try:
                return SpillFolder(root, settings.spill_bytes)
            except OSError as error:
                logger.warning("agent-probe can't keep a spill file in %s (%s): it keeps to memory", root, error)
        return MemoryBacklog(settings.queue_bytes)

    return opened


def make_transport(settings: Settings) -> Transport:
    """The transport that the settings name. Raises ``ValueError`` for an address that is none."""
    if settings.kind == "http":
        return HttpTransport(
            {settings.spans_topic: settings.traces_url, settings.metrics_topic: settings.metrics_url},
            headers=settings.headers,
            timeout_ms=settings.http_timeout_ms,
        )
    return KafkaTransport(
        settings.bootstrap_servers,
        max_message_bytes=settings.max_message_bytes,
        queue_bytes=settings.queue_bytes,
        config=settings.kafka_config,
    )


def make_sender(settings: Settings, mask: Mask | None = None) -> Sender:
    """A sender as the settings say, safe across forks."""
    sender = Sender(
        make_transport(settings),
        open_backlog(settings),
        topic=settings.spans_topic,
        privacy=Privacy(settings.capture_content, mask, settings.max_content_chars),
        limits=Limits(
            delay=settings.delay_ms / 1000,
            queue_spans=settings.queue_spans,
            queue_bytes=settings.queue_bytes,
            max_message_bytes=settings.max_message_bytes,
            patience=settings.spill_after_ms / 1000,
            report_period=settings.report_period_ms / 1000,
        ),
    )
    if hasattr(os, "register_at_fork"):
        reference = weakref.ref(sender)

        def after_in_child() -> None:
            known = reference()
            if known is not None:
                known.after_fork_in_child()

        os.register_at_fork(after_in_child=after_in_child)
    return sender


def _sender_of(bootstrap_servers: str | None, mask: Mask | None, given: Mapping[str, Any]) -> tuple[Sender, Settings]:
    chosen = {"transport": "kafka", **given}
    settings = configuration.load(os.environ, bootstrap_servers=bootstrap_servers, **chosen)
    sender = make_sender(settings, mask)
    atexit.register(sender.shutdown, settings.exit_timeout_ms / 1000)
    return sender, settings


class KafkaSpanExporter(SpanExporter):
    """Sends OTLP protobuf to Kafka: one message per trace and batch, keyed by the lowercase hex trace id.

    For any OpenTelemetry set-up::

        provider.add_span_processor(BatchSpanProcessor(KafkaSpanExporter("broker:9092")))

    ``export`` takes the spans over and returns at once; they go out, or to the spill file, on a thread of its own.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        topic: str | None = None,
        mask: Mask | None = None,
        **settings: Any,
    ) -> None:
        """``settings`` are fields of :class:`agent_probe.Settings`; the environment counts as for ``init``."""
        given = {"spans_topic": topic, **settings} if topic else settings
        self._sender, self._settings = _sender_of(bootstrap_servers, mask, given)

    @property
    def accounts(self) -> Accounts:
        """What became of the spans."""
        return self._sender.accounts

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """``FAILURE`` where there was no room for a span; it is counted."""
        taken = [self._sender.offer(span) for span in spans]
        return SpanExportResult.SUCCESS if all(taken) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until all is acknowledged."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Sends what is left, within the setting ``exit_timeout_ms``; what can't be sent is in the spill file."""
        self._sender.shutdown(self._settings.exit_timeout_ms / 1000)


class KafkaMetricExporter(MetricExporter):
    """Sends OTLP metrics as protobuf to Kafka, for any ``PeriodicExportingMetricReader``."""

    def __init__(
        self, bootstrap_servers: str | None = None, *, sender: Sender | None = None, topic: str = "", **settings: Any
    ) -> None:
        """Uses the given sender, or makes one as :class:`KafkaSpanExporter` does."""
        super().__init__()
        self._own = sender is None
        if sender is None:
            sender, loaded = _sender_of(bootstrap_servers, None, settings)
            topic = topic or loaded.metrics_topic
            self._exit_seconds = loaded.exit_timeout_ms / 1000
        self._sender = sender
        self._topic = topic or configuration.METRICS_TOPIC

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Takes the metrics over and returns at once."""
        try:
            value = metrics_request(metrics_data)
        except Exception:
            logger.debug("metrics that can't be encoded", exc_info=True)
            return MetricExportResult.FAILURE
        taken = not value or self._sender.offer_message(Message(self._topic, b"", value, 0))
        return MetricExportResult.SUCCESS if taken else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Waits until all is acknowledged."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Closes the sender, where it is the exporter's own."""
        if self._own:
            self._sender.shutdown(min(timeout_millis / 1000, self._exit_seconds))


class ProbeSpanProcessor(SpanProcessor):
    """Passes ended spans to a sender, and knows those that are open, to end them when the process does."""

    def __init__(self, sender: Sender, exit_seconds: float) -> None:
        """``exit_seconds`` is the limit of :meth:`shutdown`."""
        self._sender = sender
        self._exit_seconds = exit_seconds
        self._open: dict[int, Span] = {}
        # Open when this process was forked: they are the parent's to end.
        self._inherited: set[int] = set()
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)

            def after_in_child() -> None:
                known = reference()
                if known is not None:
                    known._inherited |= known._open.keys()
                    known._open = {}

            os.register_at_fork(after_in_child=after_in_child)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Notes the span."""
        context = span.context
        if context is not None and len(self._open) < _MAX_OPEN:
            self._open[context.span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        """Hands the span over; never waits, never raises."""
        context = span.context
        if context is None:
            return
        self._open.pop(context.span_id, None)
        if context.trace_flags.sampled and context.span_id not in self._inherited:
            self._sender.offer(span)

    def cut_open_spans(self, seconds: float = 0.5) -> None:
        """Ends what is open, as an error of type ``process_exit``: a session that was killed must be seen.

        On a thread of its own: a signal handler may have interrupted its thread inside a span's lock.
        """
        if not self._open:
            return

        def cut() -> None:
            for span in reversed(list(self._open.values())):
                try:
                    if span.is_recording():
                        span.set_attribute("error.type", "process_exit")
                        span.set_status(Status(StatusCode.ERROR, "the process ended before this step did"))
                        span.end()
                except Exception:
                    logger.debug("a span that can't be ended", exc_info=True)

        thread = threading.Thread(target=cut, name="agent-probe-cut", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is shutting down and starts no threads any more; no signal is being handled then.
            cut()
            return
        thread.join(seconds)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until all that ended is acknowledged."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Sends what is left, within the limit."""
        self._sender.shutdown(self._exit_seconds)
