#!/usr/bin/env bash
# Prints the folder of a Python environment with what dev/requirements-dev.txt pins, and makes it if it is not there.
# It is kept in $SPANFLOW_CACHE (~/.cache/spanflow) under a name that changes with the pins and the Python version.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=dev/requirements-dev.txt
python=${PYTHON:-python3}
cache=${SPANFLOW_CACHE:-${HOME:?set SPANFLOW_CACHE to a folder for downloads}/.cache/spanflow}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "$("$python" --version) is too old: Python 3.10 or newer is needed; name one as PYTHON=python3.12" >&2
    exit 1
}
key=$({ "$python" --version; cat "$requirements"; } | sha256sum | cut -c1-12)
env=$cache/python-dev-$key
mkdir -p "$cache"
# Two calls at a time wait for each other.
exec 9>"$cache/.python-dev.lock"
flock --timeout 600 9 || {
    echo "another process has been making a Python environment for ten minutes: $cache/.python-dev.lock" >&2
    exit 1
}
if [ ! -f "$env/.complete" ]; then
    echo "making the Python environment for lint and tests ..." >&2
    rm -rf "$env"
    "$python" -m venv "$env" || {
        echo "Python's venv is missing: apt-get install python3-venv" >&2
        exit 1
    }
    "$env/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes -r "$requirements" >&2
    touch "$env/.complete"
fi
echo "$env"
