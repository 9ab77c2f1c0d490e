#!/usr/bin/env bash
# `make test-up`: the compose file in a real Docker engine (the one that DOCKER_HOST or the docker CLI's context names).
# Images that can be neither found nor pulled get stand-ins; Grafana has none and is left out then.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v docker >/dev/null || fail "Docker is missing: on Debian apt-get install docker.io, and Compose v2 (docker-compose-plugin)"
docker compose version >/dev/null 2>&1 || fail "Docker Compose v2 is missing: install the package docker-compose-plugin"
docker info >/dev/null 2>&1 || fail "no Docker engine answers at ${DOCKER_HOST:-the default socket}: start one, or set DOCKER_HOST"

dev/fetch.sh python
exec "$(dev/fetch.sh venv-path)/bin/python" dev/test_up.py "$@"
