"""Carries the current step into threads, which start with an empty context of their own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as otel

P = ParamSpec("P")
T = TypeVar("T")

_MARK = "_agent_probe_carries"


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """The function, to be called anywhere, with the step that is current now as the parent of its steps."""
    carried = otel.get_current()

    @functools.wraps(function)
    def carrying(*args: P.args, **kwargs: P.kwargs) -> T:
        token = otel.attach(carried)
        try:
            return function(*args, **kwargs)
        finally:
            otel.detach(token)

    return carrying


def into_threads() -> None:
    """Every ``threading.Thread`` and ``ThreadPoolExecutor`` task carries from now on, without being asked to.

    Only OpenTelemetry's context is carried, not the agent's own context variables.
    """
    if not getattr(threading.Thread.start, _MARK, False):
        threading.Thread.start = _carrying_start(threading.Thread.start)  # type: ignore[method-assign,assignment]
    if not getattr(ThreadPoolExecutor.submit, _MARK, False):
        ThreadPoolExecutor.submit = _carrying_submit(ThreadPoolExecutor.submit)  # type: ignore[method-assign]


def _carrying_start(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def carrying_start(self: threading.Thread) -> None:
        # An empty context has nothing to carry. The instance's own run, as a subclass's, is what gets wrapped.
        if otel.get_current():
            self.run = carry(self.run)  # type: ignore[method-assign]
        start(self)

    setattr(carrying_start, _MARK, True)
    return carrying_start


def _carrying_submit(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(submit)
    def carrying_submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not otel.get_current():
            return submit(self, fn, *args, **kwargs)
        carried = carry(fn)
        # A worker that starts for this task serves others after it: it must not keep this context.
        token = otel.attach(otel.Context())
        try:
            return submit(self, carried, *args, **kwargs)
        finally:
            otel.detach(token)

    setattr(carrying_submit, _MARK, True)
    return carrying_submit
