"""One step of an agent: an OpenTelemetry span with the ``agent.*`` attributes that Spanflow reads."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from agent_probe import heartbeat, prices, runtime, step_span
from agent_probe.content import to_text
from agent_probe.failure import TOOL_FAILURE, Failed, says_no_success
from agent_probe.step_span import StepSpan
from agent_probe.usage import of_reply

logger = logging.getLogger("agent_probe")
F = TypeVar("F", bound=Callable[..., Any])

SESSION, THINK, ACT, OBSERVE, RESPONSE = "session", "think", "act", "observe", "response"
_OK = Status(StatusCode.OK)
_new = object.__new__
# Looked up in an enum only once.
_CLIENT, _INTERNAL = SpanKind.CLIENT, SpanKind.INTERNAL
TRACER = "agent_probe"
_tracer = trace.get_tracer(TRACER)
_TURN = otel.create_key("agent-probe-turn")


class Turn:
    """What the steps of one session span share: ids, and the number of the next step."""

    __slots__ = ("agent", "conversation_id", "numbers", "session_id", "user_id")

    def __init__(self, agent: str, session_id: str, conversation_id: str, user_id: str) -> None:
        """Ids that are empty are not sent."""
        self.agent = agent
        self.session_id = session_id
        self.conversation_id = conversation_id
        self.user_id = user_id
        self.numbers: Iterator[int] = itertools.count(1)

    def identify(self, attributes: dict[str, Any]) -> None:
        """Puts the ids among a step's attributes."""
        if self.agent:
            attributes["agent.name"] = self.agent
        if self.session_id:
            attributes["session.id"] = self.session_id
        if self.conversation_id:
            attributes["gen_ai.conversation.id"] = self.conversation_id
        if self.user_id:
            attributes["user.id"] = self.user_id


def current_turn() -> Turn | None:
    """That of the innermost session around."""
    turn = otel.get_value(_TURN)
    return turn if isinstance(turn, Turn) else None


def harmless(method: F) -> F:
    """Nothing that goes wrong in the probe may reach the agent."""

    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception:
            logger.debug("agent-probe in %s", getattr(method, "__name__", "a step"), exc_info=True)
            # Methods that set something return the step itself.
            return args[0] if args else None

    return guarded  # type: ignore[return-value]


class Step:
    """A step that begins when it is entered (or decorated functions are called) and ends when it is left.

    Entered once; ``with`` and ``async with`` alike. As a decorator it makes a new step for each call.
    """

    __slots__ = (
        "_answered",
        "_attributes",
        "_clean",
        "_context",
        "_ended",
        "_failed",
        "_failure",
        "_input",
        "_model",
        "_name",
        "_seen_error",
        "_session",
        "_span",
        "_token",
        "_tokens",
        "kind",
        "number",
        "target",
    )

    def __init__(
        self,
        kind: str,
        target: str = "",
        *,
        name: str = "",
        input: Any = None,
        model: str = "",
        provider: str = "",
        agent: str = "",
        session_id: Any = None,
        conversation_id: Any = None,
        user_id: Any = None,
        failed: Failed | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """``target`` is what the step deals with: the tool of an act, the model of a think, the agent of a session."""
        self.kind = kind
        self.target = target
        # Counts from 1 within its session; 0 outside of any.
        self.number = 0
        self._name = name
        self._input = input
        self._model = model or (target if kind == THINK else "")
        self._session = (agent or (target if kind == SESSION else ""), session_id, conversation_id, user_id)
        self._failed = failed
        self._attributes: dict[str, Any] = dict(attributes) if attributes else {}
        # Whether the SDK need not look at the attributes.
        self._clean = not attributes or all(map(_is_clean, self._attributes.items()))
        if provider:
            self._attributes["gen_ai.provider.name"] = provider
        self._span: Any = None
        self._token: Any = None
        self._context: otel.Context | None = None
        self._tokens: tuple[int, int, int] | None = None
        self._failure = False
        self._seen_error: BaseException | None = None
        self._ended = self._answered = False

    # Beginning.

    @harmless
    def start(self) -> Step:
        """Begins the step without making it current. :meth:`finish` ends it."""
        self._start()
        return self

    def _start(self) -> None:
        if self._span is not None:
            return
        kind, around = self.kind, otel.get_current()
        turn: Any = around.get(_TURN)
        attributes: dict[str, Any] = {"agent.step.type": kind}
        if turn is not None:
            self.number = attributes["agent.step.number"] = next(turn.numbers)
        if kind == SESSION:
            turn = self._new_turn(turn)
            runtime.COUNTS.active_sessions += 1
            runtime.COUNTS.sessions += 1
            heartbeat.beat()
        if turn is not None:
            turn.identify(attributes)
        if self._model:
            attributes["gen_ai.request.model"] = self._model
        elif self.target and kind in (ACT, OBSERVE):
            attributes["agent.tool.name"] = self.target
        if self._attributes:
            attributes.update(self._attributes)
            self._attributes = {}
        if self._input is not None:
            self._put("agent.tool.arguments" if kind == ACT else "agent.input", self._input, attributes)
            self._input = None
        name = self._name or (f"{kind} {self.target}" if self.target else kind)
        span_kind = _CLIENT if kind == THINK else _INTERNAL
        span: trace.Span | None = None
        maker = step_span.current
        if maker is not None and self._clean:
            span = maker.start(name, around, span_kind, attributes)
        if span is None:
            span = _tracer.start_span(name, around, span_kind, attributes)
        self._span = span
        context = trace.set_span_in_context(span, around)
        self._context = otel.set_value(_TURN, turn, context) if kind == SESSION else context

    def _new_turn(self, around: Turn | None) -> Turn:
        """Ids that are not given are those of the session around: an agent called by an agent is in its session."""
        agent, *ids = self._session
        outer = (around.session_id, around.conversation_id, around.user_id) if around is not None else ("", "", "")
        session_id, conversation_id, user_id = (
            inherited if given is None else str(given) for given, inherited in zip(ids, outer, strict=True)
        )
        return Turn(agent, session_id or conversation_id, conversation_id, user_id)

    @harmless
    def attach(self) -> None:
        """Makes the step current in this thread or task."""
        self._attach()

    def _attach(self) -> None:
        if self._context is not None and self._token is None:
            self._token = otel.attach(self._context)

    @harmless
    def detach(self) -> None:
        """Makes what was current before :meth:`attach` current again."""
        self._detach()

    def _detach(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            otel.detach(token)

    @harmless
    def enter(self) -> None:
        """:meth:`start` and :meth:`attach`."""
        self._start()
        self._attach()

    @harmless
    def leave(self, error: BaseException | None = None) -> None:
        """:meth:`detach` and :meth:`finish`."""
        self._detach()
        self._finish(error)

    def __enter__(self) -> Step:
        """Begins the step and makes it current."""
        self.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the step; an exception goes on to the agent."""
        self.leave(error)

    async def __aenter__(self) -> Step:
        """As ``with``."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """As ``with``."""
        self.__exit__(kind, error, at)

    def __call__(self, function: F) -> F:
        """Decorates a function: sync, async, or a generator of either kind."""
        from agent_probe.decorating import decorate

        return decorate(self, function)

    def again(self, name: str) -> Step:
        """A new step as this one was asked for, named by a function where it was not named."""
        step = _new(Step)
        step.kind = kind = self.kind
        step.target = self.target or (name if kind == ACT else "")
        step.number = 0
        step._name, step._model, step._input, step._session = self._name, self._model, self._input, self._session
        step._failed, step._clean = self._failed, self._clean
        step._attributes = self._attributes.copy()
        step._span = step._token = step._context = step._tokens = step._seen_error = None
        step._failure = step._ended = step._answered = False
        return step

    # What is known while it runs.

    @property
    def span(self) -> trace.Span:
        """The OpenTelemetry span; one that records nothing before the beginning."""
        return self._span if self._span is not None else trace.INVALID_SPAN

    @property
    def recording(self) -> bool:
        """Whether anything that is set will be sent."""
        return self._span is not None and not self._ended and bool(self._span.is_recording())

    @harmless
    def set(self, key: str, value: Any) -> Step:
        """Any attribute."""
        if value is not None:
            self._attributes[key] = value if isinstance(value, (str, bool, int, float)) else to_text(value)
            self._clean = self._clean and isinstance(key, str) and key != ""
        return self

    @harmless
    def set_input(self, value: Any) -> Step:
        """What went in: the arguments of a tool, a model's messages, a question."""
        self._put("agent.tool.arguments" if self.kind == ACT else "agent.input", value, self._attributes)
        return self

    @harmless
    def set_output(self, value: Any) -> Step:
        """What came out: a tool's result, a model's reply, an answer."""
        self._set_output(value)
        return self

    def _set_output(self, value: Any) -> None:
        self._answered = True
        self._put("agent.tool.result" if self.kind == ACT else "agent.output", value, self._attributes)

    @staticmethod
    def _put(key: str, value: Any, attributes: dict[str, Any]) -> None:
        if value is None:
            return
        if runtime.CAPTURE.content:
            attributes[key] = value if type(value) is str else to_text(value)
        elif isinstance(value, str):
            attributes[key + ".length"] = len(value)

    @harmless
    def set_model(self, model: str, provider: str = "") -> Step:
        """The model that answered."""
        if model:
            self._model = model
            self._attributes["gen_ai.response.model"] = model
        if provider:
            self._attributes["gen_ai.provider.name"] = provider
        return self

    @harmless
    def set_tokens(self, input: int = 0, output: int = 0, cache_read: int = 0) -> Step:
        """Tokens of the step; more are added to those that were set. Cached ones are a part of the input's."""
        before = self._tokens or (0, 0, 0)
        self._tokens = (before[0] + int(input), before[1] + int(output), before[2] + int(cache_read))
        return self

    @harmless
    def set_cost(self, usd: float) -> Step:
        """What it cost, in US dollars, where the price table should not say."""
        self._attributes["agent.cost_usd"] = float(usd)
        return self

    @harmless
    def fail(self, error_type: str, message: str = "") -> Step:
        """The step failed, without an exception."""
        self._failure = True
        self._attributes["error.type"] = error_type
        if message:
            self._attributes["error.message"] = str(message)
        return self

    @harmless
    def record_error(self, error: BaseException) -> Step:
        """The step failed with this exception, whether or not it reaches the step's end."""
        if self._seen_error is error:
            return self
        self._seen_error = error
        self._failure = True
        self._attributes["error.type"] = type(error).__qualname__
        if self._span is not None:
            self._span.record_exception(error)
        return self

    # Ending.

    def succeed(self, value: Any) -> None:
        """Leaves the step with what a function returned: output, usage, and whether it says that it failed."""
        try:
            self._detach()
            kind = self.kind
            if kind == THINK:
                self._take_usage(value)
            if not self._answered:
                self._set_output(value)
            if kind == ACT or self._failed is not None:
                self._check(value)
        except Exception:
            logger.debug("agent-probe at the end of a step", exc_info=True)
        self.finish()

    def _take_usage(self, value: Any) -> None:
        usage = of_reply(value)
        if usage.model:
            self.set_model(usage.model)
        if self._tokens is None and (usage.input_tokens is not None or usage.output_tokens is not None):
            self._tokens = (usage.input_tokens or 0, usage.output_tokens or 0, usage.cache_read_tokens or 0)
        if usage.text is not None and not self._answered:
            self._set_output(usage.text)

    @harmless
    def check(self, value: Any) -> None:
        """Marks the step failed where its predicate says so of the value."""
        self._check(value)

    def _check(self, value: Any) -> None:
        told = (self._failed or says_no_success)(value)
        if told and not self._failure:
            self.fail(TOOL_FAILURE if self.kind == ACT else "failed", told if isinstance(told, str) else "")

    @harmless
    def finish(self, error: BaseException | None = None) -> None:
        """Ends the step, as an error where there is one."""
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        span = self._span
        if span is None or self._ended:
            return
        self._ended = True
        try:
            if error is not None and not isinstance(error, GeneratorExit) and not _leaves_in_order(error):
                self.record_error(error)
            self._close(span)
        finally:
            if self.kind == SESSION:
                runtime.COUNTS.active_sessions -= 1
            # Whatever could not be set, the span itself is sent.
            if span.is_recording():
                with contextlib.suppress(Exception):
                    span.end()

    def _close(self, span: Any) -> None:
        attributes = self._attributes
        counts = runtime.COUNTS
        if self._tokens is not None:
            self._count_tokens(attributes, counts)
        counts.steps[self.kind] += 1
        status = _OK
        if self._failure:
            counts.errors[self.kind] += 1
            seen = self._seen_error
            message = attributes.get("error.message") or (_message(seen) if seen is not None else "")
            status = Status(StatusCode.ERROR, message or str(attributes.get("error.type", "error")))
        if self._clean and type(span) is StepSpan:
            span.finish(attributes, status)
            return
        if attributes:
            span.set_attributes(attributes)
        span.set_status(status)

    def _count_tokens(self, attributes: dict[str, Any], counts: runtime.Counts) -> None:
        input_tokens, output_tokens, cache_read = self._tokens or (0, 0, 0)
        attributes["gen_ai.usage.input_tokens"] = input_tokens
        attributes["gen_ai.usage.output_tokens"] = output_tokens
        if cache_read:
            attributes["gen_ai.usage.cache_read.input_tokens"] = cache_read
        if "agent.cost_usd" not in attributes and self._model:
            cost = prices.cost_usd(self._model, input_tokens, output_tokens, cache_read)
            if cost is not None:
                attributes["agent.cost_usd"] = cost
        counts.input_tokens += input_tokens
        counts.output_tokens += output_tokens
        counts.cost_usd += attributes.get("agent.cost_usd", 0.0)


def _is_clean(pair: tuple[Any, Any]) -> bool:
    """Whether the SDK would leave an attribute as it is."""
    key, value = pair
    return isinstance(key, str) and key != "" and isinstance(value, (str, bool, int, float))


def _leaves_in_order(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _message(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError) and not error.args:
        return "cancelled"
    try:
        return str(error)
    except Exception:
        return ""
