"""How messages leave the process."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from agent_probe.message import Message


class Outcome(Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    # Not now, perhaps later.
    RETRY = "retry"
    # Never, as it is.
    REJECTED = "rejected"


class Done(Protocol):
    """What a transport tells of each message."""

    def __call__(self, number: int, outcome: Outcome, reason: str, refused: int = 0, /) -> None:
        """The message's number, what became of it, and why; of one that is delivered, how many spans were refused."""


class Transport(Protocol):
    """A way out. Used by one thread; nothing but :meth:`poll` and :meth:`submit` of HTTP waits."""

    # Whether each trace is a message of its own, with its id as the key.
    by_trace: bool
    # By ``time.monotonic``: nothing may wait past it. Set when the end has come.
    deadline: float
    # By ``time.monotonic``: until then it sends nothing, as it has just failed or was asked not to.
    quiet_until: float

    def open(self, done: Done) -> None:
        """Called once, on the sender's thread, before anything else."""

    def submit(self, number: int, message: Message) -> bool:
        """Takes a message over, and calls ``done`` once for it, later or at once. False where there is no room now."""

    def poll(self, seconds: float) -> None:
        """Calls ``done`` for what is done, waiting at most so long for the first."""

    def abandon(self) -> None:
        """In a child after a fork: forgets what belongs to the parent, without touching it."""

    def close(self) -> None:
        """Lets go of everything, at once; ``done`` is not called any more."""
