"""``init`` in processes of their own: how they end, fork, and go on when nothing works."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_probe import settings
from traced import child_environment, decoded

AWAY = "127.0.0.1:1"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        collector = self
        self.spans: list[tuple[dict[str, Any], Any]] = []
        self.metrics: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answer = 200

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                if collector.answer == 200:
                    collector.headers.append({key.lower(): value for key, value in self.headers.items()})
                    if self.path == "/v1/traces":
                        collector.spans += decoded(body)
                    else:
                        collector.metrics.append(body)
                self.send_response(collector.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def names(self) -> list[str]:
        return sorted(span.name for _, span in self.spans)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def start(program: str, tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    env = child_environment(**{"AGENT_PROBE_SPILL_DIR": str(tmp_path / "spill"), **environment})
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def run(program: str, tmp_path: Path, **environment: str) -> tuple[str, str]:
    with start(program, tmp_path, **environment) as process:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    return out, err


def test_two_lines_record_a_turn_and_the_process_ends_by_itself(collector: Collector, tmp_path: Path) -> None:
    out, err = run(
        """
import agent_probe
agent_probe.init(service_name="my-agent")
with agent_probe.session("s", input="hi"):
    pass
""",
        tmp_path,
        AGENT_PROBE_ENDPOINT=collector.url,
        AGENT_PROBE_HEADERS="authorization=Bearer x",
    )
    assert (out, err) == ("", "")
    assert collector.names == ["session s"]
    assert collector.headers[0]["authorization"] == "Bearer x"
    assert len(collector.metrics) == 1
    assert b"my-agent" in collector.metrics[0]
    assert b"process.memory.usage" in collector.metrics[0]
    assert not list((tmp_path / "spill").rglob("*.spill"))


def test_nothing_to_send_to_costs_the_agent_nothing_but_the_time_stated_at_exit(tmp_path: Path) -> None:
    began = time.monotonic()
    out, err = run(
        """
import time, agent_probe
agent_probe.init(service_name="a")
began = time.monotonic()
for _ in range(1000):
    with agent_probe.session("s"):
        pass
print("fine")
""",
        tmp_path,
        AGENT_PROBE_BOOTSTRAP_SERVERS=AWAY,
    )
    assert (out, err) == ("fine\n", "")
    # The stated 5 s, and what starting Python takes on a busy machine.
    assert time.monotonic() - began < 30
    assert sum(path.stat().st_size for path in (tmp_path / "spill").rglob("*.spill")) > 100_000


def test_what_was_spilled_is_sent_by_the_next_run(collector: Collector, tmp_path: Path) -> None:
    program = """
import agent_probe
agent_probe.init(service_name="a", metrics_interval_ms=0)
with agent_probe.session("{name}"):
    pass
"""
    collector.answer = 503
    run(program.format(name="first"), tmp_path, AGENT_PROBE_ENDPOINT=collector.url)
    assert collector.spans == []
    collector.answer = 200
    run(program.format(name="second"), tmp_path, AGENT_PROBE_ENDPOINT=collector.url)
    assert [span.name for _, span in collector.spans] == ["session first", "session second"]


def test_sigterm_flushes_ends_what_is_open_and_kills_as_it_would_have(collector: Collector, tmp_path: Path) -> None:
    program = """
import time, agent_probe
agent_probe.init(service_name="a", metrics_interval_ms=0, delay_ms=200)
with agent_probe.session("s"):
    with agent_probe.think("done"):
        pass
    with agent_probe.act("open"):
        print("ready", flush=True)
        time.sleep(60)
"""
    with start(program, tmp_path, AGENT_PROBE_ENDPOINT=collector.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert collector.names == ["act open", "session s", "think done"]
    cut = [attributes for attributes, span in collector.spans if span.name != "think done"]
    assert [attributes["error.type"] for attributes in cut] == ["process_exit"] * 2


def test_an_agents_own_sigterm_handler_is_called_and_decides(collector: Collector, tmp_path: Path) -> None:
    program = """
import signal, sys, time, agent_probe
def stop(number, frame):
    with agent_probe.response():
        pass
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
agent_probe.init(service_name="a", metrics_interval_ms=0)
print("ready", flush=True)
time.sleep(60)
"""
    with start(program, tmp_path, AGENT_PROBE_ENDPOINT=collector.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 7
    assert collector.names == ["response"]


def test_a_fork_sends_its_own_spans_and_not_the_parents(collector: Collector, tmp_path: Path) -> None:
    program = """
import multiprocessing, os, sys, agent_probe
agent_probe.init(service_name="a", metrics_interval_ms=0, delay_ms=200)
def step(name):
    with agent_probe.act(name):
        pass
with agent_probe.session("parent"):
    step("before")
    child = os.fork()
    if child == 0:
        step("forked")
        sys.exit(0)
    process = multiprocessing.get_context("fork").Process(target=step, args=("pool",))
    process.start()
    process.join()
    step("after")
    assert os.waitpid(child, 0)[1] == 0
"""
    run(program, tmp_path, AGENT_PROBE_ENDPOINT=collector.url)
    # The forked child left its copy of the session too, by an exception; that is the parent's to end.
    assert collector.names == ["act after", "act before", "act forked", "act pool", "session parent"]
    trace_ids = {span.trace_id for _, span in collector.spans}
    assert len(trace_ids) == 1


def test_settings_that_make_no_sense_are_told_and_left_out(tmp_path: Path) -> None:
    out, err = run(
        """
import agent_probe
probe = agent_probe.init(service_name="a")
print(probe.enabled, probe.settings.delay_ms, probe.settings.exit_timeout_ms)
""",
        tmp_path,
        AGENT_PROBE_BOOTSTRAP_SERVERS=AWAY,
        AGENT_PROBE_DELAY_MS="9000",
        AGENT_PROBE_EXIT_TIMEOUT_MS="soon",
    )
    assert out == "True 200 5000\n"
    assert "AGENT_PROBE_EXIT_TIMEOUT_MS='soon'" in err


def test_a_call_that_makes_no_sense_is_told_and_left_out_too(caplog: pytest.LogCaptureFixture) -> None:
    loaded = settings.load(
        {}, transport="htp", queue_spans=0, max_content_chars="many", delay_ms="20", headers={"a": "b"}
    )
    assert (loaded.kind, loaded.queue_spans, loaded.max_content_chars) == ("kafka", 20_000, 32_768)
    assert (loaded.delay_ms, loaded.headers) == (20, {"a": "b"})
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert "transport='htp': not one of kafka, http" in told[0]


def test_an_address_that_is_none_leaves_the_agent_running_unrecorded(tmp_path: Path) -> None:
    out, err = run(
        """
import agent_probe
probe = agent_probe.init(service_name="a", endpoint="nonsense")
with agent_probe.session("s"):
    print(probe.enabled)
""",
        tmp_path,
    )
    assert out == "False\n"
    assert "'nonsense/v1/traces' is no http://" in err


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "AGENT_PROBE_ENABLED=0"])
def test_it_can_be_switched_off_from_outside(collector: Collector, tmp_path: Path, variable: str) -> None:
    name, value = variable.split("=")
    program = """
import agent_probe
with agent_probe.init(service_name="a"), agent_probe.session("s"):
    pass
"""
    run(program, tmp_path, AGENT_PROBE_ENDPOINT=collector.url, **{name: value})
    assert collector.spans == []


def test_a_provider_that_is_there_is_kept_and_the_spans_of_others_pass_untouched(
    collector: Collector, tmp_path: Path
) -> None:
    program = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
trace.set_tracer_provider(provider)
import agent_probe
probe = agent_probe.init(service_name="ours")
assert probe.provider is provider
with trace.get_tracer("other").start_as_current_span("chat gpt", attributes={"gen_ai.operation.name": "chat"}):
    pass
"""
    run(program, tmp_path, AGENT_PROBE_ENDPOINT=collector.url)
    ((attributes, span),) = collector.spans
    assert (span.name, attributes) == ("chat gpt", {"gen_ai.operation.name": "chat"})


def test_the_call_wins_over_our_variables_and_those_over_opentelemetrys() -> None:
    environment = {
        "OTEL_SERVICE_NAME": "otel",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318",
        "OTEL_BSP_SCHEDULE_DELAY": "5000",
        "AGENT_PROBE_DELAY_MS": "50",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=b, authorization=Basic%20eA==",
    }
    loaded = settings.load(environment)
    assert (loaded.service_name, loaded.kind, loaded.delay_ms) == ("otel", "http", 50)
    assert loaded.headers == {"a": "b", "authorization": "Basic eA=="}
    assert settings.load({"AGENT_PROBE_HEADERS": '{"a": "100%25"}'}).headers == {"a": "100%25"}
    assert settings.load(environment, service_name="call", bootstrap_servers="b:1").kind == "kafka"
    assert settings.load({**environment, "AGENT_PROBE_BOOTSTRAP_SERVERS": "b:1"}).kind == "kafka"
    with pytest.raises(TypeError, match="no setting dealy_ms"):
        settings.load({}, dealy_ms=3)


def test_every_setting_has_a_variable() -> None:
    assert set(settings.ENVIRONMENT) == {field for field in settings.Settings.__dataclass_fields__}
    ours = [variables[0] for variables, _ in settings.ENVIRONMENT.values()]
    assert all(name.startswith("AGENT_PROBE_") for name in ours)
    assert len(set(ours)) == len(ours)


def test_spills_of_one_destination_are_not_sent_to_another(tmp_path: Path) -> None:
    roots = {
        settings.load({}, spill_dir=str(tmp_path), **given).spill_root()
        for given in ({}, {"bootstrap_servers": "b:1"}, {"endpoint": "http://c"}, {"spans_topic": "t"})
    }
    assert len(roots) == 4
    assert settings.load({}, spill_dir="off").spill_root() is None


def test_without_a_place_to_spill_it_keeps_to_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    _, err = run(
        """
import agent_probe
with agent_probe.init(service_name="a", exit_timeout_ms=2000, metrics_interval_ms=0) as probe:
    with agent_probe.session("s"):
        pass
print(dict(probe.accounts.dropped))
""",
        tmp_path,
        AGENT_PROBE_BOOTSTRAP_SERVERS=AWAY,
        AGENT_PROBE_SPILL_DIR=str(blocked),
    )
    assert "keeps to memory" in err
    assert "dropped 1 spans" in err
    assert blocked.read_text() == ""
