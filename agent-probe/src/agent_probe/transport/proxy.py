"""The way to an HTTP server: straight, or through the proxy that the environment names.

``HTTPS_PROXY`` and ``HTTP_PROXY`` are for addresses of that scheme, ``ALL_PROXY`` for both, in capitals or small
letters; ``NO_PROXY`` lists hosts that are reached straight, as this machine itself always is.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass


@dataclass(frozen=True)
class Route:
    """How requests for one address are sent."""

    url: SplitResult
    proxy: SplitResult | None = None
    # For the proxy only: a tunnel carries them in its CONNECT, which the server behind it does not see.
    proxy_headers: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The server, and the proxy before it, as a message names them; without their passwords."""
        server = f"{self.url.scheme}://{_named(self.url)}"
        return f"{server} through {_named(self.proxy)}" if self.proxy is not None else server

    @property
    def _tunnels(self) -> bool:
        return self.proxy is not None and self.url.scheme == "https"

    @property
    def target(self) -> str:
        """What the request asks for: a proxy without a tunnel needs the whole address."""
        path = (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")
        return path if self.proxy is None or self._tunnels else f"{self.url.scheme}://{_named(self.url)}{path}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of each request, beside those of the message."""
        return {} if self._tunnels else self.proxy_headers

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A new connection, not open yet."""
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        if self.proxy is None:
            return kind(self.url.hostname or "", self.url.port, timeout=timeout)
        made = kind(self.proxy.hostname or "", self.proxy.port or 80, timeout=timeout)
        if self._tunnels:
            made.set_tunnel(self.url.hostname or "", self.url.port, self.proxy_headers)
        return made


def route(address: str) -> Route:
    """The way to an address. Raises ``ValueError`` where it, or the proxy for it, can't be used."""
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{address!r} is no http:// or https:// address")
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_this_machine(url.hostname) or proxy_bypass(url.hostname):
        return Route(url)
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(
            f"the proxy for {url.hostname} is {proxy.scheme}://{_named(proxy)}: only http:// proxies are known; "
            f"set {url.scheme.upper()}_PROXY to one, or list the host in NO_PROXY"
        )
    return Route(url, proxy, _authorization(proxy))


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _named(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
