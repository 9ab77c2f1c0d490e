"""The probe's settings: arguments of ``init`` over ``AGENT_PROBE_*`` over ``OTEL_*`` over defaults.

A value that makes no sense is told once and left out: a typing mistake must not keep an agent from starting.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import unquote

from agent_probe.sender import MAX_DELAY

logger = logging.getLogger("agent_probe")
T = TypeVar("T")

SPANS_TOPIC = "otlp_spans"
METRICS_TOPIC = "otlp_metrics"


class Overrides(TypedDict, total=False):
    """What ``init`` takes beside the service's name: fields of :class:`Settings`."""

    enabled: bool
    transport: str
    bootstrap_servers: str
    kafka_config: Mapping[str, Any]
    spans_topic: str
    metrics_topic: str
    endpoint: str
    headers: Mapping[str, str]
    http_timeout_ms: int
    delay_ms: int
    queue_spans: int
    queue_bytes: int
    max_message_bytes: int
    exit_timeout_ms: int
    spill_dir: str
    spill_bytes: int
    spill_after_ms: int
    capture_content: bool
    max_content_chars: int
    prices_file: str
    metrics_interval_ms: int
    report_period_ms: int
    handle_sigterm: bool
    carry_into_threads: bool
    instrument: str


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults; :data:`ENVIRONMENT` says what each is called in the environment."""

    service_name: str = ""
    enabled: bool = True
    transport: str = ""
    bootstrap_servers: str = "127.0.0.1:9092"
    kafka_config: Mapping[str, Any] = field(default_factory=dict)
    spans_topic: str = SPANS_TOPIC
    metrics_topic: str = METRICS_TOPIC
    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    http_timeout_ms: int = 2_000
    delay_ms: int = 100
    queue_spans: int = 20_000
    queue_bytes: int = 64 << 20
    max_message_bytes: int = 1_000_000
    exit_timeout_ms: int = 5_000
    spill_dir: str = ""
    spill_bytes: int = 256 << 20
    spill_after_ms: int = 2_000
    capture_content: bool = True
    max_content_chars: int = 32_768
    prices_file: str = ""
    metrics_interval_ms: int = 10_000
    report_period_ms: int = 60_000
    handle_sigterm: bool = True
    carry_into_threads: bool = True
    instrument: str = ""

    @property
    def kind(self) -> str:
        """The transport in effect: ``kafka`` or ``http``."""
        return self.transport or ("http" if self.endpoint else "kafka")

    @property
    def traces_url(self) -> str:
        """Where OTLP over HTTP sends spans."""
        return os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or self.endpoint.rstrip("/") + "/v1/traces"

    @property
    def metrics_url(self) -> str:
        """Where OTLP over HTTP sends metrics."""
        return os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or self.endpoint.rstrip("/") + "/v1/metrics"

    def spill_root(self) -> Path | None:
        """The folder for spill files of this destination, or ``None`` where spilling is off.

        One for each destination: what was meant for one cluster must not be sent to another.
        """
        if self.spill_dir == "off":
            return None
        if self.kind == "kafka":
            destination = f"kafka {self.bootstrap_servers} {self.spans_topic} {self.metrics_topic}"
        else:
            destination = f"http {self.traces_url} {self.metrics_url}"
        place = Path(self.spill_dir) if self.spill_dir else default_spill_dir()
        return place / sha256(destination.encode()).hexdigest()[:12]


def default_spill_dir() -> Path:
    """Under the user's state folder, or the temporary folder where there is no home to write to."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path("~/.local/state").expanduser()
    nearest = next((place for place in (base, *base.parents) if place.exists()), base)
    if os.access(nearest, os.W_OK):
        return base / "agent-probe"
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"agent-probe-{user}"


def _flag(text: str) -> bool:
    folded = text.strip().lower()
    if folded in ("1", "true", "yes", "on"):
        return True
    if folded in ("0", "false", "no", "off"):
        return False
    raise ValueError("neither true nor false")


def _pairs(text: str) -> dict[str, str]:
    """JSON, or ``key=value`` with commas between, as ``OTEL_EXPORTER_OTLP_HEADERS`` has it."""
    if text.lstrip().startswith("{"):
        loaded = json.loads(text)
        if not isinstance(loaded, dict):
            raise ValueError("no JSON object")
        return loaded
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"no '=' in {pair!r}")
        found[key.strip()] = value.strip()
    return found


def _headers(text: str) -> dict[str, str]:
    """As :func:`_pairs`; in a list, ``%2C`` and the like stand for what has no place there."""
    pairs = _pairs(text)
    return pairs if text.lstrip().startswith("{") else {unquote(key): unquote(value) for key, value in pairs.items()}


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"not one of {', '.join(allowed)}")
        return text

    return read


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError(f"less than {least}")
        return number

    return read


# Of each field: its variables, the first that is set counts, and how its text is read.
ENVIRONMENT: dict[str, tuple[tuple[str, ...], Callable[[str], Any]]] = {
    "service_name": (("AGENT_PROBE_SERVICE_NAME", "OTEL_SERVICE_NAME"), str),
    "enabled": (("AGENT_PROBE_ENABLED",), _flag),
    "transport": (("AGENT_PROBE_TRANSPORT",), _one_of("kafka", "http")),
    "bootstrap_servers": (("AGENT_PROBE_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"), str),
    "kafka_config": (("AGENT_PROBE_KAFKA_CONFIG",), _pairs),
    "spans_topic": (("AGENT_PROBE_SPANS_TOPIC",), str),
    "metrics_topic": (("AGENT_PROBE_METRICS_TOPIC",), str),
    "endpoint": (("AGENT_PROBE_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"), str),
    "headers": (("AGENT_PROBE_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"), _headers),
    "http_timeout_ms": (("AGENT_PROBE_HTTP_TIMEOUT_MS", "OTEL_EXPORTER_OTLP_TIMEOUT"), _at_least(1)),
    "delay_ms": (("AGENT_PROBE_DELAY_MS", "OTEL_BSP_SCHEDULE_DELAY"), _at_least(0)),
    "queue_spans": (("AGENT_PROBE_QUEUE_SPANS", "OTEL_BSP_MAX_QUEUE_SIZE"), _at_least(1)),
    "queue_bytes": (("AGENT_PROBE_QUEUE_BYTES",), _at_least(1)),
    "max_message_bytes": (("AGENT_PROBE_MAX_MESSAGE_BYTES",), _at_least(10_000)),
    "exit_timeout_ms": (("AGENT_PROBE_EXIT_TIMEOUT_MS",), _at_least(0)),
    "spill_dir": (("AGENT_PROBE_SPILL_DIR",), str),
    "spill_bytes": (("AGENT_PROBE_SPILL_BYTES",), _at_least(0)),
    "spill_after_ms": (("AGENT_PROBE_SPILL_AFTER_MS",), _at_least(1)),
    "capture_content": (("AGENT_PROBE_CAPTURE_CONTENT", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"), _flag),
    "max_content_chars": (("AGENT_PROBE_MAX_CONTENT_CHARS",), _at_least(0)),
    "prices_file": (("AGENT_PROBE_PRICES",), str),
    "metrics_interval_ms": (("AGENT_PROBE_METRICS_INTERVAL_MS", "OTEL_METRIC_EXPORT_INTERVAL"), _at_least(0)),
    "report_period_ms": (("AGENT_PROBE_REPORT_PERIOD_MS",), _at_least(100)),
    "handle_sigterm": (("AGENT_PROBE_HANDLE_SIGTERM",), _flag),
    "carry_into_threads": (("AGENT_PROBE_CARRY_INTO_THREADS",), _flag),
    "instrument": (("AGENT_PROBE_INSTRUMENT",), str),
}


def load(environment: Mapping[str, str], **given: Any) -> Settings:
    """The settings in effect; ``given`` are those of the call, ``None`` for none. ``TypeError`` for an unknown one."""
    known = {one.name for one in fields(Settings)}
    unknown = set(given) - known
    if unknown:
        raise TypeError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for name, (variables, read) in ENVIRONMENT.items():
        for variable in variables:
            text = environment.get(variable)
            if text is None or text == "":
                continue
            try:
                values[name] = read(text)
            except (ValueError, TypeError) as error:
                logger.warning("agent-probe leaves out %s=%r: %s", variable, text, error)
                continue
            break
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        values["enabled"] = False
    if "bootstrap_servers" in values and "transport" not in values and _named(environment, "bootstrap_servers"):
        values["transport"] = "kafka"
    if "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in environment and "endpoint" not in values:
        values["endpoint"] = environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].removesuffix("/v1/traces")
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            chosen[name] = value if isinstance(value, Mapping) else ENVIRONMENT[name][1](str(value))
        except (ValueError, TypeError) as error:
            logger.warning("agent-probe leaves out %s=%r: %s", name, value, error)
    if "transport" not in chosen:
        # An address given in the call says which transport is meant.
        if chosen.get("bootstrap_servers"):
            chosen["transport"] = "kafka"
        elif chosen.get("endpoint"):
            chosen["transport"] = "http"
    settings = replace(Settings(), **{**values, **chosen})
    return replace(settings, delay_ms=min(settings.delay_ms, int(MAX_DELAY * 1000)))


def _named(environment: Mapping[str, str], name: str) -> bool:
    return bool(environment.get(ENVIRONMENT[name][0][0]))
