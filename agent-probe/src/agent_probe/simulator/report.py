"""What was sent, and what must therefore land: the numbers that tests hold the warehouse against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agent_probe.simulator.convention import Written


@dataclass
class Report:
    """Counts of one run; :meth:`merge` adds those of several workers."""

    records: Counter[str] = field(default_factory=Counter)
    payload_bytes: Counter[str] = field(default_factory=Counter)
    by_step_type: Counter[str] = field(default_factory=Counter)
    by_agent: Counter[str] = field(default_factory=Counter)
    by_instrumentation: Counter[str] = field(default_factory=Counter)
    errors_by_step_type: Counter[str] = field(default_factory=Counter)
    input_tokens: Counter[str] = field(default_factory=Counter)
    output_tokens: Counter[str] = field(default_factory=Counter)
    # landed, duplicate, rejected, orphans, cost_nanousd.
    spans: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    # landed.
    points: Counter[str] = field(default_factory=Counter)
    bad_records: Counter[str] = field(default_factory=Counter)
    rejected_records: Counter[str] = field(default_factory=Counter)
    rejected_spans: Counter[str] = field(default_factory=Counter)
    # started, finished, cut, traces.
    sessions: Counter[str] = field(default_factory=Counter)
    loops: list[dict[str, Any]] = field(default_factory=list)
    # Largest time by which sending fell behind the wall clock, in ms.
    behind_ms: int = 0

    def span(self, agent: str, convention: str, written: Written) -> None:
        """One span that must land."""
        self.spans["landed"] += 1
        self.spans["cost_nanousd"] += written.cost_nanousd
        self.by_step_type[written.step_type] += 1
        self.by_agent[agent] += 1
        self.by_instrumentation[convention] += 1
        if written.error:
            self.errors_by_step_type[written.step_type] += 1
        if written.input_tokens or written.output_tokens:
            self.input_tokens[written.step_type] += written.input_tokens
            self.output_tokens[written.step_type] += written.output_tokens

    def record(self, topic: str, payload: bytes) -> None:
        """One record handed to the outputs."""
        self.records[topic] += 1
        self.payload_bytes[topic] += len(payload)

    def merge(self, other: Report) -> None:
        """Adds the counts of another worker."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            elif isinstance(mine, list):
                mine.extend(value)
            else:
                setattr(self, name, max(mine, value))

    def to_json(self) -> dict[str, Any]:
        """The report as README.md describes it. Every count is of what was sent, not of what was seen to land."""
        landed, duplicate, rejected = (self.spans[name] for name in ("landed", "duplicate", "rejected"))
        return {
            "records": {"total": sum(self.records.values()), "by_topic": _sorted(self.records)},
            "payload_bytes": _sorted(self.payload_bytes),
            "spans": {
                "total": landed + duplicate + rejected,
                "by_step_type": _sorted(self.by_step_type),
                "by_agent": _sorted(self.by_agent),
                "by_instrumentation": _sorted(self.by_instrumentation),
                "errors": sum(self.errors_by_step_type.values()),
                "errors_by_step_type": _sorted(self.errors_by_step_type),
                "orphans": self.spans["orphans"],
            },
            "tokens": {"input": _sorted(self.input_tokens), "output": _sorted(self.output_tokens)},
            "cost_nanousd": self.spans["cost_nanousd"],
            "duplicates": {"records": self.duplicates["records"], "spans": self.duplicates["spans"]},
            "documents": {"sent": self.documents["sent"], "grown": self.documents["grown"]},
            "bad_records": _sorted(self.bad_records),
            "sessions": {name: self.sessions[name] for name in ("started", "finished", "cut")},
            "traces": self.sessions["traces"],
            "loops": sorted(self.loops, key=lambda loop: str(loop["session_id"])),
            "expected": {
                "records": sum(self.records.values()),
                "spans_landed": landed,
                "spans_duplicate": duplicate,
                "spans_rejected": rejected,
                "points_landed": self.points["landed"],
                "dead_letters": {"record": _sorted(self.rejected_records), "span": _sorted(self.rejected_spans)},
            },
            "behind_ms": self.behind_ms,
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts) if counts[name]}
