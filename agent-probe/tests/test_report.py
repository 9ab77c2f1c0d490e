from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from agent_probe.simulator import workers
from agent_probe.simulator.report import Report
from conftest import Run
from recorded import Sent, read, record, spans_of

_OPENINFERENCE = {
    "AGENT": "session",
    "LLM": "think",
    "TOOL": "act",
    "EMBEDDING": "embedding",
    "RETRIEVER": "retrieval",
    "RERANKER": "rerank",
    "GUARDRAIL": "guardrail",
}
_GENAI = {
    "chat": "think",
    "execute_tool": "act",
    "invoke_agent": "session",
    "invoke_workflow": "session",
    "create_agent": "other",
    "embeddings": "embedding",
    "retrieval": "retrieval",
}
_OPENLLMETRY = {"workflow": "session", "agent": "session", "task": "chain", "tool": "act"}


def step_type(sent: Sent) -> str:
    """The step type that the contract's table gives, from the attributes alone."""
    given = sent.attributes
    if "agent.step.type" in given:
        return str(given["agent.step.type"])
    if "openinference.span.kind" in given:
        kind = given["openinference.span.kind"]
        if kind == "CHAIN":
            return "chain" if sent.span.parent_span_id else "session"
        return _OPENINFERENCE[kind]
    if "gen_ai.operation.name" in given:
        return _GENAI[given["gen_ai.operation.name"]]
    if given.get("llm.request.type") == "chat":
        return "think"
    return _OPENLLMETRY[given["traceloop.span.kind"]]


def _documents(run: Run) -> dict[tuple[str, str], dict[str, str]]:
    """Distinct spans of all documents: attributes by session and span id."""
    out = {}
    for one in run.records:
        if one.topic == "agent.conversations":
            document = json.loads(one.payload)
            for span in document["spans"]:
                out[document["session_id"], span["span_id"]] = span["attributes"]
    return out


def test_spans_by_step_type_equal_what_was_written(run: Run) -> None:
    counted = Counter(step_type(sent) for sent in run.spans)
    counted.update(attributes["step_type"] for attributes in _documents(run).values())
    assert dict(counted) == run.report["spans"]["by_step_type"]
    assert sum(counted.values()) == run.report["expected"]["spans_landed"]


def test_landed_and_duplicate_spans_add_up_to_all_that_was_sent(run: Run) -> None:
    written = len(spans_of(run.records))
    written += sum(len(json.loads(one.payload)["spans"]) for one in run.records if one.topic == "agent.conversations")
    expected = run.report["expected"]
    assert written == run.report["spans"]["total"] == expected["spans_landed"] + expected["spans_duplicate"]


def test_no_span_comes_twice_but_in_duplicate_records(run: Run) -> None:
    ids = Counter((sent.trace, sent.span.span_id) for sent in run.spans)
    assert max(ids.values()) == 1


def test_records_by_topic_equal_what_was_written(run: Run) -> None:
    assert run.report["records"]["by_topic"] == dict(Counter(one.topic for one in run.records))
    assert run.report["expected"]["records"] == len(run.records)
    sizes: Counter[str] = Counter()
    for one in run.records:
        sizes[one.topic] += len(one.payload)
    assert run.report["payload_bytes"] == dict(sizes)


def test_duplicate_records_are_counted_with_their_spans(run: Run) -> None:
    copies = len(run.records) - len(run.first_records)
    assert copies == run.report["duplicates"]["records"] > 10
    seen: set[tuple[str, bytes]] = set()
    spans = 0
    for one in sorted(run.records, key=lambda one: one.timestamp_ms):
        if (one.topic, one.payload) in seen:
            document = one.topic == "agent.conversations"
            spans += len(json.loads(one.payload)["spans"]) if document else len(spans_of([one]))
        seen.add((one.topic, one.payload))
    assert spans == run.report["duplicates"]["spans"]


def test_errors_equal_the_statuses_written(run: Run) -> None:
    errors = Counter(step_type(one) for one in run.spans if one.span.status.code == Status.STATUS_CODE_ERROR)
    errors.update(one["step_type"] for one in _documents(run).values() if one["status"] == "error")
    assert dict(errors) == run.report["spans"]["errors_by_step_type"]
    assert sum(errors.values()) == run.report["spans"]["errors"]
    assert errors["think"] > 10
    assert errors["act"] > 10


def test_tokens_of_think_equal_the_attributes_written(run: Run) -> None:
    names_in = ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens")
    names_out = ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens")
    for direction, names in (("input", names_in), ("output", names_out)):
        tokens: Counter[str] = Counter()
        for sent in run.spans:
            tokens[step_type(sent)] += sum(sent.attributes.get(name, 0) for name in names)
        written = {kind: count for kind, count in tokens.items() if count}
        assert written == run.report["tokens"][direction]
        assert written["session"] > 0, "some roots repeat their children's totals"


def test_cost_equals_the_attributes_written(run: Run) -> None:
    names = ("agent.cost_usd", "llm.cost.total")
    cost = sum(round(sent.attributes.get(name, 0.0) * 1e9) for sent in run.spans for name in names)
    assert cost == run.report["cost_nanousd"] > 0


def test_orphans_are_spans_whose_parent_was_never_sent(run: Run) -> None:
    ids = {(sent.trace, sent.span.span_id) for sent in run.spans}
    orphans = sum(1 for one in run.spans if one.span.parent_span_id and (one.trace, one.span.parent_span_id) not in ids)
    assert orphans == run.report["spans"]["orphans"] > 0


def test_traces_and_sessions_equal_what_was_written(run: Run) -> None:
    traces = {sent.trace for sent in run.spans} | {session for session, _ in _documents(run)}
    assert len(traces) == run.report["traces"]
    assert run.report["sessions"] == {"started": 240, "finished": 240, "cut": 0}


def test_documents_come_again_longer_with_the_same_spans(run: Run) -> None:
    versions: dict[str, list[list[object]]] = {}
    for one in sorted(run.first_records, key=lambda one: one.timestamp_ms):
        if one.topic == "agent.conversations":
            document = json.loads(one.payload)
            versions.setdefault(document["session_id"], []).append(document["spans"])
    grown = 0
    for sent in versions.values():
        for earlier, later in itertools.pairwise(sent):
            assert later[: len(earlier)] == earlier
            assert len(later) > len(earlier)
            grown += 1
    assert grown == run.report["documents"]["grown"] > 0
    assert sum(len(sent) for sent in versions.values()) == run.report["documents"]["sent"]


def test_a_run_that_is_cut_ends_the_open_parents(tmp_path: Path) -> None:
    report = record(tmp_path, "--spans", "1500", "--sessions", "40", "--rate", "200", "--orphan-rate", "0")
    assert report["sessions"]["cut"] > 10
    spans = spans_of(read(tmp_path / "recording"))
    ids = {(sent.trace, sent.span.span_id) for sent in spans}
    assert all(not one.span.parent_span_id or (one.trace, one.span.parent_span_id) in ids for one in spans)
    assert report["spans"]["orphans"] == 0
    assert 1500 <= report["expected"]["spans_landed"] <= 1500 + 3 * 40 + 10


def test_duration_bounds_the_simulated_time(tmp_path: Path) -> None:
    record(tmp_path, "--duration", "20", "--sessions", "50", "--rate", "100")
    times = [one.timestamp_ms for one in read(tmp_path / "recording")]
    assert max(times) - min(times) <= 20_000


def test_spans_come_at_the_rate_asked_for(tmp_path: Path) -> None:
    record(tmp_path, "--duration", "60", "--sessions", "100", "--rate", "400")
    spans = spans_of(read(tmp_path / "recording"))
    first = min(sent.span.end_time_unix_nano for sent in spans)
    # After the ramp; documents are not counted here, one span in 20 or so.
    steady = [one for one in spans if 10 <= (one.span.end_time_unix_nano - first) / 1e9 < 50]
    assert 0.85 * 400 * 40 <= len(steady) <= 1.1 * 400 * 40


def test_reports_of_workers_add_up() -> None:
    first, second = Report(), Report()
    first.records["otlp_spans"] = 2
    second.records["otlp_spans"] = 3
    first.loops.append({"session_id": "b"})
    second.loops.append({"session_id": "a"})
    first.behind_ms, second.behind_ms = 5, 9
    total = Report()
    for report in (first, second):
        total.merge(workers.load(json.loads(json.dumps(workers.dump(report)))))
    told = total.to_json()
    assert told["records"]["total"] == 5
    assert [loop["session_id"] for loop in told["loops"]] == ["a", "b"]
    assert told["behind_ms"] == 9
    assert sum(workers.share(10, worker, 3) for worker in range(3)) == 10
