"""A recording: a folder of partitions with offsets, which ``stream-job`` reads as it reads Kafka.

``recording.json`` names the topics; ``<topic>/<partition>.log`` holds frames: body length and CRC-32 as little-endian
u32, then the body: i64 offset, i64 timestamp in ms, key, headers, payload, each with its length as i32 (-1: none).
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from agent_probe.simulator.output import TOPICS, OutputError, Partitioner, Record

_BUFFER_BYTES = 1 << 20
_FRAME = struct.Struct("<II")
_POSITION = struct.Struct("<qq")
_LENGTH = struct.Struct("<i")
_COUNT = struct.Struct("<I")


def _sized(value: bytes | None) -> bytes:
    return _LENGTH.pack(-1) if value is None else _LENGTH.pack(len(value)) + value


def frame(offset: int, record: Record) -> bytes:
    """One record as it stands in a partition's file."""
    parts = [_POSITION.pack(offset, record.timestamp_ms), _sized(record.key), _COUNT.pack(len(record.headers))]
    for name, value in record.headers:
        parts += (_sized(name.encode()), _sized(value))
    parts.append(_sized(record.payload))
    body = b"".join(parts)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


class Recording:
    """Writes a recording."""

    def __init__(self, folder: Path, seed: str) -> None:
        """``folder`` must be empty or not exist. Topic ids follow from ``seed``."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is not an empty folder: name another for --recording, or remove it")
        self._partitioner = Partitioner(TOPICS)
        self._files: dict[tuple[str, int], BinaryIO] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        topics = []
        for name, partitions in TOPICS.items():
            (folder / name).mkdir(parents=True)
            for partition in range(partitions):
                path = folder / name / f"{partition}.log"
                self._files[name, partition] = path.open("wb", buffering=_BUFFER_BYTES)
                self._offsets[name, partition] = 0
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]
            topic_id = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            topics.append({"name": name, "topic_id": topic_id, "partitions": partitions})
        header = {"format": "spanflow-recording", "version": 1, "topics": topics}
        (folder / "recording.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")

    def send(self, record: Record) -> None:
        """Appends the record to its partition."""
        place = record.topic, self._partitioner.partition(record)
        offset = self._offsets[place]
        self._offsets[place] = offset + 1
        try:
            self._files[place].write(frame(offset, record))
        except OSError as error:
            raise OutputError(f"the recording cannot be written: {error}") from error

    def poll(self) -> None:
        """Nothing is ever due."""

    def close(self) -> None:
        """Writes out what is still buffered."""
        try:
            for file in self._files.values():
                file.close()
        except OSError as error:
            raise OutputError(f"the recording cannot be written: {error}") from error
