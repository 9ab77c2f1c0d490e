"""OpenLLMetry: dialect ``sdk`` as ``traceloop-sdk`` 0.62.4 writes it, dialect ``old`` as 0.33 did.

The old one has ``gen_ai.prompt.N.*`` instead of ``gen_ai.input.messages``, ``prompt_tokens`` instead of
``input_tokens``, and ``llm.request.type`` instead of ``gen_ai.operation.name``.
"""

from __future__ import annotations

from agent_probe.simulator import wire
from agent_probe.simulator.convention import Place, Written, body, exception, messages_json
from agent_probe.simulator.convention.genai import message_parts
from agent_probe.simulator.text import to_json

_UNSET, _OK = wire.status(wire.UNSET), wire.status(wire.OK)
_STEP_TYPES = {"session": "session", "inner": "session", "chain": "chain", "think": "think", "act": "act"}
_ENTITY = {"session": "workflow", "inner": "agent", "chain": "task", "act": "tool"}


def write(place: Place) -> Written | None:
    """Spans by ``traceloop.span.kind``, and the model's by operation; there is no observe and no response."""
    step, session = place.step, place.session
    step_type = _STEP_TYPES.get(step.kind)
    if step_type is None:
        return None
    properties = "traceloop.association.properties"
    pairs: list[wire.Pair] = [
        ("traceloop.workflow.name", session.agent.name),
        (f"{properties}.session_id", session.session_id),
        (f"{properties}.user_id", session.user_id),
    ]
    failure = step.failure
    state = _UNSET
    if step.kind == "think":
        name, kind = "openai.chat", wire.CLIENT
        (_chat_old if session.agent.dialect == "old" else _chat)(place, pairs)
        state = _OK if failure is None else state
    else:
        name, kind = _entity(place, pairs), wire.INTERNAL
    if failure is not None:
        pairs.append(("error.type", failure.type.rpartition(".")[2]))
        state = wire.status(wire.ERROR, failure.message)
    span = body(place, name, kind, wire.span_attributes(pairs), exception(place), state)
    counted = step.kind == "think"
    return Written(
        span, step_type, failure is not None, step.input_tokens if counted else 0, step.output_tokens if counted else 0
    )


def _entity(place: Place, pairs: list[wire.Pair]) -> str:
    """What the decorators ``@workflow``, ``@agent``, ``@task`` and ``@tool`` write."""
    step, agent = place.step, place.session.agent
    kind = _ENTITY[step.kind]
    name = agent.name if step.tool is None else step.tool.name
    name = "react_loop" if step.kind == "chain" else name
    if step.tool is not None:
        given = f'{{"args": [], "kwargs": {step.arguments}}}'
        pairs.append(("gen_ai.tool.name", name))
    else:
        given = to_json({"args": [step.input], "kwargs": {}})
    pairs += (
        ("traceloop.span.kind", kind),
        ("traceloop.entity.name", name),
        ("traceloop.entity.input", given),
    )
    if kind == "agent":
        pairs.append(("gen_ai.agent.name", name))
    if kind in ("task", "tool"):
        pairs.append(("traceloop.entity.path", name))
    if step.failure is None:
        pairs.append(("traceloop.entity.output", to_json(step.output)))
    return f"{name}.{kind}"


def _chat(place: Place, pairs: list[wire.Pair]) -> None:
    step, model = place.step, place.session.agent.model
    pairs += (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", model.provider),
        ("gen_ai.request.model", model.name),
        ("gen_ai.request.temperature", 0.2),
        ("gen_ai.is_streaming", False),
        ("gen_ai.openai.api_base", f"https://{model.host}/v1/"),
        ("gen_ai.input.messages", messages_json(step.messages, "genai", message_parts)),
    )
    if step.reply is not None:
        pairs += (
            ("gen_ai.response.model", model.response_name),
            ("gen_ai.response.id", step.response_id),
            ("gen_ai.response.finish_reasons", ["tool_call" if step.reply.calls else "stop"]),
            ("gen_ai.usage.total_tokens", step.input_tokens + step.output_tokens),
            ("gen_ai.usage.input_tokens", step.input_tokens),
            ("gen_ai.usage.output_tokens", step.output_tokens),
            ("gen_ai.usage.cache_read.input_tokens", step.cache_tokens),
            ("gen_ai.output.messages", messages_json((step.reply,), "genai", message_parts)),
        )


def _chat_old(place: Place, pairs: list[wire.Pair]) -> None:
    step, model = place.step, place.session.agent.model
    pairs += (
        ("llm.request.type", "chat"),
        ("gen_ai.system", "OpenAI"),
        ("gen_ai.request.model", model.name),
        ("gen_ai.request.temperature", 0.2),
        ("llm.is_streaming", False),
    )
    for index, message in enumerate(step.messages):
        pairs += ((f"gen_ai.prompt.{index}.role", message.role), (f"gen_ai.prompt.{index}.content", message.utf8))
        if message.call_id:
            pairs.append((f"gen_ai.prompt.{index}.tool_call_id", message.call_id))
    if step.reply is not None:
        pairs += (
            ("gen_ai.response.model", model.response_name),
            ("llm.usage.total_tokens", step.input_tokens + step.output_tokens),
            ("gen_ai.usage.completion_tokens", step.output_tokens),
            ("gen_ai.usage.prompt_tokens", step.input_tokens),
            ("gen_ai.completion.0.finish_reason", "tool_calls" if step.reply.calls else "stop"),
            ("gen_ai.completion.0.role", "assistant"),
            ("gen_ai.completion.0.content", step.reply.text),
        )
        for index, (call_id, name, arguments) in enumerate(step.reply.calls):
            call = f"gen_ai.completion.0.tool_calls.{index}"
            pairs += ((f"{call}.id", call_id), (f"{call}.name", name), (f"{call}.arguments", arguments))
