"""``agent-probe tail``: steps as they arrive in Kafka, one line each."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from agent_probe import settings as configuration
from agent_probe.protobuf import WireError
from agent_probe.reading import Seen, spans
from agent_probe.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_RED, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
_KINDS = ("agent.step.type", "openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind")
_INPUTS = ("agent.tool.arguments", "gen_ai.tool.call.arguments", "agent.input", "input.value", "traceloop.entity.input")
_OUTPUTS = ("agent.tool.result", "gen_ai.tool.call.result", "agent.output", "output.value", "traceloop.entity.output")
_TOKENS = (
    ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
    ("llm.token_count.prompt", "llm.token_count.completion"),
)
_ANSWER_SECONDS = 5.0


def _first(span: Seen, keys: tuple[str, ...]) -> str:
    return next((str(span.attributes[key]) for key in keys if span.attributes.get(key) not in (None, "")), "")


def _short(text: str, length: int = 60) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= length else folded[: length - 1] + "…"


def line(span: Seen, color: bool = False) -> str:
    """One step: time, agent, session, type, name, duration, tokens, and what went in and came out or wrong."""
    clock = time.strftime("%H:%M:%S", time.localtime(span.start_ns / 1e9))
    kind = _first(span, _KINDS).lower() or "-"
    duration = f"{(span.end_ns - span.start_ns) / 1e6:,.0f} ms"
    session = _short(_first(span, ("session.id", "gen_ai.conversation.id")), 16) or span.trace_id[:8]
    tokens = ""
    for pair in _TOKENS:
        if pair[0] in span.attributes or pair[1] in span.attributes:
            tokens = f" {span.attributes.get(pair[0], 0)}→{span.attributes.get(pair[1], 0)} tokens"
            break
    if span.failed:
        error = _short(f"{span.attributes.get('error.type') or 'error'}: {span.status_message}", 100)
        told = f"✗ {error}"
    else:
        sides = (_short(_first(span, _INPUTS)), _short(_first(span, _OUTPUTS)))
        told = " → ".join(side for side in sides if side)
    if color:
        clock = f"{_DIM}{clock}{_PLAIN}"
        told = f"{_RED}{told}{_PLAIN}" if span.failed else told
        kind = f"{_GREEN}{kind:9}{_PLAIN}"
    return f"{clock} {span.service} {session} {kind:9} {_short(span.name, 30)} ({duration}{tokens}) {told}".rstrip()


def _consumer(settings: Settings, from_start: bool) -> Consumer:
    from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, TopicPartition

    consumer = Consumer(
        {
            **settings.kafka_config,
            "bootstrap.servers": settings.bootstrap_servers,
            # Never committed to; Kafka's client asks for one.
            "group.id": f"agent-probe-tail-{os.getpid()}",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    topic = consumer.list_topics(settings.spans_topic, timeout=_ANSWER_SECONDS).topics[settings.spans_topic]
    if topic.error is not None:
        consumer.close()
        raise LookupError(topic.error.str())
    offset = OFFSET_BEGINNING if from_start else OFFSET_END
    consumer.assign([TopicPartition(settings.spans_topic, partition, offset) for partition in topic.partitions])
    return consumer


def run(
    bootstrap_servers: str | None = None,
    *,
    agent: str | None = None,
    session: str | None = None,
    from_start: bool = False,
    count: int | None = None,
) -> int:
    """Prints until it is interrupted, or so many steps were shown; returns the exit code."""
    from confluent_kafka import KafkaException

    settings = configuration.load(os.environ, bootstrap_servers=bootstrap_servers)
    try:
        consumer = _consumer(settings, from_start)
    except (KafkaException, LookupError) as error:
        print(
            f"agent-probe: can't read {settings.spans_topic} at {settings.bootstrap_servers}: {error}. "
            "`agent-probe doctor` tells more.",
            file=sys.stderr,
        )
        return 1
    color = sys.stdout.isatty()
    print(f"agent-probe: {settings.spans_topic} at {settings.bootstrap_servers}, until Ctrl-C", file=sys.stderr)
    shown = other = 0
    try:
        while count is None or shown < count:
            message = consumer.poll(0.5)
            if message is None or message.error() is not None:
                continue
            try:
                seen = list(spans(message.value() or b""))
            except WireError:
                other += 1
                continue
            for span in seen:
                if _wanted(span, agent, session) and (count is None or shown < count):
                    print(line(span, color), flush=True)
                    shown += 1
    finally:
        consumer.close()
        if other:
            print(f"agent-probe: {other} records were no OTLP protobuf and were not shown", file=sys.stderr)
    return 0


def _wanted(span: Seen, agent: str | None, session: str | None) -> bool:
    ids: tuple[Any, ...] = (span.attributes.get("session.id"), span.attributes.get("gen_ai.conversation.id"))
    return (agent is None or span.service == agent) and (session is None or session in ids)
