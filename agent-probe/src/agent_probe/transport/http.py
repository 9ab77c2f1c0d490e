"""OTLP over HTTP, to a Collector or anything that takes it. One request at a time, on the sender's thread."""

from __future__ import annotations

import gzip
import http.client
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

from agent_probe.message import CONTENT_TYPE, Message
from agent_probe.transport import Done, Outcome

# OTLP names these as worth another try: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
_RETRYABLE = frozenset({408, 429, 502, 503, 504})


class HttpTransport:
    """Posts each message to the URL of its topic. No proxies, no redirects."""

    by_trace = False

    def __init__(self, urls: Mapping[str, str], *, headers: Mapping[str, str] | None = None, timeout_ms: int) -> None:
        """``urls`` gives the address for each topic's messages. Raises ``ValueError`` for one that is no HTTP URL."""
        self._urls = {topic: urlsplit(url) for topic, url in urls.items()}
        for url in self._urls.values():
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError(f"{url.geturl()!r} is no http:// or https:// address")
        self._headers = {"content-type": CONTENT_TYPE, "content-encoding": "gzip", **(headers or {})}
        self._timeout = timeout_ms / 1000
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self._finished: deque[tuple[int, Outcome, str]] = deque()
        self._done: Done | None = None
        self._quiet_until = 0.0
        self.last_error = ""
        self.deadline = float("inf")

    def open(self, done: Done) -> None:
        """See :class:`agent_probe.transport.Transport`."""
        self._done = done

    def submit(self, number: int, message: Message) -> bool:
        """See :class:`agent_probe.transport.Transport`. Waits for the answer, up to the timeout."""
        if time.monotonic() < self._quiet_until:
            self._finished.append((number, Outcome.RETRY, self.last_error))
            return True
        outcome, reason = self._post(message)
        if outcome is not Outcome.DELIVERED:
            self.last_error = reason
        if outcome is Outcome.RETRY:
            # The messages behind it need not each wait for the same timeout.
            self._quiet_until = time.monotonic() + 0.5
        self._finished.append((number, outcome, reason))
        return True

    def _post(self, message: Message) -> tuple[Outcome, str]:
        url = self._urls[message.topic]
        place = f"{url.scheme}://{url.netloc}"
        body = gzip.compress(message.value, compresslevel=1)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        for attempt in (1, 2):
            connection = self._connections.get(place)
            reused = connection is not None
            if connection is None:
                kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
                connection = self._connections[place] = kind(url.hostname or "", url.port, timeout=self._timeout)
            wait = min(self._timeout, max(self.deadline - time.monotonic(), 0.1))
            connection.timeout = wait
            if connection.sock is not None:
                connection.sock.settimeout(wait)
            try:
                connection.request("POST", target, body, self._headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._connections.pop(place, None)
                # A kept connection may have been closed by the other side meanwhile.
                if reused and attempt == 1 and not isinstance(error, TimeoutError):
                    continue
                return Outcome.RETRY, f"{place}: {type(error).__name__}: {error}"
            if 200 <= answer.status < 300:
                return Outcome.DELIVERED, ""
            outcome = Outcome.RETRY if answer.status in _RETRYABLE else Outcome.REJECTED
            return outcome, f"{place}{url.path} answered {answer.status} {answer.reason}"
        return Outcome.RETRY, f"{place}: closed twice"

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
