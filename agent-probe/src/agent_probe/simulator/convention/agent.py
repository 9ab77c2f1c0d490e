"""The probe's own convention: ``agent.*``, with ``gen_ai.*`` for what that names already."""

from __future__ import annotations

from agent_probe.simulator import wire
from agent_probe.simulator.convention import Place, Written, body, exception, messages_json
from agent_probe.simulator.convention.genai import message_parts

_STATE_OK = wire.status(wire.OK)


def write(place: Place) -> Written | None:
    """Every step is a span, observe and response too."""
    step, session = place.step, place.session
    agent = session.agent
    pairs: list[wire.Pair] = [
        ("agent.step.type", step.kind),
        ("agent.step.number", step.number),
        ("agent.name", agent.name),
        ("session.id", session.session_id),
        ("user.id", session.user_id),
        ("gen_ai.conversation.id", session.conversation_id),
    ]
    name = step.kind
    cost = tokens_in = tokens_out = 0
    if step.kind == "think":
        name = f"think {agent.model.name}"
        tokens_in, tokens_out, cost = step.input_tokens, step.output_tokens, step.cost_nanousd
        pairs += (
            ("gen_ai.provider.name", agent.model.provider),
            ("gen_ai.request.model", agent.model.name),
            ("gen_ai.input.messages", messages_json(step.messages, "genai", message_parts)),
        )
        if step.reply is not None:
            pairs += (
                ("gen_ai.response.model", agent.model.response_name),
                ("gen_ai.usage.input_tokens", tokens_in),
                ("gen_ai.usage.output_tokens", tokens_out),
                ("agent.cost_usd", cost / 1e9),
                ("gen_ai.output.messages", messages_json((step.reply,), "genai", message_parts)),
            )
    elif step.kind == "act" and step.tool is not None:
        name = f"act {step.tool.name}"
        pairs += (
            ("gen_ai.tool.name", step.tool.name),
            ("gen_ai.tool.call.id", step.call_id),
            ("gen_ai.tool.call.arguments", step.arguments),
        )
        if step.failure is None:
            pairs.append(("gen_ai.tool.call.result", step.output))
    elif step.kind == "observe" and step.tool is not None:
        pairs += (("gen_ai.tool.name", step.tool.name), ("agent.output", step.output))
    elif step.kind == "response":
        pairs.append(("agent.output", step.output))
    else:
        pairs += (("agent.input", step.input), ("agent.output", step.output))
    failure = step.failure
    state = _STATE_OK
    if failure is not None:
        pairs.append(("error.type", failure.type))
        state = wire.status(wire.ERROR, failure.message)
    kind = wire.CLIENT if step.kind == "think" else wire.INTERNAL
    span = body(place, name, kind, wire.span_attributes(pairs), exception(place), state)
    return Written(span, step.kind, failure is not None, tokens_in, tokens_out, cost)
