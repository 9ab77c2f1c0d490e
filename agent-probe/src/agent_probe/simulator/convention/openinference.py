"""OpenInference, as ``openinference-instrumentation-langchain`` 0.1.80 and ``-openai`` 0.1.66 write it.

Dialect ``langchain``: an AGENT root with a CHAIN under it, every success an OK. Dialect ``openai``: a CHAIN root, as a
function that somebody decorated, around the spans of the client; ``tool.parameters`` is the tool's schema.
"""

from __future__ import annotations

from agent_probe.simulator import wire
from agent_probe.simulator.convention import Place, Written, body, exception, messages_json
from agent_probe.simulator.session import Message
from agent_probe.simulator.text import to_json

_OK = wire.status(wire.OK)
_KINDS = {
    "session": ("AGENT", "session"),
    "chain": ("CHAIN", "chain"),
    "think": ("LLM", "think"),
    "act": ("TOOL", "act"),
    "embedding": ("EMBEDDING", "embedding"),
    "retrieval": ("RETRIEVER", "retrieval"),
    "rerank": ("RERANKER", "rerank"),
    "guardrail": ("GUARDRAIL", "guardrail"),
}
_TEXT, _JSON = "text/plain", "application/json"


def write(place: Place) -> Written | None:
    """Spans by ``openinference.span.kind``; there is no observe and no response."""
    step, session = place.step, place.session
    if step.kind not in _KINDS:
        return None
    kind, step_type = _KINDS[step.kind]
    langchain = session.agent.dialect == "langchain"
    if step.kind == "session" and not langchain:
        kind = "CHAIN"
    pairs: list[wire.Pair] = [
        ("openinference.span.kind", kind),
        ("session.id", session.session_id),
        ("user.id", session.user_id),
    ]
    name = _NAMES[step.kind](place, pairs)
    failure = step.failure
    state = _OK if failure is None else wire.status(wire.ERROR, f"{failure.type}: {failure.message}")
    span = body(place, name, wire.INTERNAL, wire.span_attributes(pairs), exception(place), state)
    cost = step.cost_nanousd if step.kind == "think" else 0
    counted = step.kind == "think" or (step.kind == "session" and not langchain)
    return Written(
        span,
        step_type,
        failure is not None,
        step.input_tokens if counted else 0,
        step.output_tokens if counted else 0,
        cost,
    )


def _plain(message: Message) -> dict[str, object]:
    """A message as OpenAI's API has it."""
    if message.role == "tool":
        return {"role": "tool", "content": message.text, "tool_call_id": message.call_id}
    plain: dict[str, object] = {"role": message.role, "content": message.text}
    if message.calls:
        plain["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in message.calls
        ]
    return plain


def _message_pairs(prefix: str, message: Message, pairs: list[wire.Pair]) -> None:
    pairs.append((f"{prefix}.message.role", message.role))
    pairs.append((f"{prefix}.message.content", message.utf8))
    if message.call_id:
        pairs.append((f"{prefix}.message.tool_call_id", message.call_id))
    for index, (call_id, name, arguments) in enumerate(message.calls):
        call = f"{prefix}.message.tool_calls.{index}.tool_call"
        pairs += (
            (f"{call}.id", call_id),
            (f"{call}.function.name", name),
            (f"{call}.function.arguments", arguments),
        )


def _llm(place: Place, pairs: list[wire.Pair]) -> str:
    step, agent = place.step, place.session.agent
    pairs += (
        ("input.value", b'{"messages": ' + messages_json(step.messages, "openai", _plain) + b"}"),
        ("input.mime_type", _JSON),
        ("llm.invocation_parameters", to_json({"model": agent.model.name, "temperature": 0.2})),
        ("llm.provider", agent.model.provider),
        ("llm.system", "openai"),
        ("llm.model_name", agent.model.response_name if step.reply else agent.model.name),
    )
    for index, message in enumerate(step.messages):
        _message_pairs(f"llm.input_messages.{index}", message, pairs)
    if step.reply is not None:
        pairs += (
            ("output.value", to_json({"id": step.response_id, "choices": [{"message": _plain(step.reply)}]})),
            ("output.mime_type", _JSON),
            ("llm.token_count.prompt", step.input_tokens),
            ("llm.token_count.completion", step.output_tokens),
            ("llm.token_count.total", step.input_tokens + step.output_tokens),
            ("llm.cost.total", step.cost_nanousd / 1e9),
        )
        if step.cache_tokens:
            pairs.append(("llm.token_count.prompt_details.cache_read", step.cache_tokens))
        _message_pairs("llm.output_messages.0", step.reply, pairs)
    return "ChatOpenAI" if agent.dialect == "langchain" else "ChatCompletion"


def _tool(place: Place, pairs: list[wire.Pair]) -> str:
    step = place.step
    assert step.tool is not None
    pairs += (
        ("tool.name", step.tool.name),
        ("tool.description", step.tool.about),
        ("input.value", step.arguments),
        ("input.mime_type", _JSON),
    )
    if place.session.agent.dialect == "openai":
        properties = {name: {"type": "string"} for name in step.tool.arguments}
        pairs.append(("tool.parameters", to_json({"type": "object", "properties": properties})))
    if step.failure is None:
        pairs += (("output.value", step.output), ("output.mime_type", _JSON if step.output[:1] == "{" else _TEXT))
    return step.tool.name


def _run(place: Place, pairs: list[wire.Pair]) -> str:
    step, agent = place.step, place.session.agent
    pairs += (
        ("input.value", step.input),
        ("input.mime_type", _TEXT),
        ("output.value", step.output),
        ("output.mime_type", _TEXT),
    )
    if step.kind == "chain":
        return "RunnableSequence"
    if agent.dialect == "langchain":
        pairs += (("agent.name", agent.name), ("metadata", to_json({"thread_id": place.session.conversation_id})))
        return "AgentExecutor"
    pairs += (
        ("llm.token_count.prompt", step.input_tokens),
        ("llm.token_count.completion", step.output_tokens),
    )
    return agent.name


def _embedding(place: Place, pairs: list[wire.Pair]) -> str:
    pairs += (
        ("embedding.model_name", "text-embedding-v3"),
        ("embedding.embeddings.0.embedding.text", place.step.input),
        ("input.value", place.step.input),
    )
    return "CreateEmbeddings"


def _retriever(place: Place, pairs: list[wire.Pair]) -> str:
    pairs += (
        ("input.value", place.step.input),
        ("retrieval.documents.0.document.content", place.step.output),
        ("retrieval.documents.0.document.score", 0.87),
        ("output.value", place.step.output),
        ("output.mime_type", _JSON),
    )
    return "VectorStoreRetriever"


def _reranker(place: Place, pairs: list[wire.Pair]) -> str:
    pairs += (
        ("reranker.query", place.step.input),
        ("reranker.model_name", "gte-rerank"),
        ("reranker.top_k", 3),
        ("output.value", place.step.output),
    )
    return "rerank"


def _guardrail(place: Place, pairs: list[wire.Pair]) -> str:
    pairs += (("input.value", place.step.input), ("output.value", "pass"))
    return "guardrail"


_NAMES = {
    "session": _run,
    "chain": _run,
    "think": _llm,
    "act": _tool,
    "embedding": _embedding,
    "retrieval": _retriever,
    "rerank": _reranker,
    "guardrail": _guardrail,
}
