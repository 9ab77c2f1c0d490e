"""Protobuf's wire format, as far as OTLP needs it: writing by joining pieces, and reading field by field.

Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

_SHORT = [bytes([n]) for n in range(128)]
# Lengths of up to 16 kB are looked up, which is nearly all of them.
_LENGTHS = _SHORT + [bytes([n & 127 | 128, n >> 7]) for n in range(128, 1 << 14)]
_LENGTHS_END = len(_LENGTHS)

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(number: int) -> bytes:
    """An unsigned base-128 number."""
    if number < _LENGTHS_END:
        return _LENGTHS[number]
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field, written even where it is empty."""
    return tag + varint(len(body)) + body


def utf8(text: str) -> bytes:
    """Protobuf allows no lone surrogates, Python's texts do: they become ``?``."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


class WireError(ValueError):
    """Bytes that are no protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Field number, wire type and value of each field: an int, or bytes for what has a length or a fixed width."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint_at(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint_at(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = _varint_at(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise WireError(f"wire type {wire}")
        if at + length > end:
            raise WireError("cut short")
        yield number, wire, data[at : at + length]
        at += length


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("cut short")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
