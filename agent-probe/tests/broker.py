"""A real Kafka of the tests' own: one node on loopback, from the jars that `dev/fetch.sh kafka` brings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

START_SECONDS = 90.0
MAX_MESSAGE_BYTES = 8 << 20
TOPICS = {"otlp_spans": 6, "otlp_metrics": 3, "agent.conversations": 6}

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
message.max.bytes={max_bytes}
replica.fetch.max.bytes={max_bytes}
"""


def jars() -> Path | None:
    """Where Kafka's jars are; ``None`` where they were not fetched."""
    cache = Path(os.environ.get("SPANFLOW_CACHE") or Path.home() / ".cache/spanflow")
    found = sorted(cache.glob("kafka-[0-9]*/"))
    return found[-1] if found and shutil.which("java") else None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Broker:
    """Starts at once; ``stop`` ends it and removes its data."""

    def __init__(self) -> None:
        found = jars()
        if found is None:
            raise RuntimeError("no Kafka to start: run dev/fetch.sh kafka, with Java 17 or newer")
        self._class_path = f"{found}/*"
        self._folder = Path(tempfile.mkdtemp(prefix="agent-probe-kafka-"))
        self._port, controller = _free_ports(2)
        self._properties = self._folder / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(
                client=self._port, controller=controller, data=self._folder / "data", max_bytes=MAX_MESSAGE_BYTES
            )
        )
        self._java("kafka.tools.StorageTool", "format", "-t", "AgentProbeTestsAAAAAAA", "-c", str(self._properties))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.make_topics(TOPICS)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _command(self, *arguments: str) -> list[str]:
        flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *flags, "-cp", self._class_path, *arguments]

    def _java(self, *arguments: str) -> None:
        subprocess.run(self._command(*arguments), check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        log = (self._folder / "kafka.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties)), stdout=log, stderr=log
            )
        limit = time.monotonic() + START_SECONDS
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        while True:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass
            if time.monotonic() > limit or self._process.poll() is not None:
                raise RuntimeError("Kafka did not start: " + (self._folder / "kafka.log").read_text()[-2000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def make_topics(self, topics: dict[str, int]) -> None:
        for name, partitions in topics.items():
            make_topic(self.address, name, partitions, {"max.message.bytes": str(MAX_MESSAGE_BYTES)})

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def make_topic(address: str, name: str, partitions: int = 3, config: dict[str, str] | None = None) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, partitions, 1, config=config or {})]).values():
        future.result(timeout=30)


def read_topic(address: str, topic: str, seconds: float = 30.0) -> list[tuple[bytes | None, bytes]]:
    """Every record that is in a topic now: key and value, partition by partition, each in order."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "agent-probe-tests", "enable.auto.commit": False})
    try:
        partitions = [
            TopicPartition(topic, one) for one in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        ends = {one.partition: consumer.get_watermark_offsets(one, timeout=10) for one in partitions}
        consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in ends.items()])
        left = sum(high - low for low, high in ends.values())
        found: list[tuple[bytes | None, bytes]] = []
        limit = time.monotonic() + seconds
        while left > 0:
            assert time.monotonic() < limit, f"{left} records of {topic} were not read within {seconds} s"
            for message in consumer.consume(500, timeout=0.5):
                if message.error() is None:
                    value = message.value()
                    found.append((message.key(), value if value is not None else b""))
                    left -= 1
        return found
    finally:
        consumer.close()
