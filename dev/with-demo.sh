#!/bin/sh
# Runs a command with what the running demo tells about itself in its environment: dev/with-demo.sh COMMAND ARG...
# Where CLICKHOUSE_URL is set, that warehouse is meant and no demo is needed.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
facts="${SPANFLOW_HOME:-$root/.spanflow}/demo.env"
if [ -z "${CLICKHOUSE_URL:-}" ]; then
    if [ ! -f "$facts" ]; then
        echo "error: no demo is running ($facts is not there): start one with \`make demo\`, or set CLICKHOUSE_URL" >&2
        exit 1
    fi
    set -a
    . "$facts"
    set +a
fi
if [ ! -x "$1" ]; then
    echo "error: $1 is not built: run \`make build\`" >&2
    exit 1
fi
exec "$@"
