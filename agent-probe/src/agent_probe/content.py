"""Any value as text, within a budget: what an agent passes around may be huge, cyclic, or refuse to be printed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

_MAX_NODES = 5_000
_MAX_DEPTH = 12
_MAX_REPR = 10_000
_ELLIDED = "…"


def to_text(value: object) -> str:
    """A text as it is; numbers, lists, maps, dataclasses, models as JSON; whatever else by ``repr``. Never raises."""
    if isinstance(value, str):
        return value
    try:
        if _fits(value, _MAX_NODES) >= 0:
            return _encode(value)
    except Exception:
        # Cycles, keys that are no texts, too deep: what follows is slower and copes with all of it.
        pass
    try:
        return _encode(_plain(value, _Budget(_MAX_NODES), 0))
    except Exception:
        return f"<{type(value).__name__}>"


def _fits(value: object, room: int) -> int:
    """The room that is left of so many values in plain maps and lists; negative where there are more."""
    if type(value) is dict:
        inside: Any = value.values()
    elif type(value) is list or type(value) is tuple:
        inside = value
    else:
        return room
    room -= len(inside)
    if room < 0:
        return room
    for one in inside:
        kind = type(one)
        if kind is dict or kind is list or kind is tuple:
            room = _fits(one, room)
            if room < 0:
                return room
    return room


class _Budget:
    __slots__ = ("left",)

    def __init__(self, nodes: int) -> None:
        self.left = nodes


def _plain(value: Any, budget: _Budget, depth: int) -> Any:
    budget.left -= 1
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if budget.left < 0 or depth > _MAX_DEPTH:
        return _ELLIDED
    if isinstance(value, Mapping):
        return _mapping(value, budget, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        listed: list[Any] = []
        for one in value:
            if budget.left <= 0:
                listed.append(f"{_ELLIDED} {len(value) - len(listed)} more")
                break
            listed.append(_plain(one, budget, depth + 1))
        return listed
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return _mapping(named, budget, depth)
    # Pydantic's models keep their fields there, and their own dump may be slow or fail.
    if hasattr(type(value), "model_fields") and hasattr(value, "__dict__"):
        return _mapping(vars(value), budget, depth)
    try:
        return repr(value)[:_MAX_REPR]
    except Exception:
        return f"<{type(value).__name__}>"


def _mapping(value: Mapping[Any, Any], budget: _Budget, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in value.items():
        if budget.left <= 0:
            found[_ELLIDED] = f"{len(value) - len(found)} more"
            break
        found[key if isinstance(key, str) else str(key)] = _plain(one, budget, depth + 1)
    return found


def _other(value: Any) -> Any:
    """What JSON has no form for."""
    return _plain(value, _Budget(_MAX_NODES), 0)


def _encoder() -> Callable[[object], str]:
    """The encoder in C under ``json``, which makes one for each call: that costs more than most of what it encodes.

    It is no public name; where it is not as it was, ``json`` itself encodes. Cycles never come here: :func:`_fits`
    finds more than it has room for.
    """
    public = json.JSONEncoder(ensure_ascii=False, default=_other).encode
    try:
        under: Any = json.encoder
        pieces = under.c_make_encoder(None, _other, under.encode_basestring, None, ": ", ", ", False, False, True)

        def encode(value: object) -> str:
            return "".join(pieces(value, 0))

        example = {"text": 'é"\n', "list": [1, -2.5, None, True, ()], "map": {"1": {}}, "other": {1}}
        return encode if encode(example) == public(example) else public
    except Exception:
        return public


_encode = _encoder()
