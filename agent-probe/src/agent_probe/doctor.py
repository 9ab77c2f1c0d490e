"""``agent-probe doctor``: what is wrong between an agent and where its spans go, in plain words."""

from __future__ import annotations

import email.utils
import http.client
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agent_probe import settings as configuration
from agent_probe.message import CONTENT_TYPE
from agent_probe.settings import Settings
from agent_probe.transport.proxy import route

_ANSWER_SECONDS = 5.0
# The warehouse takes spans of up to a day ahead; windows begin to suffer long before.
MAX_SKEW_SECONDS = 5.0
GOOD, BAD, LEFT_OUT = "ok", "WRONG", "left out"


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: str
    what: str
    # What to do about it, where something is wrong.
    advice: str = ""


def run(bootstrap_servers: str | None = None, endpoint: str | None = None, *, read_only: bool = False) -> int:
    """Prints what it finds; the exit code is 1 where anything is wrong."""
    settings = configuration.load(os.environ, bootstrap_servers=bootstrap_servers, endpoint=endpoint)
    wrong = 0
    for finding in examine(settings, read_only=read_only):
        print(f"{finding.state:>8}  {finding.what}", flush=True)
        if finding.advice:
            print(f"          → {finding.advice}")
        wrong += finding.state == BAD
    print("all is well" if wrong == 0 else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    return 1 if wrong else 0


def examine(settings: Settings, *, read_only: bool = False) -> Iterator[Finding]:
    """The findings, in an order in which each makes sense; ends early where nothing after can be asked."""
    yield from _versions()
    yield _service_name(settings)
    if not settings.enabled:
        yield Finding(BAD, "recording is switched off", "unset AGENT_PROBE_ENABLED and OTEL_SDK_DISABLED")
    yield _spill(settings)
    if settings.kind == "http":
        yield from _http(settings)
    else:
        yield from _kafka(settings, read_only)


def _versions() -> Iterator[Finding]:
    found = []
    for package in ("opentelemetry-sdk", "confluent-kafka"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding(BAD, f"{package} is not installed", f"pip install {package}")
    yield Finding(GOOD, ", ".join(found))


def _service_name(settings: Settings) -> Finding:
    if settings.service_name:
        return Finding(GOOD, f"the service is called {settings.service_name}")
    return Finding(
        GOOD, "no service name in the environment: init(service_name=...) has to give one, else the agent is unknown"
    )


def _spill(settings: Settings) -> Finding:
    root = settings.spill_root()
    if root is None:
        return Finding(GOOD, "no spill file (AGENT_PROBE_SPILL_DIR=off): while Kafka is away, memory is all there is")
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = root / f"doctor-{uuid.uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(
            BAD,
            f"the spill folder {root} can't be written to: {error.strerror or error}",
            "set AGENT_PROBE_SPILL_DIR to a folder that can, or to off",
        )
    left = sum(path.stat().st_size for path in root.rglob("*.spill"))
    waiting = f"; {left:,} bytes wait there to be sent" if left else ""
    return Finding(GOOD, f"the spill folder {root} can be written to{waiting}")


# Kafka.


def _kafka(settings: Settings, read_only: bool) -> Iterator[Finding]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    heard: list[str] = []
    client = {
        **settings.kafka_config,
        "bootstrap.servers": settings.bootstrap_servers,
        "log_level": 0,
        "error_cb": lambda error: heard.append(error.str()),
    }
    try:
        admin = AdminClient(client)
        topics = admin.list_topics(timeout=_ANSWER_SECONDS).topics
    except (KafkaException, ValueError) as error:
        yield _unreachable(settings, heard[-1] if heard else str(error))
        return
    yield Finding(GOOD, f"Kafka answers at {settings.bootstrap_servers}")
    for name, what in ((settings.spans_topic, "spans"), (settings.metrics_topic, "metrics")):
        if name in topics:
            partitions = len(topics[name].partitions)
            yield Finding(GOOD, f"the topic {name} for {what} is there, with {partitions} partitions")
            yield _largest(admin, name, settings)
        else:
            yield Finding(
                BAD,
                f"there is no topic {name} for {what}",
                "`stream-job run` makes it, or: kafka-topics.sh --create --topic "
                f"{name} --partitions 6 --config max.message.bytes=8388608",
            )
    if read_only:
        yield Finding(LEFT_OUT, "writing, the largest message, and the clock (--read-only)")
    else:
        yield from _written(admin, client, settings)


def _unreachable(settings: Settings, reason: str) -> Finding:
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        except ValueError:
            return Finding(BAD, f"{server!r} is no address", "AGENT_PROBE_BOOTSTRAP_SERVERS is HOST:PORT,HOST:PORT")
        except socket.gaierror:
            return Finding(
                BAD, f"there is no host {host!r}", "correct AGENT_PROBE_BOOTSTRAP_SERVERS, or the name server"
            )
        except OSError as error:
            return Finding(
                BAD,
                f"nothing answers at {server}: {error.strerror or error}",
                "is Kafka running, is the port right, is there a firewall or a container's network between?",
            )
    return Finding(
        BAD,
        f"something listens at {settings.bootstrap_servers}, but it does not answer as Kafka does: {reason}",
        "does it want TLS or a password (AGENT_PROBE_KAFKA_CONFIG), and does it advertise an address that this "
        "machine reaches (advertised.listeners)?",
    )


def _largest(admin: Any, topic: str, settings: Settings) -> Finding:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

    try:
        asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=_ANSWER_SECONDS)
        (future,) = asked.values()
        limit = int(future.result(timeout=_ANSWER_SECONDS)["max.message.bytes"].value)
    except (KafkaException, KeyError, ValueError, TypeError) as error:
        return Finding(LEFT_OUT, f"the largest message of {topic}: Kafka does not tell ({error})")
    if limit < settings.max_message_bytes:
        return Finding(
            BAD,
            f"{topic} takes messages of up to {limit:,} bytes, the probe makes them up to "
            f"{settings.max_message_bytes:,}: large ones will be refused",
            f"set AGENT_PROBE_MAX_MESSAGE_BYTES={max(limit - 1_000, 10_000)}, or raise the topic's max.message.bytes",
        )
    return Finding(GOOD, f"{topic} takes messages of up to {limit:,} bytes, the probe makes none larger than that")


def _written(admin: Any, client: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    """Writes to a topic of its own, in which Kafka notes its own clock, and removes it."""
    from confluent_kafka import KafkaException
    from confluent_kafka.cimpl import NewTopic

    name = f"agent-probe-doctor-{uuid.uuid4().hex[:12]}"
    stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 << 20)}
    try:
        (future,) = admin.create_topics(
            [NewTopic(name, 1, -1, config=stamped)], request_timeout=_ANSWER_SECONDS
        ).values()
        future.result(timeout=2 * _ANSWER_SECONDS)
    except KafkaException as error:
        yield Finding(LEFT_OUT, f"writing and the clock: no topic for it may be made here ({error.args[0].str()})")
        return
    try:
        yield from _produced(name, client, settings)
    finally:
        for future in admin.delete_topics([name], request_timeout=_ANSWER_SECONDS).values():
            # It would be removed by hand otherwise: told, not raised.
            try:
                future.result(timeout=2 * _ANSWER_SECONDS)
            except KafkaException as error:
                yield Finding(BAD, f"the doctor's topic {name} stays", f"remove it: {error.args[0].str()}")


def _produced(topic: str, client: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    from confluent_kafka import Producer

    limit = settings.max_message_bytes
    producer = Producer({**client, "acks": "all", "enable.idempotence": True, "message.max.bytes": limit + 65_536})
    answers: list[tuple[str, int, float]] = []

    def delivered(error: Any, message: Any) -> None:
        answers.append((error.str() if error is not None else "", message.timestamp()[1], time.time()))

    # The first one waits for connections and metadata: the second is the one whose time counts.
    for size in (1, 1, limit):
        before = time.time()
        producer.produce(topic, os.urandom(size), on_delivery=delivered)
        if producer.flush(2 * _ANSWER_SECONDS):
            answers.append((f"no acknowledgement within {2 * _ANSWER_SECONDS:.0f} s", 0, time.time()))
        error, stamp, after = answers[-1]
        if size == limit:
            if error:
                yield Finding(
                    BAD,
                    f"a message of {size:,} bytes is refused: {error}",
                    "lower AGENT_PROBE_MAX_MESSAGE_BYTES, or raise the broker's message.max.bytes",
                )
            else:
                yield Finding(GOOD, f"a message of {size:,} bytes, the largest that the probe makes, is taken")
        elif error:
            yield Finding(BAD, f"Kafka does not take a message: {error}", "may this user write there?")
            return
        elif len(answers) == 2:
            yield skew(stamp / 1000, before, after, "Kafka's")


def skew(theirs: float, before: float, after: float, whose: str) -> Finding:
    """Holds a clock against ours: theirs was read between our ``before`` and ``after``, all in seconds since 1970."""
    ahead = before - theirs if theirs < before else after - theirs if theirs > after else 0.0
    if abs(ahead) <= MAX_SKEW_SECONDS:
        return Finding(
            GOOD, f"this machine's clock agrees with {whose} (within {max(after - before, abs(ahead)):.1f} s)"
        )
    return Finding(
        BAD,
        f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {whose}",
        "spans carry this machine's time: let NTP set it, else they land in the wrong windows",
    )


# OTLP over HTTP.


def _http(settings: Settings) -> Iterator[Finding]:
    try:
        way = route(settings.traces_url)
    except ValueError as error:
        yield Finding(BAD, str(error), "correct AGENT_PROBE_ENDPOINT, or the variables of proxies")
        return
    connection = way.connection(_ANSWER_SECONDS)
    before = time.time()
    try:
        # A request without spans: nothing lands anywhere.
        headers = {"content-type": CONTENT_TYPE, **settings.headers, **way.headers}
        connection.request("POST", way.target, b"", headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        hint = (
            "is the Collector running there?" if way.proxy is None else "is it the proxy, or the Collector behind it?"
        )
        yield Finding(BAD, f"nothing answers at {way.place}: {error}", hint)
        return
    finally:
        connection.close()
    after = time.time()
    if 200 <= answer.status < 300:
        yield Finding(GOOD, f"{settings.traces_url} takes OTLP")
    else:
        hints = {
            401: "AGENT_PROBE_HEADERS has to carry what it asks for",
            403: "AGENT_PROBE_HEADERS has to carry what it asks for",
            404: "is the path right? The endpoint is given without /v1/traces",
            413: "lower AGENT_PROBE_MAX_MESSAGE_BYTES",
        }
        advice = hints.get(answer.status, "see the Collector's log")
        yield Finding(BAD, f"{settings.traces_url} answers {answer.status} {answer.reason}", advice)
    told = answer.getheader("date")
    if told is not None:
        # It tells whole seconds, cut off.
        theirs = email.utils.parsedate_to_datetime(told).timestamp()
        yield skew(theirs, before - 1.0, after, "the Collector's")
