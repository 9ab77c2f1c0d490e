"""``python -m agent_probe.simulator``."""

import sys

from agent_probe.simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
