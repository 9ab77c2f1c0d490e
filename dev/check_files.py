"""Checks every file that Git tracks: links in Markdown lead somewhere, nothing of one machine is in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent

# Whom a URL in this repository may name: sources of formats and documentation. A package registry or a mirror is
# a choice of the machine that builds, never of a file here.
HOSTS = {
    "apache.org",
    "clickhouse.com",
    "docs.rs",
    "github.com",
    "grafana.com",
    "json.schemastore.org",
    "keepachangelog.com",
    "opentelemetry.io",
    "prometheus.io",
    "protobuf.dev",
    "rust-lang.org",
    "semver.org",
    "w3.org",
}
# RFC 2606 and 6761 keep these for examples and tests.
RESERVED = {"example", "invalid", "localhost", "test"}

URL = re.compile(r"https?://[^\s\"'`<>)\]}|\\,;]+")
LINK = re.compile(r"(?<!\\)!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HOME = re.compile(r"/(?:root|Users/\w+|home/(?!runner\b)[a-z]\w*)/")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LARGEST = 2 << 20
RECORDED = ROOT / "stream-job" / "tests" / "data"


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def check_links(path: Path, text: str) -> list[str]:
    problems = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        goal = (path.parent / unquote(name)).resolve() if name else path
        if not goal.exists():
            problems.append(f"link to {target}: there is no such file")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text()):
            problems.append(f"link to {target}: there is no such heading")
    return problems


def check_hosts(text: str) -> list[str]:
    problems = []
    for url in URL.findall(text):
        if "{" in url or "$" in url:
            continue  # a template: whoever fills it in names the host
        try:
            host = (urlsplit(url).hostname or "").lower()
        except ValueError:
            continue
        labels = host.split(".")
        local = "." not in host or host.startswith("127.") or host == "0.0.0.0"
        example = labels[-1] in RESERVED or (len(labels) > 1 and labels[-2] == "example")
        known = any(host == name or host.endswith("." + name) for name in HOSTS)
        if not (local or example or known):
            problems.append(f"{url}: {host} is not among the hosts that may be named (dev/check_files.py)")
    return problems


def check_machine(text: str) -> list[str]:
    here = [str(ROOT), str(Path.home())]
    problems = [f"the path {place} of this machine" for place in here if len(place) > 5 and place in text]
    problems += [f"the path {found} of one machine" for found in HOME.findall(text)]
    return problems


def check(path: Path) -> list[str]:
    if path.stat().st_size > LARGEST:
        return [f"{path.stat().st_size >> 20} MiB: large files do not belong into the repository"]
    raw = path.read_bytes()
    if b"\0" in raw:
        return []
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return []
    problems = check_machine(text)
    if path.suffix == ".md":
        problems += check_links(path, text)
    # A lock file names what its tool resolved from, in that tool's own words.
    if path.suffix not in {".lock"} and path.name not in {"go.sum", "LICENSE"}:
        problems += check_hosts(text)
    # What a program has written is kept to the byte: its checksum is recorded beside it.
    is_recorded = RECORDED in path.parents
    if text and not text.endswith("\n") and not is_recorded:
        problems.append("no newline at the end")
    return problems


def main() -> int:
    files = tracked()
    problems = [f"{path.relative_to(ROOT)}: {problem}" for path in files for problem in check(path)]
    print("\n".join(problems) if problems else f"   {len(files)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
