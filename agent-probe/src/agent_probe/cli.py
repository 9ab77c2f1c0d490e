"""``agent-probe doctor`` and ``agent-probe tail``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="agent-probe",
        description="Looks at the way from an agent to Kafka. Settings are those of the environment: AGENT_PROBE_*.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="tell what is wrong with the way to Kafka or the Collector")
    tail = commands.add_parser("tail", help="show steps as they arrive in Kafka")
    for command in (doctor, tail):
        command.add_argument("--kafka", metavar="HOST:PORT", help="bootstrap servers")
    doctor.add_argument("--endpoint", metavar="URL", help="of OTLP over HTTP, in place of Kafka")
    doctor.add_argument(
        "--read-only",
        action="store_true",
        help="write nothing: leaves out the clock and the largest message, for which a topic is made and removed",
    )
    tail.add_argument("--agent", help="only this agent (service.name)")
    tail.add_argument("--session", help="only this session id")
    tail.add_argument("--from-start", action="store_true", help="all that is in the topic, not only what is new")
    tail.add_argument("--count", type=int, metavar="N", help="stop after N steps")
    given = parser.parse_args(arguments)
    try:
        if given.command == "doctor":
            from agent_probe import doctor as examining

            return examining.run(given.kafka, given.endpoint, read_only=given.read_only)
        from agent_probe import tail as tailing

        return tailing.run(
            given.kafka, agent=given.agent, session=given.session, from_start=given.from_start, count=given.count
        )
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
