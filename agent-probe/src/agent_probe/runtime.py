"""What steps and metrics of one process share: limits on content, and counts."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_probe.settings import Settings


@dataclass
class Counts:
    """Counted by steps as they end, read by the process metrics."""

    active_sessions: int = 0
    sessions: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass
class Capture:
    """What steps keep."""

    content: bool = True


COUNTS = Counts()
CAPTURE = Capture()


def configure(settings: Settings) -> None:
    """Takes over what steps have to know."""
    CAPTURE.content = settings.capture_content


def instance_id() -> str:
    """A new ``service.instance.id``."""
    return str(uuid.uuid4())


def _fresh() -> None:
    global COUNTS
    COUNTS = Counts()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh)
