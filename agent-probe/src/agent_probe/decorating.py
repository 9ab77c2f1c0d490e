"""Steps around functions: sync, async, and generators of either kind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from agent_probe.step import ACT, SESSION, Step, harmless, logger

if TYPE_CHECKING:
    from agent_probe.step import F

_MAX_CHUNKS = 100_000
_IDS = ("session_id", "conversation_id", "user_id")


class _Signature:
    """Which arguments of a function are the step's input. Looked at once, when it is decorated."""

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [one.name for one in parameters if one.kind in positional]
        self.rest = next((one.name for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL), "args")
        # The object that a method belongs to.
        self.skip = 1 if names[:1] in (["self"], ["cls"]) else 0
        self.names = names[self.skip :]

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name, without the object that a method belongs to."""
        if self.skip:
            args = args[1:]
        given = dict(zip(self.names, args, strict=False))
        if len(args) > len(self.names):
            given[self.rest] = args[len(self.names) :]
        if kwargs:
            given.update(kwargs)
        return given


def _take_arguments(step: Step, arguments: dict[str, Any]) -> None:
    """A decorated function's arguments are the step's input, or a session's ids."""
    if step.kind == SESSION:
        agent, *ids = step._session
        session, conversation, user = (
            arguments.get(name) if given is None else given for name, given in zip(_IDS, ids, strict=True)
        )
        step._session = (agent, session, conversation, user)
        arguments = {name: value for name, value in arguments.items() if name not in _IDS}
    if step._input is None and arguments:
        # A question, or a model's messages; a tool's arguments are always by name, so that calls can be compared.
        alone = len(arguments) == 1 and step.kind != ACT
        step._input = next(iter(arguments.values())) if alone else arguments


class _Chunks:
    """What a generator yielded, put together for the step's output."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._began = perf_counter()
        self._kept: list[Any] = []
        self._count = 0

    @harmless
    def add(self, chunk: Any) -> None:
        if self._count == 0:
            self._step.set("agent.stream.first_chunk_ms", round((perf_counter() - self._began) * 1000, 3))
        self._count += 1
        if self._count <= _MAX_CHUNKS:
            self._kept.append(chunk)

    @harmless
    def end(self, error: BaseException | None) -> None:
        step = self._step
        step.set("agent.stream.chunks", self._count)
        if isinstance(error, GeneratorExit):
            step.set("agent.stream.abandoned", True)
        if self._kept and not step._answered:
            texts = all(isinstance(chunk, str) for chunk in self._kept)
            step.set_output("".join(self._kept) if texts else self._kept)
        step.finish(error)


def decorate(template: Step, function: F) -> F:
    """The function with a new step, as the template was asked for, around each call."""
    name = getattr(function, "__name__", "step")
    signature = _Signature(function)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any], attach: bool = True) -> Step:
        step = template.again(name)
        try:
            _take_arguments(step, signature.arguments(args, kwargs))
            step._start()
            if attach:
                step._attach()
        except Exception:
            logger.debug("agent-probe at the beginning of %s", name, exc_info=True)
        return step

    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def async_generator(*args: Any, **kwargs: Any) -> Any:
            return _follow_async(lambda: (begin(args, kwargs, False), function(*args, **kwargs)))

        return async_generator  # type: ignore[return-value]
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            return _follow(lambda: (begin(args, kwargs, False), function(*args, **kwargs)))

        return generator  # type: ignore[return-value]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            step = begin(args, kwargs)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                step.leave(error)
                raise
            return _returned(step, result)

        return coroutine  # type: ignore[return-value]

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        step = begin(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            step.leave(error)
            raise
        return _returned(step, result)

    return plain  # type: ignore[return-value]


def _returned(step: Step, result: Any) -> Any:
    """Ends the step with its result, unless that is a generator: then the step goes on with it."""
    if isinstance(result, GeneratorType):
        step.detach()
        return _follow(lambda: (step, result))
    if isinstance(result, AsyncGeneratorType):
        step.detach()
        return _follow_async(lambda: (step, result))
    step.succeed(result)
    return result


def _follow(begin: Callable[[], tuple[Step, Generator[Any, Any, Any]]]) -> Generator[Any, Any, Any]:
    """Runs a generator, with its step current only while its own code runs: the consumer's code is not part of it."""
    step, inner = begin()
    chunks = _Chunks(step)
    resume: Callable[[], Any] = functools.partial(next, inner)
    try:
        while True:
            step.attach()
            try:
                chunk = resume()
            except StopIteration as end:
                chunks.end(None)
                return end.value
            finally:
                step.detach()
            chunks.add(chunk)
            try:
                sent = yield chunk
            except GeneratorExit:
                step.attach()
                try:
                    inner.close()
                finally:
                    step.detach()
                raise
            except BaseException as error:
                resume = functools.partial(inner.throw, error)
            else:
                resume = functools.partial(inner.send, sent)
    except BaseException as error:
        chunks.end(error)
        raise


async def _follow_async(begin: Callable[[], tuple[Step, AsyncGenerator[Any, Any]]]) -> AsyncGenerator[Any, Any]:
    """As :func:`_follow`. Each resumption attaches and detaches within one task, whichever that is."""
    step, inner = begin()
    chunks = _Chunks(step)
    resume: Callable[[], Any] = inner.__anext__
    try:
        while True:
            step.attach()
            try:
                chunk = await resume()
            except StopAsyncIteration:
                chunks.end(None)
                return
            finally:
                step.detach()
            chunks.add(chunk)
            try:
                sent = yield chunk
            except GeneratorExit:
                step.attach()
                try:
                    await inner.aclose()
                finally:
                    step.detach()
                raise
            except BaseException as error:
                resume = functools.partial(inner.athrow, error)
            else:
                resume = functools.partial(inner.asend, sent)
    except BaseException as error:
        chunks.end(error)
        raise
