"""The metrics of simulated processes, read with the official messages."""

from __future__ import annotations

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from agent_probe.simulator import wire
from agent_probe.simulator.output import METRICS, Record
from agent_probe.simulator.process import Process
from agent_probe.simulator.randomness import Draw

_SECOND = 1_000_000_000


def _run(seed: str, times: int) -> tuple[list[Record], list[list[Metric]]]:
    records: list[Record] = []
    counted: list[int] = []

    def send(record: Record, points: int) -> None:
        records.append(record)
        counted.append(points)

    resource = wire.resource([("service.name", "planner"), ("service.instance.id", "i-1")])
    spans = iter(range(0, 1000, 40))
    process = Process(resource, Draw(seed), 10 * _SECOND, lambda: next(spans), send)
    now: int | None = 1_760_000_000 * _SECOND
    for _ in range(times):
        assert now is not None
        now = process.act(now)
    metrics = []
    for record, points in zip(records, counted, strict=True):
        request = ExportMetricsServiceRequest.FromString(record.payload)
        assert request.SerializeToString() == record.payload, "nothing in it is unknown or out of order"
        (of_resource,) = request.resource_metrics
        assert {a.key: a.value.string_value for a in of_resource.resource.attributes} == {
            "service.name": "planner",
            "service.instance.id": "i-1",
        }
        (of_scope,) = of_resource.scope_metrics
        assert of_scope.scope.name == "agent_probe"
        metrics.append(list(of_scope.metrics))
        assert points == sum(len(m.sum.data_points) + len(m.gauge.data_points) for m in of_scope.metrics)
    return records, metrics


def test_a_process_sends_a_counter_that_only_grows_and_gauges_every_period() -> None:
    records, metrics = _run("seed", 5)
    assert {record.topic for record in records} == {METRICS}
    user = []
    for of_record in metrics:
        names = [metric.name for metric in of_record]
        assert names == [
            "process.cpu.time",
            "process.memory.usage",
            "process.thread.count",
            "agent.event_loop.delay",
        ]
        cpu = of_record[0].sum
        assert cpu.is_monotonic
        assert cpu.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        modes = [point.attributes[0].value.string_value for point in cpu.data_points]
        assert modes == ["user", "system"]
        assert {point.start_time_unix_nano for point in cpu.data_points} == {1_760_000_000 * _SECOND}
        user.append(cpu.data_points[0].as_double)
        assert of_record[1].gauge.data_points[0].as_double > 80e6
    assert user == sorted(user) and len(set(user)) == len(user)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert _run("a", 3)[0] == _run("a", 3)[0]
    assert _run("a", 3)[0] != _run("b", 3)[0]
