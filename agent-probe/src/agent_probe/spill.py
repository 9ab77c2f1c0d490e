"""The backup store: messages that could not be sent yet, in order, with their bytes as they are.

A folder per process, of segments that are written to the end and deleted once all in them was sent. Nothing is synced:
what is written survives the process, not a power cut. Each record is

    length u32 | crc32 of the rest u32 | spans u32 | topic length u16 | key length u16 | topic | key | value

little-endian. A record that was cut short, or whose sum is wrong, ends its segment. What a segment holds after a crash
is sent from its start: a message may go twice, byte for byte the same, which is how the receiver knows it again.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from agent_probe.message import Message

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: no folder is ever taken over from another process
    fcntl = None  # type: ignore[assignment]

_HEAD = struct.Struct("<II")
_REST = struct.Struct("<IHH")
SEGMENT_BYTES = 4 << 20
# Own segments are numbered from here, those taken over from a process that is gone below.
_FIRST_OWN = 1_000_000


class Position(NamedTuple):
    """Where a record is. Positions rise in the order of writing."""

    segment: int
    offset: int


class Backlog(Protocol):
    """Messages that wait for better times, first in first out."""

    # Whether what is kept outlives the process.
    durable: bool

    @property
    def spans(self) -> int:
        """How many spans are kept, of a backlog that is not durable."""

    def append(self, message: Message) -> Position | None:
        """Takes a message, or ``None`` where it is full."""

    def read(self, count: int, size: int) -> list[tuple[Position, Message]]:
        """The next messages, at most so many and of so many bytes together (but one at least)."""

    def done(self, position: Position) -> None:
        """This message need not be kept."""

    def rewind(self) -> None:
        """:meth:`read` begins again with the oldest message that is not done."""

    @property
    def empty(self) -> bool:
        """Whether nothing is kept that is not done."""

    def close(self) -> None:
        """What is kept stays."""


class MemoryBacklog:
    """Where there is no folder to write to: in memory, and lost with the process."""

    durable = False

    def __init__(self, max_bytes: int) -> None:
        """Keeps at most so many bytes."""
        self._max = max_bytes
        self._bytes = self._next = 0
        self._kept: dict[int, Message] = {}
        self._cursor = -1

    @property
    def spans(self) -> int:
        """See :class:`Backlog`."""
        return sum(message.spans for message in self._kept.values())

    def append(self, message: Message) -> Position | None:
        """See :class:`Backlog`."""
        if self._bytes + message.size > self._max:
            return None
        self._bytes += message.size
        self._next += 1
        self._kept[self._next] = message
        return Position(0, self._next)

    def read(self, count: int, size: int) -> list[tuple[Position, Message]]:
        """See :class:`Backlog`."""
        found: list[tuple[Position, Message]] = []
        for number, message in self._kept.items():
            if number <= self._cursor:
                continue
            if len(found) >= count or (found and size < message.size):
                break
            size -= message.size
            self._cursor = number
            found.append((Position(0, number), message))
        return found

    def done(self, position: Position) -> None:
        """See :class:`Backlog`."""
        message = self._kept.pop(position.offset, None)
        if message is not None:
            self._bytes -= message.size

    def rewind(self) -> None:
        """See :class:`Backlog`."""
        self._cursor = -1

    @property
    def empty(self) -> bool:
        """See :class:`Backlog`."""
        return not self._kept

    def close(self) -> None:
        """See :class:`Backlog`."""


class SpillFolder:
    """A :class:`Backlog` in files. Errors of the disk come out as ``OSError``."""

    durable = True
    spans = 0

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Keeps at most ``max_bytes`` in a new folder under ``root``; takes over what dead processes left there."""
        self._max = max_bytes
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and root.stat().st_uid != os.getuid():
            # Under /tmp anybody may have made it, to have messages of theirs sent as ours.
            raise PermissionError(f"{root} belongs to another user")
        self._folder = root / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._folder.mkdir(mode=0o700)
        self._lock = _locked(self._folder)
        # Number and size of each segment that is kept, in order.
        self._segments: dict[int, int] = {}
        # How many records each has, where that is known, and the offsets of those that are done.
        self._counts: dict[int, int] = {}
        self._done: dict[int, set[int]] = {}
        self._writing: IO[bytes] | None = None
        self._reading: IO[bytes] | None = None
        self._cursor = Position(0, 0)
        self._read_count = 0
        self._adopt(root)

    @property
    def folder(self) -> Path:
        """Where this process keeps its segments."""
        return self._folder

    def _adopt(self, root: Path) -> None:
        if self._lock is None:
            return
        left: list[tuple[float, Path]] = []
        owners: list[tuple[Path, IO[bytes]]] = []
        for folder in root.iterdir():
            if folder == self._folder or not folder.is_dir():
                continue
            lock = _locked(folder)
            if lock is None:
                continue
            owners.append((folder, lock))
            left += [(segment.stat().st_mtime, segment) for segment in folder.glob("*.spill")]
        for number, (_, segment) in enumerate(sorted(left), start=1):
            segment.rename(self._path(number))
            self._segments[number] = self._path(number).stat().st_size
        for folder, lock in owners:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08}.spill"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._segments.values())

    def append(self, message: Message) -> Position | None:
        """See :class:`Backlog`."""
        record = _record(message)
        if self.size + len(record) > self._max:
            return None
        last = max(self._segments, default=0)
        if self._writing is None or self._segments[last] >= SEGMENT_BYTES:
            self._close_writing()
            last = max(last + 1, _FIRST_OWN)
            # Unbuffered: what append returned for is in the operating system's hands.
            self._writing = open(self._path(last), "xb", buffering=0, opener=_private)  # noqa: SIM115
            self._segments[last] = self._counts[last] = 0
        offset = self._segments[last]
        self._writing.seek(offset)
        if self._writing.write(record) != len(record):
            self._writing.truncate(offset)
            return None
        self._segments[last] = offset + len(record)
        self._counts[last] += 1
        return Position(last, offset)

    def read(self, count: int, size: int) -> list[tuple[Position, Message]]:
        """See :class:`Backlog`."""
        found: list[tuple[Position, Message]] = []
        while len(found) < count and (not found or size > 0):
            record = self._next()
            if record is None:
                break
            position, message = record
            if position.offset in self._done.get(position.segment, ()):
                continue
            size -= message.size
            found.append(record)
        return found

    def _next(self) -> tuple[Position, Message] | None:
        for segment in sorted(self._segments):
            if segment < self._cursor.segment:
                continue
            if segment > self._cursor.segment or self._reading is None:
                self._close_reading()
                self._cursor = Position(segment, 0)
                self._read_count = 0
                self._reading = self._path(segment).open("rb")
            # Also drops what was buffered before more was written.
            self._reading.seek(self._cursor.offset)
            message = _read(self._reading)
            if message is not None:
                position = self._cursor
                self._cursor = Position(segment, self._reading.tell())
                self._read_count += 1
                return position, message
            if self._writing is None or segment != max(self._segments):
                # Its end, or where it is damaged: nothing more will come of it.
                self._counts[segment] = self._read_count
        self._forget_finished()
        return None

    def done(self, position: Position) -> None:
        """See :class:`Backlog`."""
        self._done.setdefault(position.segment, set()).add(position.offset)
        self._forget_finished()

    def _forget_finished(self) -> None:
        """Deletes segments from the front whose every record is done."""
        for segment in sorted(self._segments):
            # How many a segment has that was taken over is known when it was read to its end.
            if segment not in self._counts or len(self._done.get(segment, ())) < self._counts[segment]:
                return
            if segment == max(self._segments):
                self._close_writing()
            if segment == self._cursor.segment:
                self._close_reading()
            self._path(segment).unlink(missing_ok=True)
            del self._segments[segment], self._counts[segment]
            self._done.pop(segment, None)

    def _close_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _close_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def rewind(self) -> None:
        """See :class:`Backlog`."""
        self._close_reading()
        self._cursor = Position(0, 0)

    @property
    def empty(self) -> bool:
        """See :class:`Backlog`."""
        return not self._segments

    def close(self) -> None:
        """See :class:`Backlog`. An empty folder goes."""
        self._close_reading()
        self._close_writing()
        if not self._segments:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def abandon(self) -> None:
        """In a child after a fork: the folder stays the parent's, whose lock this process's copy would hold on to."""
        self._close_reading()
        if self._writing is not None:
            self._writing.close()
        if self._lock is not None:
            self._lock.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _locked(folder: Path) -> IO[bytes] | None:
    """The folder's lock, or ``None`` where another process holds it or locks can't be had."""
    if fcntl is None:
        return None
    try:
        file = (folder / "lock").open("ab")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its former owner may have removed the folder between the opening and the lock.
        if os.fstat(file.fileno()).st_nlink:
            return file
    except OSError:
        pass
    file.close()
    return None


def _record(message: Message) -> bytes:
    topic = message.topic.encode()
    rest = _REST.pack(message.spans, len(topic), len(message.key)) + topic + message.key + message.value
    return _HEAD.pack(len(rest), zlib.crc32(rest)) + rest


def _read(file: IO[bytes]) -> Message | None:
    """The next record; ``None`` at the end, and where it is cut short or damaged."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, crc = _HEAD.unpack(head)
    rest = file.read(length)
    if len(rest) < max(length, _REST.size) or zlib.crc32(rest) != crc:
        return None
    spans, topic_length, key_length = _REST.unpack_from(rest)
    key_at = _REST.size + topic_length
    value_at = key_at + key_length
    return Message(rest[_REST.size : key_at].decode(), rest[key_at:value_at], rest[value_at:], spans)
