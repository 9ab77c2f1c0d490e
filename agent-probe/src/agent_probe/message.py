"""One message to be, and the accounts of what became of spans."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

CONTENT_TYPE = "application/x-protobuf"


@dataclass(frozen=True)
class Message:
    """One OTLP request, complete: its bytes are the same however often it is sent."""

    topic: str
    # Lowercase hex trace id, empty for metrics.
    key: bytes
    value: bytes
    # 0 for metrics.
    spans: int

    @property
    def size(self) -> int:
        """Bytes that it takes, headers apart."""
        return len(self.key) + len(self.value)


@dataclass
class Accounts:
    """What became of spans, since the process began. Written by the sender's thread, but for ``offered`` and drops."""

    offered: int = 0
    delivered: int = 0
    # Written to the spill file; a part of them is delivered later.
    spilled: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    # The last reason that the transport gave.
    last_error: str = ""

    def drop(self, reason: str, spans: int) -> None:
        """Counts spans that will never be sent."""
        if spans:
            self.dropped[reason] += spans
