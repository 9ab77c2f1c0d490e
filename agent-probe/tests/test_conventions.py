"""Spans carry what the packages of each convention write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from conftest import Run
from recorded import Sent, record, spans_of
from recorded import read as read_recording

KEYS: dict[tuple[str, str], dict[str, Any]] = {
    ("travel-planner", "think"): {
        "agent.step.type": "think",
        "gen_ai.request.model": "qwen-max",
        "session.id": str,
        "user.id": str,
        "gen_ai.usage.input_tokens": int,
        "agent.cost_usd": float,
        "gen_ai.output.messages": str,
    },
    ("travel-planner", "act "): {"gen_ai.tool.name": str, "gen_ai.tool.call.arguments": str},
    ("travel-planner", "response"): {"agent.step.type": "response", "agent.output": str},
    ("support-desk", "ChatOpenAI"): {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini-2024-07-18",
        "llm.token_count.prompt": int,
        "llm.token_count.completion": int,
        "llm.input_messages.0.message.role": "system",
        "session.id": str,
        "llm.output_messages.0.message.content": str,
        "llm.cost.total": float,
        "input.value": str,
    },
    ("support-desk", "AgentExecutor"): {"openinference.span.kind": "AGENT", "input.value": str, "user.id": str},
    ("support-desk", "lookup_order"): {"openinference.span.kind": "TOOL", "tool.name": "lookup_order"},
    ("research-assistant", "chat "): {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.conversation.id": str,
        "gen_ai.usage.output_tokens": int,
        "gen_ai.response.finish_reasons": list,
        "gen_ai.input.messages": str,
    },
    ("research-assistant", "execute_tool "): {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": str},
    ("research-assistant", "create_agent "): {"gen_ai.operation.name": "create_agent", "gen_ai.agent.name": str},
    ("trip-concierge", "invoke_workflow "): {"gen_ai.operation.name": "invoke_workflow"},
    ("code-reviewer", "openai.chat"): {
        "gen_ai.operation.name": "chat",
        "traceloop.association.properties.session_id": str,
        "gen_ai.usage.input_tokens": int,
        "gen_ai.is_streaming": bool,
    },
    ("code-reviewer", "read_file.tool"): {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "read_file",
        "traceloop.entity.input": str,
    },
    ("code-reviewer", "code-reviewer.workflow"): {"traceloop.span.kind": "workflow"},
    ("data-analyst", "openai.chat"): {
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.completion.0.content": str,
        "gen_ai.usage.prompt_tokens": int,
        "llm.usage.total_tokens": int,
    },
}


@pytest.mark.parametrize(("service", "name"), KEYS, ids=lambda value: str(value).strip())
def test_successful_spans_have_the_attributes_of_their_package(run: Run, service: str, name: str) -> None:
    found = [
        sent
        for sent in run.spans
        if sent.service == service
        and sent.span.name.startswith(name)
        and sent.span.status.code != Status.STATUS_CODE_ERROR
    ]
    assert found
    for sent in found:
        for key, wanted in KEYS[service, name].items():
            value = sent.attributes[key]
            assert isinstance(value, wanted) if isinstance(wanted, type) else value == wanted, key


def test_every_payload_is_canonical_protobuf(run: Run) -> None:
    for one in run.records:
        if one.topic == "otlp_spans":
            assert ExportTraceServiceRequest.FromString(one.payload).SerializeToString() == one.payload


def test_probe_records_hold_one_trace_and_are_keyed_by_it(run: Run) -> None:
    probe = {"travel-planner", "ops-runbook"}
    keyed = 0
    mixed: dict[int, set[str]] = {}
    for sent in run.spans:
        if sent.service in probe:
            assert sent.record.key == sent.trace.encode()
            keyed += 1
        else:
            assert sent.record.key is None
            mixed.setdefault(id(sent.record), set()).add(sent.trace)
    assert keyed > 100
    assert any(len(traces) > 1 for traces in mixed.values()), "a batch holds what ended, of any trace"


def test_failures_look_as_each_package_writes_them(run: Run) -> None:
    seen = set()
    for sent in run.spans:
        if sent.span.status.code != Status.STATUS_CODE_ERROR:
            assert "error.type" not in sent.attributes
            continue
        events = [event.name for event in sent.span.events]
        genai = "gen_ai.operation.name" in sent.attributes and "traceloop.workflow.name" not in sent.attributes
        seen.add((sent.service, bool(events)))
        assert sent.span.status.message
        if genai:
            assert events == []
            assert sent.attributes["error.type"]
        else:
            assert events == ["exception"]
    assert len({service for service, _ in seen}) >= 7


def test_success_is_ok_in_some_packages_and_unset_in_others(run: Run) -> None:
    codes: dict[str, set[int]] = {}
    for sent in run.spans:
        if not sent.span.events and "error.type" not in sent.attributes:
            codes.setdefault(sent.service, set()).add(sent.span.status.code)
    assert codes["support-desk"] == {Status.STATUS_CODE_OK}
    assert codes["research-assistant"] == {Status.STATUS_CODE_UNSET}


def test_model_calls_are_client_spans_outside_openinference(run: Run) -> None:
    for sent in run.spans:
        if sent.span.name == "openai.chat" or sent.span.name.startswith("chat "):
            assert sent.span.kind == Span.SPAN_KIND_CLIENT
        if "openinference.span.kind" in sent.attributes:
            assert sent.span.kind == Span.SPAN_KIND_INTERNAL


def test_messages_are_json_that_ends_with_the_newest(run: Run) -> None:
    checked = 0
    for sent in run.spans:
        text = sent.attributes.get("gen_ai.input.messages")
        if text is not None and sent.service == "travel-planner":
            messages = json.loads(text)
            assert messages[0]["role"] == "system"
            assert messages[-1]["role"] in ("user", "tool")
            checked += 1
    assert checked > 50


def test_openai_dialect_gives_the_schema_as_tool_parameters(run: Run) -> None:
    tools = [sent for sent in run.spans if sent.service == "shopping-guide" and "tool.name" in sent.attributes]
    assert tools
    for sent in tools:
        assert "properties" in json.loads(sent.attributes["tool.parameters"])
        assert "properties" not in json.loads(sent.attributes["input.value"])


def test_namespace_is_a_resource_attribute(run: Run) -> None:
    assert {one.resource.get("service.namespace") for one in run.spans if one.service == "ops-runbook"} == {"infra"}


def test_only_the_conventions_asked_for_are_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("genai")
    report = record(folder, "--conventions", "genai", "--spans", "300")
    spans: list[Sent] = spans_of(read_recording(folder / "recording"))
    assert {sent.service for sent in spans} == {"research-assistant", "trip-concierge"}
    assert report["spans"]["by_instrumentation"].keys() == {"genai"}


def test_documents_are_as_the_product_was_asked_to_take_them(run: Run) -> None:
    documents = [one for one in run.records if one.topic == "agent.conversations"]
    assert documents
    for one in documents:
        document = json.loads(one.payload)
        assert document.keys() == {"session_id", "conversation_id", "user_id", "timestamp", "spans"}
        assert one.key == document["session_id"].encode()
        assert one.headers == {"content-type": b"application/json", "service.name": b"jolly-assistant"}
        ids = {span["span_id"] for span in document["spans"]}
        assert len(ids) == len(document["spans"])
        for span in document["spans"]:
            assert span["parent_span_id"] is None or span["parent_span_id"] in ids
            assert span["attributes"]["step_type"] in ("think", "act", "observe", "response")
            assert span["start_time"] <= span["end_time"]
            if span["attributes"]["status"] == "error":
                assert span["attributes"]["error_message"]
