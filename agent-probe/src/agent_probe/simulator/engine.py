"""Time: which session does what when, at the rate asked for, as fast as possible or by the wall clock."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from agent_probe.simulator import bad
from agent_probe.simulator.agents import Agent
from agent_probe.simulator.exporter import Exporter
from agent_probe.simulator.output import CONVERSATIONS, Output, Record
from agent_probe.simulator.process import Process
from agent_probe.simulator.randomness import Draw
from agent_probe.simulator.report import Report
from agent_probe.simulator.session import MS, Rates, Session, SessionPlan
from agent_probe.simulator.slot import Slot, written_steps

SECOND = 1_000_000_000
# A session may be busy for at most this share of the time that its rate gives it: the rest lets it catch up.
_BUSY_SHARE = 0.7
_CALIBRATION_SESSIONS = 60
_LONGEST_START_DELAY = 5 * SECOND
_DUPLICATE_AFTER_MS = (50.0, 2000.0)
_LONGEST_SLEEP = 0.05


@dataclass(frozen=True)
class Plan:
    """What to simulate."""

    seed: str
    agents: tuple[Agent, ...]
    # Spans a second, and sessions at once, of this process.
    rate: float
    sessions: int
    rates: Rates
    duplicate_rate: float
    bad_rate: float
    batch_delay_ms: int
    # How often a process sends metrics; 0 is never.
    metrics_interval_s: float
    # Limits; 0 is none.
    duration_s: float
    total_sessions: int
    spans: int
    # Which worker this is, of how many.
    worker: int = 0
    workers: int = 1


class Actor(Protocol):
    """Somebody who does something at times of its own."""

    def act(self, now_ns: int) -> int | None:
        """Does what is due now; gives the next time, or ``None`` when there is none."""


class _Flush:
    def __init__(self, exporter: Exporter, period_ns: int) -> None:
        self._exporter = exporter
        self._period_ns = period_ns

    def act(self, now_ns: int) -> int | None:
        self._exporter.flush(now_ns)
        return now_ns + self._period_ns


class _Resend:
    """The same record again, as after a retry."""

    def __init__(self, send: Callable[[Record, int], None], record: Record) -> None:
        self._send = send
        self._record = record

    def act(self, now_ns: int) -> int | None:
        again = self._record
        self._send(Record(again.topic, again.key, again.headers, again.payload, now_ns // MS), now_ns)
        return None


class Simulation:
    """One process's share of the agents."""

    def __init__(self, plan: Plan, outputs: Sequence[Output], report: Report) -> None:
        """Sends to all ``outputs`` and counts into ``report``."""
        self._plan = plan
        self._outputs = outputs
        self.report = report
        self._weights = list(accumulate(agent.weight for agent in plan.agents))
        self._draw = Draw(plan.seed, plan.worker, "records")
        self._heap: list[tuple[int, int, Actor]] = []
        self._order = 0
        self._exporters: dict[tuple[str, int], Exporter] = {}
        self._sessions_left = plan.total_sessions or -1
        self._working = 0
        self._stop = False
        self.speed = self._calibrate()

    def stop(self) -> None:
        """Ends the run at the next span border: open spans are ended, everything is flushed."""
        self._stop = True

    def plan_session(self, *path: object) -> Session:
        """The session that the path stands for."""
        draw = Draw(self._plan.seed, *path)
        return SessionPlan(draw, draw.weighted(self._plan.agents, self._weights), self._plan.rates).plan()

    def _calibrate(self) -> float:
        """By how much latencies must be divided so that so few sessions give so many spans."""
        planned = [self.plan_session("calibration", number) for number in range(_CALIBRATION_SESSIONS)]
        spans = sum(written_steps(session) for session in planned)
        seconds = sum(session.end_ns for session in planned) / SECOND
        per_session = self._plan.rate / self._plan.sessions
        return max(1.0, per_session * seconds / spans / _BUSY_SHARE)

    def run(self, start_ns: int, live: bool, tick: Callable[[int], None]) -> None:
        """Runs to a limit or to :meth:`stop`. ``live`` paces by the wall clock; ``tick`` is called with the time."""
        self._begin(start_ns)
        end_ns = start_ns + int(self._plan.duration_s * SECOND) if self._plan.duration_s else None
        now_ns, steps = start_ns, 0
        while self._heap and self._working and not self._stop:
            due_ns, _, actor = self._heap[0]
            if end_ns is not None and due_ns > end_ns:
                now_ns = end_ns
                if live:
                    self._wait(end_ns, tick)
                break
            if live and not self._wait(due_ns, tick):
                break
            now_ns = due_ns
            heapq.heappop(self._heap)
            following = actor.act(now_ns)
            if following is not None:
                self.schedule(following, actor)
            elif isinstance(actor, Slot):
                self._working -= 1
            steps += 1
            if steps % 256 == 0:
                self._poll()
                tick(now_ns)
            if self._plan.spans and self.report.spans["landed"] >= self._plan.spans:
                break
        # Stopped while waiting: the wall clock has moved on past the last event.
        self._finish(max(now_ns, time.time_ns()) if live else now_ns)

    def _begin(self, start_ns: int) -> None:
        period_ns = self._plan.batch_delay_ms * MS
        instances = [(agent, number) for agent in self._plan.agents for number in range(1, agent.instances + 1)]
        for index, (agent, number) in enumerate(instances):
            name = f"{agent.name}-{self._plan.worker}-{number}"
            exporter = Exporter(agent, name, self._deliver)
            self._exporters[agent.name, number] = exporter
            self.schedule(start_ns + period_ns * (index + 1) // len(instances), _Flush(exporter, period_ns))
            if self._plan.metrics_interval_s and agent.convention != "document":
                self._begin_metrics(exporter, name, start_ns)
        first = self._plan.sessions * self._plan.worker // self._plan.workers
        per_second = self._plan.rate / self._plan.sessions
        mine = range(first, self._plan.sessions * (self._plan.worker + 1) // self._plan.workers)
        for number in mine:
            slot = Slot(self, number, per_second)
            self.schedule(start_ns + slot.delay_ns(_LONGEST_START_DELAY), slot)
        self._working = len(mine)

    def _begin_metrics(self, exporter: Exporter, name: str, start_ns: int) -> None:
        draw = Draw(self._plan.seed, "process", name)
        period_ns = int(self._plan.metrics_interval_s * SECOND)
        process = Process(exporter.resource, draw, period_ns, lambda: exporter.spans, self._send_metrics)
        self.schedule(start_ns + int(draw.uniform(0, 0.2) * period_ns), process)

    def _send_metrics(self, record: Record, points: int) -> None:
        self.report.points["landed"] += points
        self._send(record, 0)

    def schedule(self, time_ns: int, actor: Actor) -> None:
        """Has the actor act at that time. Equal times go in the order of these calls."""
        self._order += 1
        heapq.heappush(self._heap, (time_ns, self._order, actor))

    def take_session(self) -> bool:
        """Whether another session may begin."""
        if self._sessions_left == 0:
            return False
        self._sessions_left -= 1
        return True

    def exporter(self, session: Session) -> Exporter:
        """The exporter of the process that the session runs in."""
        return self._exporters[session.agent.name, session.instance]

    def send_document(self, agent: Agent, key: bytes, payload: bytes, spans: int, now_ns: int) -> None:
        """Sends a session document, keyed by its session."""
        headers = (("content-type", b"application/json"), ("service.name", agent.name.encode()))
        self._deliver(Record(CONVERSATIONS, key, headers, payload, now_ns // MS), spans, now_ns)

    def _deliver(self, record: Record, spans: int, now_ns: int) -> None:
        """Sends a record; now and then the same again a little later, or a bad one after it."""
        self._send(record, now_ns)
        if self._draw.chance(self._plan.duplicate_rate):
            self.report.duplicates["records"] += 1
            self.report.duplicates["spans"] += spans
            self.report.spans["duplicate"] += spans
            later = now_ns + int(self._draw.uniform(*_DUPLICATE_AFTER_MS) * MS)
            self.schedule(later, _Resend(self._send, record))
        if self._draw.chance(self._plan.bad_rate):
            self._send_bad(bad.make(self._draw, now_ns), now_ns)

    def _send_bad(self, made: bad.Bad, now_ns: int) -> None:
        report = self.report
        self._send(made.record, now_ns)
        report.bad_records[made.kind] += 1
        report.spans["landed"] += made.landed
        report.spans["rejected"] += made.rejected
        if made.landed:
            report.by_step_type["act"] += made.landed
            report.by_agent["bad-sender"] += made.landed
            report.by_instrumentation["agent"] += made.landed
        if made.code:
            where = report.rejected_spans if made.unit == "span" else report.rejected_records
            where[made.code] += 1

    def _send(self, record: Record, _now_ns: int) -> None:
        self.report.record(record.topic, record.payload)
        for output in self._outputs:
            output.send(record)

    def _poll(self) -> None:
        for output in self._outputs:
            output.poll()

    def _wait(self, due_ns: int, tick: Callable[[int], None]) -> bool:
        """Sleeps until the time has come; False when it was told to stop."""
        while not self._stop:
            left = (due_ns - time.time_ns()) / SECOND
            if left <= 0:
                self.report.behind_ms = max(self.report.behind_ms, int(-left * 1000))
                return True
            self._poll()
            tick(time.time_ns())
            time.sleep(min(left, _LONGEST_SLEEP))
        return False

    def _finish(self, now_ns: int) -> None:
        """Ends what is open, flushes, and sends the duplicates that are still to come."""
        rest = sorted(self._heap, key=lambda entry: entry[:2])
        self._heap = []
        for _, _, actor in rest:
            if isinstance(actor, Slot):
                actor.cut(now_ns)
        for exporter in self._exporters.values():
            exporter.flush(now_ns)
        resends = [entry for entry in rest if isinstance(entry[2], _Resend)]
        resends += [entry for entry in self._heap if isinstance(entry[2], _Resend)]
        for _, _, actor in resends:
            actor.act(now_ns)
