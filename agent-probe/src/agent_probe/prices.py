"""What tokens cost: a small table of list prices, which users override."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("agent_probe")


class Price(NamedTuple):
    """US dollars per million tokens. ``cache_read`` of ``None`` is the price of other input."""

    input: float
    output: float
    cache_read: float | None = None


# List prices as published in 2025, by the longest prefix of the model's name. They change: override what matters.
DEFAULTS: dict[str, Price] = {
    "gpt-4o": Price(2.5, 10.0, 1.25),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "gpt-4.1": Price(2.0, 8.0, 0.5),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-4-turbo": Price(10.0, 30.0),
    "gpt-3.5-turbo": Price(0.5, 1.5),
    "claude-3-5-haiku": Price(0.8, 4.0, 0.08),
    "claude-3-5-sonnet": Price(3.0, 15.0, 0.3),
    "claude-3-7-sonnet": Price(3.0, 15.0, 0.3),
    "claude-sonnet-4": Price(3.0, 15.0, 0.3),
    "claude-opus-4": Price(15.0, 75.0, 1.5),
    "gemini-1.5-pro": Price(1.25, 5.0),
    "gemini-2.0-flash": Price(0.1, 0.4, 0.025),
    "deepseek-chat": Price(0.27, 1.1, 0.07),
}

_table: dict[str, Price] = dict(DEFAULTS)


def configure(file: str, table: Mapping[str, Price | tuple[float, ...]] | None) -> None:
    """Puts a file's prices over the defaults, and a table's over the file's. A file that can't be read is told.

    The file is JSON: ``{"model": {"input": 2.5, "output": 10, "cache_read": 1.25}}``, dollars per million tokens.
    """
    _table.clear()
    _table.update(DEFAULTS)
    if file:
        try:
            loaded = json.loads(Path(file).read_text())
            _table.update({str(model): Price(**price) for model, price in loaded.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            logger.warning("agent-probe can't read prices from %s: %s", file, error)
    for model, price in (table or {}).items():
        _table[model] = price if isinstance(price, Price) else Price(*price)
    of_model.cache_clear()


@lru_cache(maxsize=256)
def of_model(model: str) -> Price | None:
    """The price of a model: its own, or that of the longest name that it begins with, a vendor before it left out."""
    for name in (model, model.rpartition("/")[2]):
        fitting = [prefix for prefix in _table if name.startswith(prefix)]
        if fitting:
            return _table[max(fitting, key=len)]
    return None


def cost_usd(model: str, input_tokens: int, output_tokens: int, cache_read_tokens: int = 0) -> float | None:
    """Dollars, or ``None`` where the price is not known. Cached tokens are a part of the input's."""
    price = of_model(model)
    if price is None:
        return None
    cached = min(cache_read_tokens, input_tokens)
    cached_price = price.input if price.cache_read is None else price.cache_read
    dollars = (input_tokens - cached) * price.input + cached * cached_price + output_tokens * price.output
    return dollars / 1e6
