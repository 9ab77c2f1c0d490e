#!/usr/bin/env bash
# Makes stand-ins, under the same names, for the images of docker-compose.yml that this machine neither has nor can pull.
# They are for tests: Kafka from its published jars, the embedded warehouse as ClickHouse, Debian's Prometheus.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${SPANFLOW_CACHE:-${HOME:?}/.cache/spanflow}

missing() {
    docker image inspect "$1" >/dev/null 2>&1 && return 1
    timeout 120 docker pull --quiet "$1" >/dev/null 2>&1 && return 1
    echo "stand-in for $1 ..." >&2
}

# build IMAGE NAME FILE...: with a context of these files alone, hard-linked where that can be.
build() {
    local image=$1 name=$2 context file
    shift 2
    context=$(mktemp -d "$cache/context.XXXXXX")
    for file; do
        cp -rlL "$file" "$context/" 2>/dev/null || cp -rL "$file" "$context/"
    done
    docker build --quiet --tag "$image" --file "docker/stand-ins/$name.Dockerfile" "$context" >/dev/null || {
        rm -rf "$context"
        echo "error: the stand-in for $image could not be built" >&2
        exit 1
    }
    rm -rf "$context"
}

image() { sed -n "s/^$1=//p" .env.example; }

if missing "$(image KAFKA_IMAGE)"; then
    dev/fetch.sh kafka
    version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' dev/kafka/pom.xml)
    jars=$(mktemp -d "$cache/jars.XXXXXX")
    cp -rl "$cache/kafka-$version" "$jars/jars"
    build "$(image KAFKA_IMAGE)" kafka "$jars/jars" docker/stand-ins/run-kafka
    rm -rf "$jars"
fi
if missing "$(image PROMETHEUS_IMAGE)"; then
    build "$(image PROMETHEUS_IMAGE)" prometheus
fi
if missing "$(image CLICKHOUSE_IMAGE)"; then
    library=$(find "$cache" -maxdepth 3 -path '*/chdb-*' -name libchdb.so | sort | tail -n 1)
    [ -n "$library" ] || {
        echo "error: the engine is not there yet: warehouse fetch downloads it" >&2
        exit 1
    }
    build "$(image CLICKHOUSE_IMAGE)" clickhouse "$library"
fi
