"""Session documents: JSON with a list of spans, sent at a turn's end and again, longer, at the next turn's."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from agent_probe.simulator.convention import Place, Written
from agent_probe.simulator.text import to_json

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHINA = timezone(timedelta(hours=8))
_KINDS = ("think", "act", "observe", "response")


def _iso(time_ns: int, zone: timezone) -> str:
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    text = moment.astimezone(zone).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def entry(place: Place) -> tuple[dict[str, Any], Written] | None:
    """One span of a document, or nothing for a step that documents do not have."""
    step = place.step
    if step.kind not in _KINDS:
        return None
    act = step.kind == "act"
    attributes: dict[str, Any] = {"step_type": step.kind, "content": step.arguments if act else step.output}
    if step.tool is not None:
        attributes["tool_name"] = step.tool.name
    attributes["status"] = "success" if step.failure is None else "error"
    if step.failure is not None:
        attributes["error_message"] = step.failure.message
    # Some senders write UTC, some their own offset; one conversation keeps to one of them.
    zone = _CHINA if place.session.conversation_id[-1] in "02468ace" else timezone.utc
    prefix = f"t{place.turn.number}"
    before = _previous(place)
    span = {
        "span_id": f"{prefix}-{step.number}",
        "parent_span_id": f"{prefix}-{before}" if before else None,
        "name": f"{step.kind}:{step.tool.name}" if step.tool is not None else step.kind,
        "start_time": _iso(place.start_ns, zone),
        "end_time": _iso(place.end_ns, zone),
        "duration_ms": round((place.end_ns // 1000 - place.start_ns // 1000) / 1000, 3),
        "attributes": attributes,
    }
    return span, Written(b"", step.kind, step.failure is not None)


def _previous(place: Place) -> int:
    """The think step that led to this one, 0 where there is none."""
    if place.step.kind in ("think", "response"):
        return 0
    for step in reversed(place.turn.steps[: place.step.number]):
        if step.kind == "think":
            return step.number
    return 0


def render(place: Place, spans: list[dict[str, Any]]) -> bytes:
    """The whole document, as UTF-8."""
    session = place.session
    document = {
        "session_id": session.session_id,
        "conversation_id": session.conversation_id,
        "user_id": session.user_id,
        "timestamp": _iso(place.end_ns, timezone.utc),
        "spans": spans,
    }
    return to_json(document).encode()
