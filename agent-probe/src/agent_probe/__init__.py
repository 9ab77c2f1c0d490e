"""Records what an agent does, and sends it to Kafka: two lines, and the agent never notices.

::

    import agent_probe
    agent_probe.init(service_name="my-agent")

The simulator of agents for tests is :mod:`agent_probe.simulator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "KafkaMetricExporter",
    "KafkaSpanExporter",
    "Price",
    "Probe",
    "Settings",
    "Step",
    "act",
    "carry",
    "init",
    "instrument",
    "observe",
    "response",
    "session",
    "think",
    "tool",
    "uninstrument",
]

if TYPE_CHECKING:
    from agent_probe.carrying import carry
    from agent_probe.exporter import KafkaMetricExporter, KafkaSpanExporter
    from agent_probe.instrumentation import instrument, uninstrument
    from agent_probe.prices import Price
    from agent_probe.probe import Probe, init
    from agent_probe.settings import Settings
    from agent_probe.step import Step
    from agent_probe.steps import act, observe, response, session, think, tool

_HOME = {
    "KafkaMetricExporter": "exporter",
    "KafkaSpanExporter": "exporter",
    "Price": "prices",
    "Probe": "probe",
    "Settings": "settings",
    "Step": "step",
    "carry": "carrying",
    "init": "probe",
    "instrument": "instrumentation",
    "uninstrument": "instrumentation",
}
_STEPS = ("act", "observe", "response", "session", "think", "tool")


def __getattr__(name: str) -> Any:
    """Loads what is asked for: the simulator, a part of this package, must run without OpenTelemetry."""
    import importlib

    module = "steps" if name in _STEPS else _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
