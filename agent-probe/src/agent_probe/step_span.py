"""A step's span for less: the SDK's own class, without what the SDK makes for each span and a step does not need.

Of what a step cost its caller, most was the SDK's: attributes checked and copied under two locks at the beginning and
again at the end, lists for events and links, a sampler asked, and a copy of the span for the processors. A step's
attributes are clean as they come, it has few events, and where the probe's processor is the only one nobody else looks
at its span. So :class:`StepSpan` begins without those parts, and makes each as soon as anything asks for it: every
method that it inherits from the SDK does on it what it does on the SDK's.

This rests on private names of the SDK. :meth:`Maker.of` holds them against a span of the SDK that is installed, and
gives ``None`` where one is not as expected, another sampler than the default decides, the length of attributes is
limited, or the SDK measures itself: then, as under a parent in another process, steps are spans of the SDK.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, TraceFlags, TraceState, get_current_span

logger = logging.getLogger("agent_probe")

_UNSET = Status()
# A step has about a dozen attributes of its own.
_FEWEST_ATTRIBUTES = 64
# What a span of the SDK keeps, all of which is given here in one way or another.
_FIELDS = {
    *("_name", "_context", "_kind", "_parent", "_start_time", "_end_time", "_status", "_attributes", "_events"),
    *("_links", "_resource", "_instrumentation_scope", "_instrumentation_info", "_sampler", "_span_processor"),
    *("_limits", "_lock", "_trace_config", "_record_exception", "_set_status_on_exception", "_record_end_metrics"),
}
_NO_LIMIT = 1 << 31
_new = object.__new__


class StepSpan(Span):
    """Made by :class:`Maker` only; as a span of the SDK to all who look at it."""

    _instrumentation_info = _trace_config = _record_end_metrics = None
    _end_time: int | None = None
    _record_exception = _set_status_on_exception = True
    _status = _UNSET
    # Attributes from the beginning: never changed, as another thread may be copying them.
    _first: dict[str, Any]
    # What all spans of the trace have in common.
    _trace: tuple[int, TraceFlags, TraceState | None]
    _maker: Maker

    def __getattr__(self, name: str) -> Any:
        """What is not there yet. Two threads at once get the same."""
        late = _LATE.get(name)
        if late is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.__dict__.setdefault(name, late(self))

    @property
    def events(self) -> Sequence[Event]:
        """None, where none was ever added."""
        return tuple(self.__dict__.get("_events", ()))

    @property
    def links(self) -> Sequence[Link]:
        """None, where none was ever added."""
        return tuple(self.__dict__.get("_links", ()))

    @property
    def dropped_events(self) -> int:
        """None, where none was ever added."""
        return super().dropped_events if "_events" in self.__dict__ else 0

    @property
    def dropped_links(self) -> int:
        """None, where none was ever added."""
        return super().dropped_links if "_links" in self.__dict__ else 0

    def finish(self, attributes: dict[str, Any], status: Status) -> None:
        """Sets attributes, which need no check, and the status, and ends."""
        maker, both = self._maker, {**self._first, **attributes}
        with self._lock:
            mine = (
                len(both) <= maker.room
                and maker.processors._span_processors is maker.only
                # Unless somebody else has ended it, or set the status or an attribute.
                and self._end_time is None
                and self._status is _UNSET
                and self.__dict__.setdefault("_attributes", both) is both
            )
            if mine:
                self._status = status
                self._end_time = time_ns()
        if mine:
            maker.processor.on_end(self)
            return
        self.set_attributes(attributes)
        self.set_status(status)
        self.end()


def _bounded(span: StepSpan) -> BoundedAttributes:
    limits = span._limits
    return BoundedAttributes(
        limits.max_span_attributes, span._first, immutable=False, max_value_len=limits.max_span_attribute_length
    )


_LATE: dict[str, Callable[[StepSpan], Any]] = {
    "_attributes": _bounded,
    "_events": lambda span: BoundedList(span._limits.max_events),
    "_links": lambda span: BoundedList(span._limits.max_links),
    "_limits": lambda span: span._maker.limits,
    "_sampler": lambda span: span._maker.provider.sampler,
    "_span_processor": lambda span: span._maker.processors,
}


def _whole(limits: SpanLimits) -> bool:
    """Whether texts are kept whole."""
    return limits.max_span_attribute_length is None


class Maker:
    """Makes the spans of steps for one provider, whose only processor is the probe's."""

    def __init__(
        self, provider: TracerProvider, tracer: SdkTracer, processor: SpanProcessor, flags: TraceFlags
    ) -> None:
        """:meth:`of` is what to call. ``flags`` are those of a root span."""
        self.provider: TracerProvider = provider
        self.processor = processor
        self.limits: SpanLimits = provider._span_limits
        self.processors: Any = provider._active_span_processor
        # Replaced there whenever a processor is added.
        self.only = self.processors._span_processors
        # Beyond, the SDK counts what it drops.
        most = self.limits.max_span_attributes
        self.room = _NO_LIMIT if most is None else most
        self._tracer = tracer
        self._scope = tracer._instrumentation_scope
        self._flags = flags
        self._ids = provider.id_generator

    @staticmethod
    def of(provider: TracerProvider, tracer_name: str, processor: SpanProcessor) -> Maker | None:
        """A maker, or ``None`` where steps have to be spans of the SDK."""
        try:
            maker = Maker._checked(provider, tracer_name, processor)
        except Exception:
            logger.debug("what the SDK keeps in a span is not as expected", exc_info=True)
            maker = None
        if maker is None:
            logger.debug("steps are spans of the SDK itself")
        return maker

    @staticmethod
    def _checked(provider: TracerProvider, tracer_name: str, processor: SpanProcessor) -> Maker | None:
        measured = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
        if measured or not (provider.sampler is DEFAULT_ON or provider.sampler is ALWAYS_ON):
            return None
        alike = TracerProvider(sampler=ALWAYS_ON, id_generator=provider.id_generator, shutdown_on_exit=False)
        reference = alike.get_tracer(tracer_name).start_span("reference")
        tracer = provider.get_tracer(tracer_name)
        if not isinstance(tracer, SdkTracer) or not tracer._is_enabled() or vars(reference).keys() != _FIELDS:
            return None
        flags = reference.get_span_context().trace_flags
        maker = Maker(provider, tracer, processor, flags)
        if maker.only != (processor,) or maker.room < _FEWEST_ATTRIBUTES or not _whole(maker.limits):
            return None
        # All of it is read and written once, before a step depends on it.
        example = Maker(provider, tracer, SpanProcessor(), flags).start("example", Context(), SpanKind.INTERNAL, {})
        if example is None:
            return None
        example.finish({"a": 1}, _UNSET)
        return None if example.is_recording() else maker

    def start(self, name: str, around: Context, kind: SpanKind, attributes: dict[str, Any]) -> StepSpan | None:
        """A span that has begun, or ``None`` where it has to be the SDK's. It keeps the attributes."""
        if self.processors._span_processors is not self.only:
            return None
        parent = get_current_span(around)
        span = _new(StepSpan)
        if type(parent) is StepSpan:
            span._parent = parent._context
            of_trace = parent._trace
        else:
            beyond = parent.get_span_context()
            if not beyond.is_valid:
                span._parent = None
                of_trace = (self._ids.generate_trace_id(), self._flags, None)
            elif beyond.is_remote or not beyond.trace_flags.sampled:
                return None
            else:
                span._parent = beyond
                of_trace = (beyond.trace_id, beyond.trace_flags, beyond.trace_state)
        trace_id, flags, state = span._trace = of_trace
        span._context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
        span._name = name
        span._kind = kind
        span._resource = self._tracer.resource
        span._instrumentation_scope = self._scope
        span._first = attributes
        span._maker = self
        span._lock = threading.Lock()
        span._start_time = time_ns()
        self.processor.on_start(span, around)
        return span


# That of the provider which ``init`` found or made; steps have spans of the SDK where there is none.
current: Maker | None = None


def use(maker: Maker | None) -> None:
    """For steps that begin from now on."""
    global current
    current = maker
