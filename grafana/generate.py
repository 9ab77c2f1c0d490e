"""Writes the dashboards and alert rules that Grafana reads: `python3 grafana/generate.py`; `--check` compares only.

The results are kept in the repository: Grafana and the image need no Python then, anybody can import one by hand, and a
change is seen where it is reviewed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from boards import alerts, overview, pipeline, resources, session, steps, users

HERE = Path(__file__).resolve().parent
DASHBOARDS = [overview, session, steps, users, pipeline, resources]


def generated() -> dict[Path, dict[str, Any]]:
    """Every generated file and what it must hold."""
    boards = [module.dashboard() for module in DASHBOARDS]
    files = {HERE / "dashboards" / f"{board.uid}.json": board.to_json() for board in boards}
    files[HERE / "provisioning" / "alerting" / "spanflow.json"] = alerts.rules()
    return files


def main() -> int:
    """0 when all files are written, or with --check when all are as they must be."""
    parser = argparse.ArgumentParser(description="Writes Grafana's dashboards and alert rules.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not what it must be")
    check = parser.parse_args().check
    files = generated()
    stale = [path for path in (HERE / "dashboards").glob("*.json") if path not in files]
    for path, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        said = "is not what it must be: run python3 grafana/generate.py" if check else "written"
        print(f"{path.relative_to(HERE.parent)}: {said if path in files else 'no dashboard of this name: delete it'}")
    return 1 if stale and (check or any(path not in files for path in stale)) else 0


if __name__ == "__main__":
    sys.exit(main())
