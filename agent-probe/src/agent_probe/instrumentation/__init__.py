"""Instrumentors that need no change to the agent: :func:`instrument` by name."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

logger = logging.getLogger("agent_probe")

# Each module has `instrument() -> bool` and `uninstrument() -> None`.
_KNOWN = {"jollyagent": "agent_probe.instrumentation.jollyagent"}


def instrument(name: str) -> bool:
    """Wraps an agent framework's own functions. False, and a line in the log, where that could not be done."""
    return _call(name, "instrument")


def uninstrument(name: str) -> bool:
    """Undoes :func:`instrument`."""
    return _call(name, "uninstrument")


def _call(name: str, what: str) -> bool:
    module = _KNOWN.get(name.lower())
    if module is None:
        logger.warning("agent-probe knows no instrumentor %r; it knows %s", name, ", ".join(sorted(_KNOWN)))
        return False
    try:
        function: Callable[[], bool] = getattr(importlib.import_module(module), what)
        return bool(function())
    except Exception as error:
        logger.warning("agent-probe could not %s %s: %s: %s", what, name, type(error).__name__, error)
        return False
