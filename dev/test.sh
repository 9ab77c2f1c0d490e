#!/usr/bin/env bash
# Every test, as `make test` and CI run them: Rust (with a real Apache Kafka, the embedded warehouse and its clients in
# other languages, which the Rust tests start) and Python. Leaves no process behind, and fails if a test did.
set -uo pipefail
cd "$(dirname "$0")/.."

# Inherited by every process that a test starts, so that one left behind can be told from anybody else's.
SPANFLOW_TEST_RUN=$$-$(date +%s)
export SPANFLOW_TEST_RUN
failed=()

left_behind() {
    local file
    env -u SPANFLOW_TEST_RUN grep -lszx "SPANFLOW_TEST_RUN=$SPANFLOW_TEST_RUN" /proc/[0-9]*/environ 2>/dev/null |
        while read -r file; do
            file=${file#/proc/}
            [ "${file%/environ}" = $$ ] || echo "${file%/environ}"
        done
}

finish() {
    local pid
    for pid in $(left_behind); do
        # This shell's own pipelines come up here too and are gone at a second look.
        sleep 0.2
        [ -d "/proc/$pid" ] || continue
        echo "left behind by a test: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-160)"
        kill -9 "$pid" 2>/dev/null
        failed+=("process $pid left behind")
    done
}
trap finish EXIT
trap 'exit 130' INT TERM

stage() {
    local name=$1
    shift
    local began=$SECONDS
    echo "── $name"
    if "$@"; then
        echo "   ok ($((SECONDS - began)) s)"
    else
        echo "   FAILED: $*"
        failed+=("$name")
    fi
}

in_probe() (cd agent-probe && "$@")

env=$(dev/python-env.sh) || exit 1
export PATH="$env/bin:$PATH"

# Without these no integration test can run, so their failure ends the whole.
echo "── downloads (once)"
dev/fetch.sh kafka || exit 1
cargo run --quiet --locked -p warehouse -- fetch || exit 1

stage "build" cargo build --locked --workspace --all-targets
stage "Rust tests" cargo test --locked --workspace --no-fail-fast
stage "Python tests" in_probe env PYTHONPATH=src SPANFLOW_TEST_KAFKA=start python -m pytest
stage "Grafana's queries" python -m pytest grafana/tests

finish
trap - EXIT
if ((${#failed[@]})); then
    printf 'tests failed:'
    printf ' [%s]' "${failed[@]}"
    printf '\n'
    exit 1
fi
echo "test: all passed in $SECONDS s"
