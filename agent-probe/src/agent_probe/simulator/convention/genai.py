"""OpenTelemetry's GenAI conventions, as ``opentelemetry-util-genai`` 1.3b0 writes them.

Dialect ``anthropic``: ``create_agent`` in a trace of its own, then ``invoke_agent``. Dialect ``workflow``:
``invoke_workflow`` around ``invoke_agent``. Failures are the status and ``error.type``, with no event.
"""

from __future__ import annotations

from agent_probe.simulator import wire
from agent_probe.simulator.convention import Place, Written, body, messages_json
from agent_probe.simulator.session import Message
from agent_probe.simulator.text import to_json

_UNSET = wire.status(wire.UNSET)
_STEP_TYPES = {
    "session": "session",
    "inner": "session",
    "create": "other",
    "think": "think",
    "act": "act",
    "embedding": "embedding",
    "retrieval": "retrieval",
}


def message_parts(message: Message) -> dict[str, object]:
    """A message in the form of ``gen_ai.input.messages``."""
    if message.role == "tool":
        part = {"type": "tool_call_response", "id": message.call_id, "response": message.text}
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, object]] = [{"type": "text", "content": message.text}]
    for call_id, name, arguments in message.calls:
        parts.append({"type": "tool_call", "id": call_id, "name": name, "arguments": arguments})
    if message.role == "assistant":
        finish = "tool_call" if message.calls else "stop"
        return {"role": "assistant", "parts": parts, "finish_reason": finish}
    return {"role": message.role, "parts": parts}


def _instruction(message: Message) -> dict[str, object]:
    """A part of ``gen_ai.system_instructions``."""
    return {"type": "text", "content": message.text}


def write(place: Place) -> Written | None:
    """Spans of the model, of tools and of agents; there is no observe and no response."""
    step_type = _STEP_TYPES.get(place.step.kind)
    if step_type is None:
        return None
    pairs, name, kind = _OPERATIONS[place.step.kind](place)
    failure = place.step.failure
    state = _UNSET
    if failure is not None:
        pairs.append(("error.type", failure.type))
        state = wire.status(wire.ERROR, failure.message)
    span = body(place, name, kind, wire.span_attributes(pairs), b"", state)
    step = place.step
    if step_type == "other":
        return Written(span, step_type, False)
    repeats = step.kind in ("think", "embedding") or _repeats_tokens(place)
    return Written(
        span,
        step_type,
        failure is not None,
        step.input_tokens if repeats else 0,
        step.output_tokens if repeats else 0,
    )


def _repeats_tokens(place: Place) -> bool:
    return place.step.kind == "session" and place.session.agent.dialect == "anthropic"


def _chat(place: Place) -> tuple[list[wire.Pair], str, int]:
    step, session = place.step, place.session
    model = session.agent.model
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", model.provider),
        ("gen_ai.request.model", model.name),
        ("server.address", model.host),
        ("server.port", 443),
        ("gen_ai.conversation.id", session.session_id),
        ("gen_ai.request.temperature", 0.2),
        ("gen_ai.request.max_tokens", 4096),
        ("gen_ai.input.messages", messages_json(step.messages[1:], "genai", message_parts)),
        ("gen_ai.system_instructions", messages_json(step.messages[:1], "instructions", _instruction)),
    ]
    if step.reply is not None:
        pairs += (
            ("gen_ai.response.finish_reasons", ["tool_calls" if step.reply.calls else "stop"]),
            ("gen_ai.response.model", model.response_name),
            ("gen_ai.response.id", step.response_id),
            ("gen_ai.usage.input_tokens", step.input_tokens),
            ("gen_ai.usage.output_tokens", step.output_tokens),
            ("gen_ai.output.messages", messages_json((step.reply,), "genai", message_parts)),
        )
        if step.cache_tokens:
            pairs.append(("gen_ai.usage.cache_read.input_tokens", step.cache_tokens))
    return pairs, f"chat {model.name}", wire.CLIENT


def _execute_tool(place: Place) -> tuple[list[wire.Pair], str, int]:
    step = place.step
    assert step.tool is not None
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", step.tool.name),
        ("gen_ai.tool.type", "function"),
        ("gen_ai.tool.call.id", step.call_id),
        ("gen_ai.tool.description", step.tool.about),
        ("gen_ai.tool.call.arguments", step.arguments),
    ]
    if step.failure is None:
        pairs.append(("gen_ai.tool.call.result", step.output))
    return pairs, f"execute_tool {step.tool.name}", wire.INTERNAL


def _invoke(place: Place) -> tuple[list[wire.Pair], str, int]:
    step, session = place.step, place.session
    agent = session.agent
    workflow = step.kind == "session" and agent.dialect == "workflow"
    operation = "invoke_workflow" if workflow else "invoke_agent"
    question, answer = Message("user", step.input), Message("assistant", step.output)
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", operation),
        ("gen_ai.workflow.name" if workflow else "gen_ai.agent.name", agent.name),
        ("gen_ai.conversation.id", session.session_id),
        ("user.id", session.user_id),
        ("gen_ai.input.messages", to_json([message_parts(question)])),
        ("gen_ai.output.messages", to_json([message_parts(answer)])),
    ]
    if not workflow:
        pairs += (
            ("gen_ai.provider.name", agent.model.provider),
            ("gen_ai.request.model", agent.model.name),
            ("gen_ai.agent.id", f"asst_{agent.name}"),
        )
    if _repeats_tokens(place):
        pairs += (
            ("gen_ai.usage.input_tokens", step.input_tokens),
            ("gen_ai.usage.output_tokens", step.output_tokens),
        )
    return pairs, f"{operation} {agent.name}", wire.INTERNAL


def _create(place: Place) -> tuple[list[wire.Pair], str, int]:
    agent = place.session.agent
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", "create_agent"),
        ("gen_ai.provider.name", agent.model.provider),
        ("gen_ai.agent.name", agent.name),
        ("gen_ai.agent.id", f"asst_{agent.name}"),
        ("gen_ai.request.model", agent.model.name),
    ]
    return pairs, f"create_agent {agent.name}", wire.CLIENT


def _embeddings(place: Place) -> tuple[list[wire.Pair], str, int]:
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "text-embedding-3-small"),
        ("gen_ai.embeddings.dimension.count", 1536),
        ("gen_ai.usage.input_tokens", place.step.input_tokens),
    ]
    return pairs, "embeddings text-embedding-3-small", wire.CLIENT


def _retrieval(place: Place) -> tuple[list[wire.Pair], str, int]:
    pairs: list[wire.Pair] = [
        ("gen_ai.operation.name", "retrieval"),
        ("gen_ai.data_source.id", "papers"),
        ("gen_ai.retrieval.query.text", place.step.input),
        ("gen_ai.retrieval.documents", place.step.output),
    ]
    return pairs, "retrieval papers", wire.CLIENT


_OPERATIONS = {
    "session": _invoke,
    "inner": _invoke,
    "create": _create,
    "think": _chat,
    "act": _execute_tool,
    "embedding": _embeddings,
    "retrieval": _retrieval,
}
