"""Holds the dashboards against the types that Grafana publishes: `python3 grafana/schema/check.py`. npm is needed.

Each dashboard, and the options and fields of each panel, becomes a constant in a TypeScript file that must compile: a
name that Grafana does not know, or a value of a wrong type, is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("SPANFLOW_CACHE") or Path.home() / ".cache" / "spanflow") / "grafana-schema"
TYPES = "./node_modules/@grafana/schema/dist/types"

# Panels whose options Grafana publishes; `traces` takes none that are used here.
KINDS = {
    "bargauge": ("bargauge", ""),
    "heatmap": ("heatmap", "FieldConfig"),
    "nodeGraph": ("nodegraph", ""),
    "stat": ("stat", ""),
    "table": ("table", "FieldConfig"),
    "timeseries": ("timeseries", "FieldConfig"),
}

# What a value looks like in JSON, where an enumeration of strings is a string; and options are merged with defaults.
HEAD = """
import type * as dashboard from "%(types)s/raw/dashboard/x/types.gen";
%(imports)s
type Json<T> = T extends string ? `${T}` : T extends Array<infer E> ? Json<E>[]
    : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
type Part<T> = T extends string ? `${T}` : T extends Array<infer E> ? Part<E>[]
    : T extends object ? { [K in keyof T]?: Part<T[K]> } : T;
"""


def source() -> str:
    """The TypeScript file."""
    imports = "\n".join(
        f'import type * as {kind} from "{TYPES}/raw/composable/{folder}/panelcfg/x/types.gen";'
        for kind, (folder, _) in KINDS.items()
    )
    lines = [HEAD % {"types": TYPES, "imports": imports}]
    for path in sorted((HERE.parent / "dashboards").glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        lines.append(f"// {path.name}")
        for annotation in model["annotations"]["list"]:
            # The published type is that of Grafana's own store of annotations.
            del annotation["target"]
        lines.append(f"({literal(model)}) satisfies Json<dashboard.Dashboard>;")
        for panel in model["panels"]:
            if panel["type"] in KINDS:
                lines += panel_lines(panel)
    return "\n".join(lines) + "\nexport {};\n"


def panel_lines(panel: dict[str, Any]) -> list[str]:
    """Options, the panel's own part of the fields, and the properties that single fields have."""
    kind, (_, fields) = panel["type"], KINDS[panel["type"]]
    lines = [f"// {panel['title']}", f"({literal(panel['options'])}) satisfies Part<{kind}.Options>;"]
    custom = panel["fieldConfig"]["defaults"].get("custom")
    if custom is not None:
        lines.append(f"({literal(custom)}) satisfies Part<{kind}.{fields}>;")
    for override in panel["fieldConfig"]["overrides"]:
        for entry in override["properties"]:
            holder, _, name = entry["id"].rpartition(".")
            owner = f"{kind}.{fields}" if holder else "dashboard.FieldConfig"
            lines.append(f"({literal({name: entry['value']})}) satisfies Part<{owner}>;")
    return lines


def literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main() -> int:
    if shutil.which("npm") is None:
        print("npm is missing: the dashboards can't be held against Grafana's types", file=sys.stderr)
        return 1
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_text(encoding="utf-8")
    mark = CACHE / "installed.json"
    if not mark.exists() or mark.read_text(encoding="utf-8") != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, CACHE)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=CACHE, check=True)
        mark.write_text(lock, encoding="utf-8")
    (CACHE / "dashboards.ts").write_text(source(), encoding="utf-8")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    command = ["node", "node_modules/typescript/bin/tsc", *options, "--moduleResolution", "bundler", "dashboards.ts"]
    return subprocess.run(command, cwd=CACHE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
