"""Random draws that are the same for one seed in every Python: they rest on ``random()`` and ``getrandbits()`` alone.

Latencies also go through ``log``, ``exp`` and ``cos``, which C libraries round alike but for a last bit now and then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of draws, named by a path such as ``seed/slot/session``."""

    __slots__ = ("_random", "bits")

    def __init__(self, *path: object) -> None:
        """Streams of different paths are independent of each other."""
        generator = random.Random("/".join(str(part) for part in path))
        self._random = generator.random
        self.bits = generator.getrandbits

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def uniform(self, low: float, high: float) -> float:
        """Between the two."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """Between the two, both included."""
        return low + int(self._random() * (high - low + 1))

    def one(self, items: Sequence[T]) -> T:
        """One of them."""
        return items[int(self._random() * len(items))]

    def weighted(self, items: Sequence[T], cumulative: Sequence[float]) -> T:
        """One of them by cumulative weights, the last of which is the total."""
        at = self._random() * cumulative[-1]
        for item, edge in zip(items, cumulative, strict=True):
            if at < edge:
                return item
        return items[-1]

    def latency_ns(self, median_ms: float, sigma: float) -> int:
        """A log-normal latency in ns (Box-Muller, one of the pair)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self._random()))
        normal = radius * math.cos(2.0 * math.pi * self._random())
        return max(1000, int(median_ms * 1e6 * math.exp(sigma * normal)))

    def id_bytes(self, size: int) -> bytes:
        """A random id that is not all zero."""
        return (self.bits(size * 8) or 1).to_bytes(size, "big")

    def hex(self, digits: int) -> str:
        """Lowercase hex digits."""
        return f"{self.bits(digits * 4):0{digits}x}"
