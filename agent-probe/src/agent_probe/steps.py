"""The steps, as functions: each is a decorator with or without arguments, and a context manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from agent_probe.step import ACT, OBSERVE, RESPONSE, SESSION, THINK, Step

F = TypeVar("F", bound=Callable[..., Any])


def _made(kind: str, target: Any, options: dict[str, Any]) -> Any:
    if callable(target):
        return Step(kind, **options)(target)
    return Step(kind, target or "", **options)


@overload
def session(target: F, /) -> F: ...
@overload
def session(target: str | None = None, /, **options: Any) -> Step: ...
def session(target: Any = None, /, **options: Any) -> Any:
    """One turn of an agent, from question to answer; ``target`` is the agent's name.

    Options: ``session_id``, ``conversation_id``, ``user_id`` (a decorated function's parameters of these names count
    where they are not given), ``input``, ``name``, ``attributes``. Within another session it is an agent called by an
    agent, with the same ids unless others are given.
    """
    return _made(SESSION, target, options)


@overload
def think(target: F, /) -> F: ...
@overload
def think(target: str | None = None, /, **options: Any) -> Step: ...
def think(target: Any = None, /, **options: Any) -> Any:
    """One call of a model; ``target`` is the model. Options: ``model``, ``provider``, ``input``, ``name``,
    ``attributes``.

    Tokens, model and text of a decorated function's reply are read where it is shaped as OpenAI's or Anthropic's.
    """
    return _made(THINK, target, options)


@overload
def act(target: F, /) -> F: ...
@overload
def act(target: str | None = None, /, **options: Any) -> Step: ...
def act(target: Any = None, /, **options: Any) -> Any:
    """One call of a tool; ``target`` is the tool, else a decorated function's name.

    Options: ``input`` (the arguments), ``failed`` (a predicate on the result, by default ``success`` is ``False``),
    ``name``, ``attributes``.
    """
    return _made(ACT, target, options)


tool = act


@overload
def observe(target: F, /) -> F: ...
@overload
def observe(target: str | None = None, /, **options: Any) -> Step: ...
def observe(target: Any = None, /, **options: Any) -> Any:
    """Taking in a tool's result; ``target`` is the tool. Options: ``input``, ``name``, ``attributes``."""
    return _made(OBSERVE, target, options)


@overload
def response(target: F, /) -> F: ...
@overload
def response(target: str | None = None, /, **options: Any) -> Step: ...
def response(target: Any = None, /, **options: Any) -> Any:
    """The answer to the user. Options: ``input``, ``name``, ``attributes``."""
    return _made(RESPONSE, target, options)
