"""How late the event loop runs: a timer in each loop that a session runs in, for as long as sessions go on there."""

from __future__ import annotations

import asyncio
import contextlib
import weakref

from agent_probe import runtime

_PERIOD = 0.25
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
# The worst delay since it was last asked for, seconds; None where no loop was seen.
_worst: float | None = None


def beat() -> None:
    """Starts the timer of the running loop, if there is one and it has none."""
    # The cheap question first: most calls come from a loop that is known, or from no loop.
    loop = asyncio._get_running_loop()
    if loop is None or loop in _loops:
        return
    with contextlib.suppress(TypeError):
        _loops.add(loop)
        _arm(loop)


def _arm(loop: asyncio.AbstractEventLoop) -> None:
    due = loop.time() + _PERIOD

    def wake() -> None:
        global _worst
        late = max(loop.time() - due, 0.0)
        _worst = late if _worst is None else max(_worst, late)
        if runtime.COUNTS.active_sessions > 0:
            _arm(loop)
        else:
            _loops.discard(loop)

    loop.call_at(due, wake)


def worst_delay() -> float | None:
    """The worst delay since the last call, in seconds."""
    global _worst
    worst, _worst = _worst, None
    return worst
