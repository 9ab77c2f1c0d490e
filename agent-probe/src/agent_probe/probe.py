"""``init`` and the handle that it returns."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from agent_probe import carrying, instrumentation, prices, runtime, step_span
from agent_probe import settings as configuration
from agent_probe.exporter import ProbeSpanProcessor, make_sender
from agent_probe.message import Accounts
from agent_probe.prices import Price
from agent_probe.privacy import Mask
from agent_probe.process_metrics import ProcessMetrics
from agent_probe.sender import Sender
from agent_probe.settings import Overrides, Settings
from agent_probe.step import TRACER
from agent_probe.step_span import Maker

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("agent_probe")

_lock = threading.RLock()
_current: Probe | None = None


class Probe:
    """What :func:`init` set up. A context manager, which shuts down at its end."""

    def __init__(self, settings: Settings, provider: TracerProvider | None, sender: Sender | None) -> None:
        """Made by :func:`init`; without a sender it does nothing."""
        self.settings = settings
        self.provider = provider
        self._sender = sender
        self._processor: ProbeSpanProcessor | None = None
        self._metrics: ProcessMetrics | None = None
        self._previous_sigterm: Any = None
        self._down = False
        if sender is None or provider is None:
            return
        self._processor = ProbeSpanProcessor(sender, settings.exit_timeout_ms / 1000)
        provider.add_span_processor(self._processor)

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return self._sender is not None

    @property
    def accounts(self) -> Accounts:
        """What became of the spans so far."""
        return self._sender.accounts if self._sender is not None else Accounts()

    def flush(self, seconds: float = 10.0) -> bool:
        """Waits until all spans that ended are acknowledged, for at most so long. True where they are."""
        return self._sender is None or self._sender.flush(seconds)

    def shutdown(self, seconds: float | None = None) -> bool:
        """Ends open spans, sends everything, and stops; nothing is recorded afterwards.

        Takes at most the given time (the setting ``exit_timeout_ms``); what could not be sent is in the spill file.
        """
        if self._sender is None:
            return True
        limit = self.settings.exit_timeout_ms / 1000 if seconds is None else seconds
        deadline = time.monotonic() + limit
        if self._down:
            return True
        self._down = True
        if self._processor is not None:
            self._processor.cut_open_spans(min(0.5, limit))
        if self._metrics is not None:
            self._metrics.stop()
        return self._sender.shutdown(max(deadline - time.monotonic(), 0.0))

    def __enter__(self) -> Probe:
        """The handle itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Shuts down."""
        self.shutdown()

    # Set up by init.

    def _start_metrics(self) -> None:
        if self._sender is not None and self.provider is not None and self.settings.metrics_interval_ms > 0:
            self._metrics = ProcessMetrics(self._sender, self.provider, self.settings)

    def _watch_sigterm(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(ValueError, OSError):
            previous = signal.getsignal(signal.SIGTERM)
            # One that was not set from Python can't be chained.
            if previous is None:
                return
            self._previous_sigterm = previous
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous_sigterm
        if previous == signal.SIG_IGN:
            return
        if callable(previous):
            # The agent ends in its own way: what is there goes out now, in case that way is a short one.
            with contextlib.suppress(Exception):
                self.flush(min(1.0, self.settings.exit_timeout_ms / 1000))
            previous(number, frame)
            return
        with contextlib.suppress(Exception):
            self.shutdown()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _at_exit(self) -> None:
        with contextlib.suppress(Exception):
            self.shutdown()

    def _watch_multiprocessing(self) -> None:
        """Its children leave without ``atexit``, through finalizers of their own."""
        from multiprocessing import util

        util.register_after_fork(self, _finalize_in_child)


def _finalize_in_child(probe: Probe) -> None:
    from multiprocessing import util

    util.Finalize(None, probe._at_exit, exitpriority=0)


def _resource(settings: Settings, attributes: Mapping[str, Any] | None) -> Resource:
    named: dict[str, Any] = {"service.instance.id": runtime.instance_id(), "process.pid": os.getpid()}
    if settings.service_name:
        named["service.name"] = settings.service_name
    # What OTEL_RESOURCE_ATTRIBUTES says wins over our own id, not over the name that was asked for.
    given = Resource.create({}).attributes
    named = {key: value for key, value in named.items() if key == "service.name" or key not in given}
    return Resource.create({**named, **(attributes or {})})


def _provider(settings: Settings, attributes: Mapping[str, Any] | None) -> TracerProvider:
    """The provider that is there, so that other instrumentors go on as they were, or a new one."""
    present = trace.get_tracer_provider()
    if isinstance(present, TracerProvider):
        return present
    made = TracerProvider(resource=_resource(settings, attributes), shutdown_on_exit=False)
    trace.set_tracer_provider(made)
    return made


def init(
    service_name: str | None = None,
    *,
    resource_attributes: Mapping[str, Any] | None = None,
    mask: Mask | None = None,
    price_table: Mapping[str, Price | tuple[float, ...]] | None = None,
    **overrides: Unpack[Overrides],
) -> Probe:
    """Starts recording: everything that OpenTelemetry and the steps of this package see in this process.

    ``mask(key, text)`` gives the text to send in place of ``text``, for every text that is not structure.
    ``price_table`` gives dollars per million tokens by model name. ``overrides`` are fields of
    :class:`agent_probe.Settings`. A second call changes nothing and returns the first one's handle.

    Nothing that happens to the probe reaches the agent: where it can't start, it says so in the log.
    """
    global _current
    with _lock:
        if _current is not None:
            return _current
        settings = configuration.load(os.environ, service_name=service_name, **overrides)
        try:
            _current = _started(settings, resource_attributes, mask, price_table)
        except Exception:
            logger.exception("agent-probe could not start; nothing is recorded")
            _current = Probe(settings, None, None)
        return _current


def _started(
    settings: Settings,
    attributes: Mapping[str, Any] | None,
    mask: Mask | None,
    price_table: Mapping[str, Price | tuple[float, ...]] | None,
) -> Probe:
    if not settings.enabled:
        return Probe(settings, None, None)
    prices.configure(settings.prices_file, price_table)
    runtime.configure(settings)
    provider = _provider(settings, attributes)
    probe = Probe(settings, provider, make_sender(settings, mask))
    if probe._processor is not None and trace.get_tracer_provider() is provider:
        step_span.use(Maker.of(provider, TRACER, probe._processor))
    atexit.register(probe._at_exit)
    probe._watch_multiprocessing()
    probe._start_metrics()
    if settings.handle_sigterm:
        probe._watch_sigterm()
    if settings.carry_into_threads:
        carrying.into_threads()
    for name in filter(None, (part.strip() for part in settings.instrument.split(","))):
        instrumentation.instrument(name)
    return probe


def current() -> Probe | None:
    """The handle of the last :func:`init`."""
    return _current
