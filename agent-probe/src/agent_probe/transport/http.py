"""OTLP over HTTP, to a Collector or anything that takes it. One request at a time, on the sender's thread.

What the answers mean: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

import gzip
import http.client
import logging
import random
import time
from collections import deque
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from agent_probe.message import CONTENT_TYPE, Message
from agent_probe.protobuf import WireError, fields
from agent_probe.transport import Done, Outcome
from agent_probe.transport.proxy import Route, route

logger = logging.getLogger("agent_probe")

# All others must not be tried again, the specification says.
_RETRYABLE = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# What a server may ask for at most.
_LONGEST_ASKED = 3_600.0
# A partial success has two fields; the rest of a longer answer is not read.
_MAX_ANSWER = 65_536


class _Answer(NamedTuple):
    outcome: Outcome
    reason: str = ""
    # How long the server asks to be left alone, seconds.
    wait: float | None = None
    # Of a message that was delivered: how many of its spans the server did not take.
    refused: int = 0


class HttpTransport:
    """Posts each message to the URL of its topic, through the environment's proxies. Follows no redirects."""

    by_trace = False

    def __init__(self, urls: Mapping[str, str], *, headers: Mapping[str, str] | None = None, timeout_ms: int) -> None:
        """``urls`` gives the address for each topic's messages. Raises ``ValueError`` for one that is no HTTP URL."""
        self._routes = {topic: route(url) for topic, url in urls.items()}
        self._headers = {"content-type": CONTENT_TYPE, "content-encoding": "gzip", **(headers or {})}
        self._timeout = timeout_ms / 1000
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self._finished: deque[tuple[int, Outcome, str, int]] = deque()
        self._done: Done | None = None
        # One after another.
        self._failures = 0
        self.quiet_until = 0.0
        self.last_error = ""
        self.deadline = float("inf")

    def open(self, done: Done) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        self._done = done

    def submit(self, number: int, message: Message) -> bool:
        """See :class:`agent_probe.transport.Transport`. Waits for the answer, up to the timeout."""
        if time.monotonic() < self.quiet_until:
            # The messages behind one that failed need not each wait for the same timeout.
            self._finished.append((number, Outcome.RETRY, self.last_error, 0))
            return True
        answer = self._post(message)
        if answer.reason:
            self.last_error = answer.reason
        if answer.outcome is Outcome.RETRY:
            self._failures += 1
            self.quiet_until = time.monotonic() + (_pause(self._failures) if answer.wait is None else answer.wait)
        else:
            self._failures = 0
        self._finished.append((number, answer.outcome, answer.reason, answer.refused))
        return True

    def _post(self, message: Message) -> _Answer:
        way = self._routes[message.topic]
        # Without the time of compression: a message has the same bytes whenever it is sent.
        body = gzip.compress(message.value, compresslevel=1, mtime=0)
        for attempt in (1, 2):
            connection, reused = self._connected(way)
            try:
                connection.request("POST", way.target, body, {**self._headers, **way.headers})
                answer = connection.getresponse()
                said = answer.read(_MAX_ANSWER)
            except (OSError, http.client.HTTPException) as error:
                self._disconnect(way)
                # A kept connection may have been closed by the other side meanwhile.
                if reused and attempt == 1 and not isinstance(error, TimeoutError):
                    continue
                return _Answer(Outcome.RETRY, f"{way.place}: {type(error).__name__}: {error}")
            except ValueError as error:
                # A header that can't be sent: no more the next time.
                self._disconnect(way)
                return _Answer(Outcome.REJECTED, f"{way.place}: {error}")
            if not answer.isclosed():
                self._disconnect(way)
            return _judged(way, answer, said)
        return _Answer(Outcome.RETRY, f"{way.place}: closed twice")

    def _connected(self, way: Route) -> tuple[http.client.HTTPConnection, bool]:
        """The connection, and whether it was used before."""
        wait = min(self._timeout, max(self.deadline - time.monotonic(), 0.1))
        connection = self._connections.get(way.place)
        if connection is None:
            connection = self._connections[way.place] = way.connection(wait)
            return connection, False
        connection.timeout = wait
        if connection.sock is not None:
            connection.sock.settimeout(wait)
        return connection, True

    def _disconnect(self, way: Route) -> None:
        connection = self._connections.pop(way.place, None)
        if connection is not None:
            connection.close()

    def poll(self, seconds: float) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        if not self._finished and seconds > 0:
            time.sleep(min(seconds, 0.02))
        while self._finished and self._done is not None:
            self._done(*self._finished.popleft())

    def abandon(self) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        # Closing this process's copy of a socket leaves the parent's open.
        self.close()
        self._finished.clear()

    def close(self) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _pause(failures: int) -> float:
    """Twice as long each time, and by chance up to half of it less: a server that comes back meets not all at once."""
    longest: float = min(_FIRST_WAIT * 2 ** min(failures - 1, 16), _LONGEST_WAIT)
    return longest * random.uniform(0.5, 1.0)


def _judged(way: Route, answer: http.client.HTTPResponse, said: bytes) -> _Answer:
    if 200 <= answer.status < 300:
        return _partly(way, said)
    reason = f"{way.place}{way.url.path} answered {answer.status} {answer.reason}"
    if answer.status in _RETRYABLE:
        return _Answer(Outcome.RETRY, reason, _asked(answer.headers.get("retry-after")))
    if 300 <= answer.status < 400:
        reason += f" to {answer.headers.get('location', 'nowhere')}, and redirects are not followed"
    return _Answer(Outcome.REJECTED, reason)


def _asked(retry_after: str | None) -> float | None:
    """The seconds of a ``Retry-After``, which are a number or a date; ``None`` where there is nothing to read."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        seconds = float(text[:12])
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        if date.tzinfo is None:
            # "-0000" says that the time is UTC, of a place unknown.
            date = date.replace(tzinfo=timezone.utc)
        seconds = date.timestamp() - time.time()
    return min(max(seconds, 0.0), _LONGEST_ASKED)


def _partly(way: Route, said: bytes) -> _Answer:
    """``ExportTraceServiceResponse`` and that of metrics: ``partial_success`` 1, in it the number 1 and a message 2."""
    refused, message = 0, ""
    try:
        for number, _, partial in fields(said):
            if number == 1 and isinstance(partial, bytes):
                for inner, _, value in fields(partial):
                    if inner == 1 and isinstance(value, int):
                        refused = value if value < 1 << 63 else 0
                    elif inner == 2 and isinstance(value, bytes):
                        message = value.decode(errors="replace")
    except WireError:
        # An answer in another form: it was taken, is all that it says.
        return _Answer(Outcome.DELIVERED)
    if refused:
        return _Answer(Outcome.DELIVERED, f"{way.place}{way.url.path} refused a part: {message}", refused=refused)
    if message:
        logger.debug("%s%s says: %s", way.place, way.url.path, message)
    return _Answer(Outcome.DELIVERED)
