"""Holds the containers to what docs/operations.md promises of them, in a real Docker engine: `make test-up`.

Everything happens in a copy of the checkout, under a project name and ports of its own, and is removed at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT = f"spanflow-test-{os.getpid()}"
PORTS = ["KAFKA_PORT", "CLICKHOUSE_PORT", "STREAM_JOB_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"]
# `jobs/` and .env are what `make up` makes; the rest of the copy is what Git has.
KILLED = ["clickhouse", "kafka", "stream-job", "prometheus"]


class Failure(Exception):
    """What did not hold."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class System:
    """One copy of the checkout and the containers that it runs."""

    def __init__(self, folder: Path, without: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "SPANFLOW_WITHOUT": without}
        for path in subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0"):
            if path and (ROOT / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, folder / path)
        example = (folder / ".env.example").read_text()
        for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
            example = re.sub(rf"^{name}=.*", f"{name}={port}", example, flags=re.MULTILINE)
        (folder / ".env.example").write_text(example)

    def setting(self, name: str) -> str:
        found = re.search(rf"^{name}=(.*)$", (self.folder / ".env").read_text(), re.MULTILINE)
        assert found, f"{name} is not in .env"
        return found[1]

    def run(self, *command: str, fails: bool = False, limit: float = 1800) -> str:
        """Runs a command in the copy; its output. With `fails` it must end with another code than 0."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=limit
        )
        said = done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            raise Failure(f"{' '.join(command)} ended with {done.returncode}:\n{said[-4000:]}")
        return said

    def make(self, target: str, *variables: str, fails: bool = False) -> str:
        return self.run("make", "--no-print-directory", target, *variables, fails=fails)

    def compose(self, *command: str) -> str:
        return self.run("docker", "compose", *command)

    def ask(self, sql: str) -> list[list[str]]:
        """SQL from the host, through the published port."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.setting('CLICKHOUSE_PORT')}/?database=spanflow",
            data=sql.encode(),
            headers={"X-ClickHouse-User": "default", "X-ClickHouse-Key": self.setting("CLICKHOUSE_PASSWORD")},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Failure(f"{sql}: {error.read().decode()[:500]}") from error
        return [line.split("\t") for line in text.splitlines()]

    def count(self, sql: str) -> int:
        return int(self.ask(sql)[0][0])

    def job(self) -> dict[str, Any]:
        """The job's status, from the host."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.setting('STREAM_JOB_PORT')}/api/v1/status",
            headers={"Authorization": f"Bearer {self.setting('SPANFLOW_HTTP_TOKEN')}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: dict[str, Any] = json.load(answer)
        return status

    def prometheus(self, expression: str) -> list[Any]:
        query = urllib.parse.urlencode({"query": expression})
        url = f"http://127.0.0.1:{self.setting('PROMETHEUS_PORT')}/api/v1/query?{query}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: list[Any] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise Failure(f"{expression}: {error.read().decode()[:500]}") from error
        return found

    def containers(self) -> str:
        """Which containers run, and since when."""
        listing = self.run("docker", "compose", "ps", "--quiet")
        return self.run("docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *listing.split())

    def simulate(self, *arguments: str) -> Simulation:
        return Simulation(self, arguments)


class Simulation:
    """Simulated agents on the host, that write to the published port of Kafka."""

    def __init__(self, system: System, arguments: tuple[str, ...]) -> None:
        kafka = f"localhost:{system.setting('KAFKA_PORT')}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent_probe.simulator", "--kafka", kafka, *arguments],
            env={**system.environment, "PYTHONPATH": str(ROOT / "agent-probe" / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, stop: bool = False, limit: float = 180) -> dict[str, Any]:
        """What was sent, once it has ended, or with `stop` is made to end."""
        if stop:
            self.process.terminate()
        said, complaints = self.process.communicate(timeout=limit)
        if self.process.returncode != 0:
            raise Failure(f"the simulator ended with {self.process.returncode}: {complaints[-2000:]}")
        report: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        return report


def until(what: str, holds: Callable[[], bool], limit: float = 120) -> float:
    """Waits until something holds; how long that took, in seconds."""
    began = time.monotonic()
    last = ""
    while time.monotonic() - began < limit:
        try:
            if holds():
                return time.monotonic() - began
        except (OSError, Failure, ValueError, IndexError, KeyError) as error:
            last = f" ({error})"
        time.sleep(0.5)
    raise Failure(f"not within {limit:.0f} s: {what}{last}")


def starts_from_nothing(system: System) -> str:
    said = system.make("up")
    if "Spanflow is up" not in said:
        raise Failure(said)
    modes = {name: oct((system.folder / name).stat().st_mode & 0o777) for name in [".env"]}
    if modes != {".env": "0o600"}:
        raise Failure(f".env can be read by others: {modes}")
    return "every container is healthy"


def second_start_changes_nothing(system: System) -> str:
    before, settings = system.containers(), (system.folder / ".env").read_text()
    system.make("up")
    if (system.containers(), (system.folder / ".env").read_text()) != (before, settings):
        raise Failure("containers or .env are others than before")
    return "the same containers, the same .env"


def spans_land_and_are_queried(system: System) -> str:
    report = system.simulate("--rate", "100", "--duration", "15", "--seed", "up-1").report()
    wanted = report["expected"]["spans_landed"]
    took = until(f"{wanted} rows in dwd_span", lambda: system.count("SELECT count() FROM dwd_span") == wanted)
    return f"{wanted} spans from the host are rows {took:.1f} s after the last was sent"


def delay_is_measured(system: System) -> str:
    until("a row of ads_freshness", lambda: system.count("SELECT count() FROM ads_freshness_latest") > 0)
    spans, p50, p95, longest = system.ask(
        "SELECT sum(spans), max(delay_p50_ms), max(delay_p95_ms), max(delay_max_ms) FROM ads_freshness_latest"
    )[0]
    return f"{spans} spans, from end to row: p50 {p50} ms, p95 {p95} ms, longest {longest} ms, in the worst minute"


def status_is_shown(system: System) -> str:
    said = system.make("status")
    if "running" not in said or "healthy" not in said:
        raise Failure(said)
    return "make status shows containers and job"


def prometheus_answers_every_panel(system: System) -> str:
    """Every PromQL expression of the dashboards, against the metrics of the running system."""
    until("Prometheus has seen the job", lambda: bool(system.prometheus("spanflow_ready")), 60)
    expressions = []
    for path in sorted((system.folder / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            expressions += [target["expr"] for target in panel.get("targets", []) if "expr" in target]
    # A rate needs two looks at a counter, and the first watermark the silence of partitions that nobody writes to.
    silent = set(expressions)

    def all_answer() -> bool:
        silent.difference_update([expression for expression in silent if system.prometheus(expression)])
        return not silent

    # No worker has paused for a checkpoint in the last minutes where there is nothing to save.
    until(f"data for {len(silent)} expressions", lambda: all_answer() or all("pause" in one for one in silent))
    return f"{len(expressions)} expressions, {len(expressions) - len(silent)} with data"


def submitted_program_takes_over(system: System) -> str:
    container = system.compose("ps", "--quiet", "stream-job").strip()
    program = system.folder / "stream-job-next"
    system.run("docker", "cp", f"{container}:/usr/local/bin/stream-job", str(program))
    said = system.make("submit", f"JOB={program}")
    until("the job runs again", lambda: system.job()["state"] == "running")
    running = json.dumps(system.job())
    if "stream-job-next-" not in running:
        raise Failure(f"another program runs: {running[:2000]}\n{said}")
    return "make submit copied a program to jobs/, and the job runs it"


def reconciled(system: System) -> None:
    """Counts of all layers agree, up to the newest epoch."""
    system.compose("exec", "-T", "stream-job", "warehouse", "reconcile")


def kills_lose_nothing(system: System) -> str:
    before = system.count("SELECT count() FROM dwd_span")
    agents = system.simulate("--rate", "50", "--seed", f"kills-{time.time_ns()}")
    back = []
    try:
        for name in KILLED:
            time.sleep(5)
            container = system.compose("ps", "--quiet", name).strip()
            system.run("docker", "kill", container)
            time.sleep(2)
            system.run("docker", "start", container)
            took = until(f"{name} is healthy again", partial(is_healthy, system, container))
            back.append(f"{name} {took:.0f} s")
        until("the job runs", lambda: system.job()["state"] == "running")
        time.sleep(3)
    finally:
        report = agents.report(stop=True)
    wanted = before + report["expected"]["spans_landed"]
    until(f"{wanted} rows in dwd_span", lambda: system.count("SELECT count() FROM dwd_span") == wanted)
    twice = system.count("SELECT count() - uniqExact(trace_id, span_id, content_hash) FROM dwd_span")
    if twice:
        raise Failure(f"{twice} rows are there twice")
    reconciled(system)
    return f"{wanted - before} spans, each once; healthy again after {', '.join(back)}"


def is_healthy(system: System, container: str) -> bool:
    return system.run("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy"


def data_survives_down(system: System) -> str:
    tables = (
        "SELECT (SELECT count() FROM dwd_span), (SELECT count() FROM ods_record), (SELECT count() FROM ops_epoch) > 0"
    )
    before = system.ask(tables)
    system.make("down")
    if system.compose("ps", "--quiet").strip():
        raise Failure("containers still run after make down")
    system.make("up")
    if system.ask(tables) != before:
        raise Failure(f"{before} became {system.ask(tables)}")
    wanted = system.simulate("--rate", "50", "--duration", "5", "--seed", "after").report()["expected"]["spans_landed"]
    whole = int(before[0][0]) + wanted
    until(f"{whole} rows in dwd_span", lambda: system.count("SELECT count() FROM dwd_span") == whole)
    return f"{before[0][0]} spans are still there, and {wanted} new ones land"


def backup_comes_back(system: System) -> str:
    spans = "SELECT count() FROM dwd_span"
    system.make("backup", "NAME=here")
    kept = system.count(spans)
    sent = system.simulate("--rate", "50", "--duration", "5", "--seed", "later").report()["expected"]["spans_landed"]
    until("the later spans", lambda: system.count(spans) == kept + sent)
    system.make("restore", "NAME=here", fails=True)  # YES=1 is asked for
    system.make("restore", "NAME=here", "YES=1")
    # What came after the backup is in Kafka still, and is read again.
    until("the later spans again", lambda: system.count(spans) == kept + sent)
    reconciled(system)
    return f"{kept} spans of the backup, and {sent} of after it from Kafka"


def taken_port_is_told(system: System) -> str:
    system.make("down")
    with socket.create_server(("127.0.0.1", int(system.setting("CLICKHOUSE_PORT")))):
        said = system.make("up", fails=True)
    return expect(said, "CLICKHOUSE_PORT", "taken")


def missing_secret_is_told(system: System) -> str:
    path = system.folder / ".env"
    kept = path.read_text()
    path.write_text(re.sub(r"^CLICKHOUSE_PASSWORD=.*", "CLICKHOUSE_PASSWORD=", kept, flags=re.MULTILINE))
    said = system.make("up", fails=True)
    path.write_text(kept)
    return expect(said, "CLICKHOUSE_PASSWORD", "empty")


def full_disk_is_told(system: System) -> str:
    """From nothing again, with a file system of 64 KiB as the job's volume."""
    system.compose("--profile", "*", "down", "--volumes")
    override = system.folder / "docker-compose.override.yml"
    override.write_text(
        "volumes:\n  job-state:\n    name: ${COMPOSE_PROJECT_NAME}_full\n    driver: local\n"
        "    driver_opts: {type: tmpfs, device: tmpfs, o: 'size=64k,uid=10001'}\n"
    )
    full = "No space left on device"
    try:
        system.make("up")
        system.simulate("--rate", "200", "--duration", "10", "--seed", "full").report()
        until(
            "the job says that the disk is full", lambda: full in system.compose("logs", "--tail", "200", "stream-job")
        )
        return expect(system.compose("logs", "--no-log-prefix", "--tail", "200", "stream-job"), full)
    finally:
        # Its volume has a name of its own, which only this file knows.
        system.compose("down", "--volumes", "--timeout", "5")
        override.unlink()


def expect(said: str, *words: str) -> str:
    """The line that says it."""
    for line in said.splitlines():
        if all(word in line for word in words):
            return line.strip()[:200]
    raise Failure(f"no line has {words}:\n{said[-3000:]}")


STEPS = [
    starts_from_nothing,
    second_start_changes_nothing,
    spans_land_and_are_queried,
    delay_is_measured,
    status_is_shown,
    prometheus_answers_every_panel,
    submitted_program_takes_over,
    kills_lose_nothing,
    data_survives_down,
    backup_comes_back,
    taken_port_is_told,
    missing_secret_is_told,
    full_disk_is_told,
]


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="spanflow-test-up-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def prepare(system: System) -> None:
    """Our images first, as the warehouse's stand-in is made of one of them."""
    system.run("dev/containers.sh", "images", limit=5400)
    (system.folder / ".env").unlink()
    print(system.run("dev/stand-ins.sh"), end="")


def grafana_is_there() -> bool:
    with (ROOT / ".env.example").open() as lines:
        (image,) = [line.strip().partition("=")[2] for line in lines if line.startswith("GRAFANA_BASE_IMAGE=")]
    return any(
        subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
        for command in (["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    )


def chosen(name: str) -> bool:
    """All steps, or those whose names hold one of the words on the command line."""
    return len(sys.argv) < 2 or any(word in name for word in sys.argv[1:])


def main() -> int:
    without = "" if grafana_is_there() else "grafana"
    if without:
        print("Grafana's image is neither here nor can it be pulled: it is left out of this test")
    with folder() as path:
        system = System(path, without)
        try:
            prepare(system)
            for step in [one for one in STEPS if one is STEPS[0] or chosen(one.__name__)]:
                began = time.monotonic()
                name = step.__name__.replace("_", " ")
                try:
                    result = step(system)
                except Exception as error:
                    print(f"FAILED  {name} ({time.monotonic() - began:.0f} s)\n{error}", flush=True)
                    return 1
                print(f"ok      {name} ({time.monotonic() - began:.0f} s): {result}", flush=True)
        finally:
            subprocess.run(
                ["docker", "compose", "--profile", "*", "down", "--volumes", "--timeout", "5"],
                cwd=path,
                env=system.environment,
                capture_output=True,
                check=False,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
