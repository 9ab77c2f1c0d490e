"""One of the sessions that run at once: when one ends, the next begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_probe.simulator import document
from agent_probe.simulator.convention import Place, Writer, agent, genai, openinference, openllmetry
from agent_probe.simulator.session import Session, Step, Turn

if TYPE_CHECKING:
    from agent_probe.simulator.engine import Simulation

SECOND = 1_000_000_000
_WRITERS: dict[str, Writer] = {
    "agent": agent.write,
    "openinference": openinference.write,
    "genai": genai.write,
    "openllmetry": openllmetry.write,
}
_CONTAINERS = ("session", "inner", "chain")
# Steps that a convention has no span for.
_UNWRITTEN = {"agent": (), "document": ("session",)}
_NOT_IN_OTEL = ("observe", "response")


def written_steps(session: Session) -> int:
    """How many spans the session will be."""
    left_out = _UNWRITTEN.get(session.agent.convention, _NOT_IN_OTEL)
    return sum(step.kind not in left_out for turn in session.turns for step in turn.steps)


@dataclass(frozen=True)
class _Due:
    """A span that ends, or (``step`` is ``None``) a turn's document."""

    end_ns: int
    start_ns: int
    turn: Turn
    step: Step | None


class Slot:
    """Runs sessions one after the other, so that its spans come at a steady rate."""

    def __init__(self, simulation: Simulation, number: int, spans_per_second: float) -> None:
        """Session ``k`` of slot ``number`` is the same whatever the other slots do."""
        self._simulation = simulation
        self._number = number
        # When the first session began: the slot's rate counts from there.
        self._since_ns = 0
        self._spans_per_second = spans_per_second
        self._session: Session | None = None
        self._due: list[_Due] = []
        self._at = 0
        self._begun = 0
        self._sent = 0
        self._written: set[tuple[bytes, bytes]] = set()
        self._document: list[dict[str, Any]] = []
        self._documents = 0

    def delay_ns(self, longest_ns: int) -> int:
        """When the first session begins after the start: slots do not all begin at once."""
        period_ns = int(25 / self._spans_per_second * SECOND)
        return (self._number * 7919 % 1000) * min(period_ns, longest_ns) // 1000

    def act(self, now_ns: int) -> int | None:
        """Ends the span that is due. Gives the time of the next one, ``None`` when no more sessions may begin."""
        if self._at < len(self._due):
            self._emit(self._due[self._at], now_ns)
            self._at += 1
        else:
            self._end_session()
            if not self._begin(now_ns):
                return None
        if self._at < len(self._due):
            return self._due[self._at].end_ns
        # All has been said; the session stays open until its time is over.
        return max(now_ns, self._earned_ns(self._sent))

    def _earned_ns(self, spans: int) -> int:
        """When so many spans are due at the slot's rate."""
        return self._since_ns + int(spans / self._spans_per_second * SECOND)

    def _begin(self, now_ns: int) -> bool:
        if not self._simulation.take_session():
            return False
        self._session = session = self._simulation.plan_session(self._number, self._begun)
        self._since_ns = self._since_ns or now_ns
        self._begun += 1
        self._at, self._documents = 0, 0
        self._document, self._due = [], []
        self._written.clear()
        speed = self._simulation.speed
        as_document = session.agent.convention == "document"
        # Users take their time, so that the session lasts as long as its spans are due.
        over_ns = self._earned_ns(self._sent + written_steps(session))
        slack_ns = max(0, over_ns - now_ns - int(session.end_ns / speed))
        for index, turn in enumerate(session.turns):
            base_ns = now_ns + slack_ns * index // len(session.turns)
            due = [
                _Due(base_ns + int(step.end_ns / speed), base_ns + int(step.start_ns / speed), turn, step)
                for step in turn.steps
            ]
            # Children end before their parents: where scaling made times equal, the later step goes first.
            due.sort(key=lambda one: (one.end_ns, -one.step.number if one.step else 0))
            self._due += due
            if as_document:
                self._due.append(_Due(due[-1].end_ns, due[-1].end_ns, turn, None))
        self._simulation.report.sessions["started"] += 1
        return True

    def _end_session(self) -> None:
        session, report = self._session, self._simulation.report
        if session is None:
            return
        self._session = None
        report.sessions["finished"] += 1
        if session.loop is not None:
            tool, calls = session.loop
            report.loops.append(
                {"session_id": session.session_id, "agent": session.agent.name, "tool": tool, "calls": calls}
            )

    def _emit(self, due: _Due, now_ns: int) -> None:
        session, turn, step = self._session, due.turn, due.step
        assert session is not None
        if step is None:
            self._send_document(due, now_ns)
            return
        place = Place(session, turn, step, due.start_ns, due.end_ns)
        if session.agent.convention == "document":
            self._collect(place)
        elif not (turn.rootless and step.parent < 0):
            self._write(_WRITERS[session.agent.convention], place, now_ns)

    def _write(self, writer: Writer, place: Place, now_ns: int) -> None:
        written = writer(place)
        if written is None:
            return
        session, turn = place.session, place.turn
        self._count_trace(turn)
        self._written.add((turn.trace_id, place.parent_id))
        self._simulation.exporter(session).add(turn.trace_id, written, now_ns)
        report = self._simulation.report
        report.span(session.agent.name, session.agent.convention, written)
        if turn.rootless and place.step.parent == 0:
            report.spans["orphans"] += 1
        self._sent += 1

    def _count_trace(self, turn: Turn) -> None:
        if (turn.trace_id, b"trace") not in self._written:
            self._written.add((turn.trace_id, b"trace"))
            self._simulation.report.sessions["traces"] += 1

    def _collect(self, place: Place) -> None:
        made = document.entry(place)
        if made is None:
            return
        span, written = made
        self._document.append(span)
        session = place.session
        self._simulation.report.span(session.agent.name, session.agent.convention, written)
        self._sent += 1

    def _send_document(self, due: _Due, now_ns: int) -> None:
        """The whole conversation so far: what an earlier document had comes again."""
        session, report = self._session, self._simulation.report
        assert session is not None
        place = Place(session, due.turn, due.turn.steps[0], due.start_ns, due.end_ns)
        payload = document.render(place, self._document)
        report.documents["sent"] += 1
        if self._documents:
            report.documents["grown"] += 1
            report.spans["duplicate"] += self._documents
        else:
            report.sessions["traces"] += 1
        self._documents = len(self._document)
        key = session.session_id.encode()
        self._simulation.send_document(session.agent, key, payload, len(self._document), now_ns)

    def cut(self, now_ns: int) -> None:
        """Ends the session where it is: open parents of spans that were sent end now, the rest never was."""
        if self._at == len(self._due):
            self._end_session()
        if self._session is None:
            return
        session = self._session
        self._simulation.report.sessions["cut"] += 1
        if session.agent.convention == "document":
            if len(self._document) > self._documents:
                turn = self._due[self._at].turn
                self._send_document(_Due(now_ns, now_ns, turn, None), now_ns)
            return
        for due in self._due[self._at :]:
            step = due.step
            if step is None or step.kind not in _CONTAINERS or (due.turn.rootless and step.parent < 0):
                continue
            if (due.turn.trace_id, step.span_id) in self._written:
                place = Place(session, due.turn, step, due.start_ns, max(due.start_ns, now_ns))
                self._write(_WRITERS[session.agent.convention], place, now_ns)
