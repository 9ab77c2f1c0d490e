"""What the probe costs an agent: `make bench-probe`. Prints a table in Markdown; the method is in each section's title.

Spans go to an HTTP server on loopback, in a process of its own, that answers 200 and forgets (--kafka HOST:PORT: to a
real Kafka). Every figure is the median of --runs processes, each with the least and the greatest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent.parent / "src"
LATENCIES_MS = (0, 10, 100, 1000)
SMALL, LARGE = 60, 5_600
MODES = {"none": "no SDK", "sdk": "plain SDK, no exporter", "probe": "probe"}


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response_only(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def serve() -> None:
    """Runs the sink; prints its port and runs until it is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def _probe(target: str) -> Any:
    import agent_probe

    where: dict[str, Any] = {"endpoint": target} if target.startswith("http") else {"bootstrap_servers": target}
    return agent_probe.init(
        service_name="bench", metrics_interval_ms=0, spill_dir="off", queue_spans=1_000_000, **where
    )


def measure_span(mode: str, target: str, text_bytes: int, spans: int) -> dict[str, float]:
    """One thread makes spans of six attributes at 1,000 a second; caller's time, and CPU of the whole process."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    probe = None
    if mode == "sdk":
        trace.set_tracer_provider(TracerProvider())
    elif mode == "probe":
        probe = _probe(target)
    tracer = trace.get_tracer("bench")
    text = "x" * (text_bytes // 2)

    def one(number: int) -> None:
        span = tracer.start_span("act search")
        span.set_attribute("agent.step.type", "act")
        span.set_attribute("agent.step.number", number)
        span.set_attribute("session.id", "session-1")
        span.set_attribute("agent.tool.name", "search")
        span.set_attribute("agent.tool.arguments", text)
        span.set_attribute("agent.tool.result", text)
        span.end()

    return _timed(one, spans, probe)


def measure_step(mode: str, target: str, spans: int) -> dict[str, float]:
    """The same with a decorated function, arguments and result included; ``none`` calls it undecorated."""
    import agent_probe

    probe = _probe(target) if mode == "probe" else None

    def search(query: str, number: int) -> dict[str, Any]:
        return {"success": True, "result": query}

    called: Callable[..., Any] = agent_probe.tool(search) if mode != "none" else search
    return _timed(lambda number: called("x" * 30, number), spans, probe)


def _timed(one: Callable[[int], None], spans: int, probe: Any) -> dict[str, float]:
    from opentelemetry import trace

    tracer = trace.get_tracer("bench")
    for number in range(200):
        one(number)
    if probe is not None:
        probe.flush(30)
    began_cpu, took, own = time.process_time(), 0.0, 0.0
    # Traces of ten with a pause behind each, so that the sender works beside the caller as it would beside an agent.
    for burst in range(spans // 10):
        began, began_cpu_own = time.perf_counter(), time.thread_time()
        with tracer.start_as_current_span("burst"):
            for number in range(9):
                one(burst * 9 + number)
        took += time.perf_counter() - began
        own += time.thread_time() - began_cpu_own
        time.sleep(0.01)
    if probe is not None:
        assert probe.flush(60), "not everything was acknowledged"
        assert not probe.accounts.dropped, probe.accounts
    cpu = time.process_time() - began_cpu
    return {"wall_us": took / spans * 1e6, "own_us": own / spans * 1e6, "cpu_us": cpu / spans * 1e6}


def _plain(tracer: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a span of the plain SDK around it, of six attributes as somebody would write them by hand."""

    def traced(*args: Any) -> Any:
        with tracer.start_as_current_span(function.__name__) as span:
            span.set_attribute("agent.step.type", "act")
            span.set_attribute("agent.step.number", 1)
            span.set_attribute("session.id", "session-1")
            span.set_attribute("agent.tool.name", "search")
            span.set_attribute("agent.tool.arguments", str(args))
            result = function(*args)
            span.set_attribute("agent.tool.result", str(result))
            return result

    return traced


def _agent(mode: str, latency_ms: int) -> Callable[[str, str], str]:
    """A turn of eight spans (session; think, act, observe, twice; response) with two calls of a stub model."""
    from opentelemetry.sdk.trace import TracerProvider

    import agent_probe

    def think(messages: list[dict[str, str]]) -> dict[str, Any]:
        time.sleep(latency_ms / 1000)
        return {
            "model": "gpt-4o",
            "content": [{"type": "text", "text": "Let me look that up. " * 20}],
            "usage": {"input_tokens": 900, "output_tokens": 80},
        }

    def search(query: str) -> dict[str, Any]:
        return {"success": True, "result": query * 10}

    def observe(result: dict[str, Any]) -> str:
        return str(result["result"])

    def respond(text: str) -> str:
        return text

    def turn(question: str, session_id: str) -> str:
        messages = [{"role": "user", "content": question}]
        for _ in range(2):
            reply = called[0](messages)
            messages.append({"role": "assistant", "content": reply["content"][0]["text"]})
            messages.append({"role": "tool", "content": called[2](called[1](question))})
        return str(called[3](messages[-1]["content"]))

    called: list[Callable[..., Any]] = [think, search, observe, respond]
    whole: Callable[..., Any] = turn
    if mode == "sdk":
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
        called, whole = [_plain(tracer, function) for function in called], _plain(tracer, turn)
    if mode == "probe":
        steps = (agent_probe.think, agent_probe.tool, agent_probe.observe, agent_probe.response)
        called = [step(function) for step, function in zip(steps, called, strict=True)]
        whole = agent_probe.session("bench")(turn)
    return whole


def measure_turns(target: str, latency_ms: int, blocks: int, turns: int) -> dict[str, float]:
    """Blocks of turns without spans, with the plain SDK's and with the probe's, by turns in one process.

    The time of a turn, and the caller's CPU in it, are medians over all turns of a kind, so that what else the machine
    does meets all alike. A block ends when all is acknowledged: the process's CPU time includes encoding and sending.
    """
    probe = _probe(target)
    agents = {mode: _agent(mode, latency_ms) for mode in MODES}
    found: dict[str, list[float]] = {f"{mode} {name}": [] for mode in MODES for name in ("wall_us", "own_us", "cpu_us")}
    for block in range(-1, blocks):
        if block == 0:
            # The first of each warmed up.
            for values in found.values():
                values.clear()
        for mode, agent in agents.items():
            began_cpu = time.process_time()
            for number in range(turns):
                began, began_own = time.perf_counter(), time.thread_time()
                agent("What is the weather in Paris?", f"session-{number}")
                found[f"{mode} wall_us"].append((time.perf_counter() - began) * 1e6)
                found[f"{mode} own_us"].append((time.thread_time() - began_own) * 1e6)
            assert probe.flush(60), "not everything was acknowledged"
            found[f"{mode} cpu_us"].append((time.process_time() - began_cpu) / turns * 1e6)
    assert not probe.accounts.dropped, probe.accounts
    return {name: statistics.median(values) for name, values in found.items()}


# The side that starts the processes.


def _child(arguments: list[str]) -> dict[str, float]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AGENT_PROBE_", "OTEL_"))}
    env["PYTHONPATH"] = str(SOURCES)
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, env=env, timeout=600, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _figure(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _row(title: str, found: list[dict[str, float]]) -> None:
    figures = " | ".join(_figure([run[name] for run in found]) for name in ("wall_us", "own_us", "cpu_us"))
    print(f"{title} | {figures}", flush=True)


def report(target: str, runs: int) -> None:
    """Runs everything and prints the tables."""
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; Python {sys.version.split()[0]}\n")
    print(
        "µs per span; 2,000 spans, in traces of ten | caller, by the clock | caller's CPU | process CPU, with sending"
    )
    print("--- | --- | --- | ---")
    for title, size in (("six attributes, 60 B of text", SMALL), ("six attributes, 5.6 kB of text", LARGE)):
        for mode, name in MODES.items():
            _row(f"{title}: {name}", [_child(["span", mode, target, str(size), "2000"]) for _ in range(runs)])
    for mode, name in (("none", "undecorated"), ("probe", "`@agent_probe.tool`")):
        _row(f"a function, {name}", [_child(["step", mode, target, "2000"]) for _ in range(runs)])
    print("\nmore for a turn of 8 spans; CPU in ms: of the caller · of the process, with sending")
    print("2 model calls of | without, ms | plain SDK, wall | plain SDK, CPU | probe, wall | probe, CPU")
    print("--- | --- | --- | --- | --- | ---")
    for latency in LATENCIES_MS:
        _turns(target, latency, runs)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


def _turns(target: str, latency: int, runs: int) -> None:
    blocks, turns = {0: (60, 50), 10: (20, 10), 100: (10, 5), 1000: (3, 1)}[latency]
    found = [_child(["turn", target, str(latency), str(blocks), str(turns)]) for _ in range(runs)]

    def more(mode: str, name: str) -> list[float]:
        return [run[f"{mode} {name}"] - run[f"none {name}"] for run in found]

    figures = [_figure([run["none wall_us"] / 1e3 for run in found], 2)]
    for mode in ("sdk", "probe"):
        percent = [extra / run["none wall_us"] * 100 for extra, run in zip(more(mode, "wall_us"), found, strict=True)]
        figures.append(f"{_figure(percent, 2)} %")
        figures.append(" · ".join(_figure([us / 1e3 for us in more(mode, name)], 2) for name in ("own_us", "cpu_us")))
    print(f"{latency} ms each | {' | '.join(figures)}", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kafka", metavar="HOST:PORT")
    known: dict[str, Callable[..., dict[str, float]]] = {
        "span": measure_span,
        "step": measure_step,
        "turn": measure_turns,
    }
    if len(sys.argv) > 1 and sys.argv[1] in (*known, "serve"):
        if sys.argv[1] == "serve":
            serve()
            return
        given = [int(argument) if argument.isdecimal() else argument for argument in sys.argv[2:]]
        print(json.dumps(known[sys.argv[1]](*given)))
        # Without the probe's own end: it was flushed.
        sys.stdout.flush()
        os._exit(0)
    chosen = parser.parse_args()
    if chosen.kafka:
        report(chosen.kafka, chosen.runs)
        return
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as sink:
        try:
            assert sink.stdout is not None
            report(f"http://127.0.0.1:{sink.stdout.readline().strip()}", chosen.runs)
        finally:
            sink.terminate()


if __name__ == "__main__":
    main()
