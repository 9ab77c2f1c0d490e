"""OTLP over HTTP against servers on loopback: what is tried again and when, what is not, proxies, redirects."""

from __future__ import annotations

import base64
import gzip
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from agent_probe.doctor import examine
from agent_probe.message import Message
from agent_probe.privacy import Privacy
from agent_probe.sender import Limits, Sender
from agent_probe.settings import Settings
from agent_probe.spill import MemoryBacklog
from agent_probe.transport import http as transport
from agent_probe.transport.http import HttpTransport
from agent_probe.transport.proxy import route
from test_sender import await_that, make_spans
from traced import decoded

TOPIC = "otlp_spans"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass
class Seen:
    """A request."""

    target: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    date: float = field(default_factory=time.time)


@dataclass
class Server:
    """Answers as it is told to, one after another, then 200."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                told.seen.append(Seen(self.path, headers, body))
                status, more, said = told.answers.pop(0) if told.answers else (200, {}, b"")
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_CONNECT(self) -> None:
                headers = {key.lower(): value for key, value in self.headers.items()}
                told.seen.append(Seen(self.path, headers, b""))
                with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), 10) as behind:
                    self.send_response(200)
                    self.end_headers()
                    there = threading.Thread(target=_pump, args=(self.connection, behind), daemon=True)
                    there.start()
                    _pump(behind, self.connection)
                    there.join(10)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def spans(self) -> int:
        return sum(len(decoded(gzip.decompress(one.body))) for one in self.seen if one.body)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(), Server()]
    yield made
    for server in made:
        server.close()


@pytest.fixture
def server(servers: list[Server]) -> Server:
    return servers[0]


def sender_to(url: str, **more: Any) -> Sender:
    made = HttpTransport({TOPIC: url + "/v1/traces", "m": url + "/v1/metrics"}, timeout_ms=5_000, **more)
    limits = Limits(delay=0.01, report_period=60.0)
    return Sender(made, lambda: MemoryBacklog(1 << 20), topic=TOPIC, privacy=Privacy(), limits=limits)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_otlp_calls_retryable_is_tried_again_until_it_is_taken(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_FIRST_WAIT", 0.01)
    server.answers = [(status, {}, b""), (status, {}, b"")]
    sender = sender_to(server.url)
    for span in make_spans(3):
        sender.offer(span)
    assert sender.flush(30)
    assert sender.accounts.delivered == 3
    assert not sender.accounts.dropped
    assert len(server.seen) == 3
    assert len({one.body for one in server.seen}) == 1
    assert sender.shutdown(5)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 500, 501])
def test_any_other_error_is_final_counted_and_told_in_one_line(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(status, {"retry-after": "1"}, b"")]
    sender = sender_to(server.url)
    with caplog.at_level(logging.WARNING, "agent_probe"):
        for span in make_spans(5):
            sender.offer(span)
        assert sender.flush(30)
        sender.offer(make_spans(1)[0])
        assert sender.shutdown(10)
    assert sender.accounts.dropped == {"rejected": 5}
    assert sender.accounts.delivered == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "dropped 5 spans" in line
    assert f"/v1/traces answered {status} " in line


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_says_when_is_left_alone_until_then(server: Server, form: str) -> None:
    # A date has whole seconds.
    due = int(time.time()) + 3
    said = "2" if form == "seconds" else formatdate(due, usegmt=True)
    server.answers = [(503, {"Retry-After": said}, b"")]
    sender = sender_to(server.url)
    sender.offer(make_spans(1)[0])
    await_that(lambda: len(server.seen) == 1, "the first request")
    for span in make_spans(20, traces=20):
        sender.offer(span)
    assert sender.flush(30)
    first, second = server.seen[:2]
    if form == "seconds":
        assert second.at - first.at >= 1.9
    else:
        assert second.date >= due - 0.1
    assert sender.accounts.delivered == 21
    assert sender.shutdown(5)


def test_waiting_for_a_server_does_not_keep_the_process_past_its_limit(server: Server) -> None:
    server.answers = [(429, {"Retry-After": "3000"}, b"")]
    sender = sender_to(server.url)
    sender.offer(make_spans(1)[0])
    await_that(lambda: len(server.seen) == 1, "the first request")
    began = time.monotonic()
    assert sender.shutdown(1.0)
    assert time.monotonic() - began < 10
    assert sender.accounts.dropped == {"lost_at_exit": 1}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 400, 3_600.0),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2024 00:00:00 -0000", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600.0),
    ],
)
def test_retry_after_is_read_in_every_form(said: str | None, seconds: float | None) -> None:
    assert transport._asked(said) == seconds


def test_pauses_double_to_a_limit_and_differ_by_chance() -> None:
    for failures in (1, 2, 3, 50, 5_000):
        longest = min(0.5 * 2 ** (min(failures, 50) - 1), 30.0)
        pauses = {transport._pause(failures) for _ in range(50)}
        assert len(pauses) > 10
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest


def test_spans_that_a_partial_success_refuses_are_counted_as_dropped(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too old é"
    server.answers = [(200, {}, answer.SerializeToString())]
    sender = sender_to(server.url)
    with caplog.at_level(logging.WARNING, "agent_probe"):
        for span in make_spans(5):
            sender.offer(span)
        assert sender.shutdown(10)
    assert sender.accounts.delivered == 3
    assert sender.accounts.dropped == {"refused": 2}
    assert len(server.seen) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "refused 2" in line
    assert "too old é" in line


@pytest.mark.parametrize(
    "body", [b"", b"\x0a\x00", b"\x0a\x05\x12\x03low", b"<html>", b"\xff" * 10, b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01"]
)
def test_an_answer_that_refuses_nothing_or_is_no_otlp_is_taken_for_good(server: Server, body: bytes) -> None:
    server.answers = [(200, {}, body)]
    sender = sender_to(server.url)
    for span in make_spans(5):
        sender.offer(span)
    assert sender.shutdown(10)
    assert (sender.accounts.delivered, dict(sender.accounts.dropped)) == (5, {})


def test_refused_metrics_are_told_and_no_spans_dropped(server: Server) -> None:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = 4
    server.answers = [(200, {}, answer.SerializeToString())]
    sender = sender_to(server.url)
    assert sender.offer_message(Message("m", b"", b"", 0))
    assert sender.shutdown(10)
    assert not sender.accounts.dropped
    assert "/v1/metrics refused a part" in sender.accounts.last_error


def test_an_answer_without_end_is_not_read_to_its_end(server: Server) -> None:
    server.answers = [(200, {}, b"\x00" * 10_000_000)]
    sender = sender_to(server.url)
    for _ in range(2):
        sender.offer(make_spans(1)[0])
        assert sender.flush(30)
    assert sender.accounts.delivered == 2
    assert sender.shutdown(5)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed_and_headers_stay_with_their_host(servers: list[Server], status: int) -> None:
    first, other = servers
    first.answers = [(status, {"Location": other.url + "/v1/traces"}, b"")]
    sender = sender_to(first.url, headers={"authorization": "secret"})
    sender.offer(make_spans(1)[0])
    assert sender.flush(30)
    assert not other.seen
    assert sender.accounts.dropped == {"rejected": 1}
    assert "redirects are not followed" in sender.accounts.last_error
    assert sender.shutdown(5)


def test_a_header_that_cannot_be_sent_holds_nothing_up(server: Server) -> None:
    sender = sender_to(server.url, headers={"x": "line\nbreak"})
    sender.offer(make_spans(1)[0])
    assert sender.flush(30)
    assert sender.accounts.dropped == {"rejected": 1}
    assert sender.shutdown(5)


def test_a_proxy_of_the_environment_carries_http(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{server.port}")
    sender = sender_to("http://collector.test:4318", headers={"x-key": "k"})
    for span in make_spans(3):
        sender.offer(span)
    assert sender.flush(30)
    (seen,) = server.seen
    assert seen.target == "http://collector.test:4318/v1/traces"
    assert seen.headers["host"] == "collector.test:4318"
    assert seen.headers["x-key"] == "k"
    assert base64.b64decode(seen.headers["proxy-authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert server.spans == 3
    assert sender.shutdown(5)


def test_a_proxy_tunnels_https_and_sees_no_headers_of_ours(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    collector, proxy = servers
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=collector.test", "-addext", "subjectAltName=DNS:collector.test"]
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *subject, *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    collector.http.socket = context.wrap_socket(collector.http.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("https_proxy", f"me:secret@127.0.0.1:{proxy.port}")
    sender = sender_to(f"https://collector.test:{collector.port}", headers={"x-key": "k"})
    for span in make_spans(3):
        sender.offer(span)
    assert sender.flush(30), sender.accounts
    (connect,) = proxy.seen
    assert connect.target == f"collector.test:{collector.port}"
    assert "proxy-authorization" in connect.headers
    assert "x-key" not in connect.headers
    (seen,) = collector.seen
    assert seen.target == "/v1/traces"
    assert seen.headers["x-key"] == "k"
    assert "proxy-authorization" not in seen.headers
    assert collector.spans == 3
    assert sender.shutdown(5)


def test_a_proxy_that_refuses_is_tried_again_and_named_without_its_password(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:1")
    sender = sender_to("https://collector.test")
    sender.offer(make_spans(1)[0])
    await_that(lambda: sender.accounts.last_error != "", "the proxy is asked")
    assert "https://collector.test through 127.0.0.1:1: ConnectionRefusedError" in sender.accounts.last_error
    sender.shutdown(0.5)
    findings = list(examine(Settings(endpoint="https://collector.test", spill_dir="off")))
    assert any("through 127.0.0.1:1" in one.what and "proxy" in one.advice for one in findings)
    assert not any("secret" in one.what for one in findings)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "http://[::1]:4318", "http://localhost:4318"])
def test_this_machine_is_reached_without_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    assert route(url).proxy is None


def test_no_proxy_is_kept_and_the_proxy_is_that_of_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.test:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.test:2")
    monkeypatch.setenv("NO_PROXY", "inside.test,near.test")
    chosen = {}
    for url in ("http://out.test", "https://out.test", "https://a.inside.test", "https://near.test"):
        proxy = route(url).proxy
        chosen[url] = proxy.hostname if proxy is not None else None
    assert list(chosen.values()) == ["all.test", "secure.test", None, None]


def test_a_proxy_of_another_kind_is_told_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@proxy.test:1080")
    with pytest.raises(ValueError, match=r"socks5://proxy\.test:1080: only http:// proxies") as error:
        route("https://out.test")
    assert "secret" not in str(error.value)
