#!/bin/sh
# Downloads what a local system needs beside the Rust build, once, into $SPANFLOW_CACHE (~/.cache/spanflow):
#   dev/fetch.sh kafka   Apache Kafka's jars (54 MB, by Maven)          -> kafka-<version>/*.jar
#   dev/fetch.sh python  a Python environment for the simulated agents -> venv-<hash of what it holds>/
#   dev/fetch.sh venv-path   prints where that environment is, and fetches nothing
# Each is complete or not there at all: it is made under another name (or marked when done), and two calls at a time
# wait for each other. Output: one line when it starts, one when it is done.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SPANFLOW_CACHE:-${HOME:?set SPANFLOW_CACHE to a folder for downloads}/.cache/spanflow}
requirements="$here/requirements-demo.txt"

say() { printf '%s\n' "$*" >&2; }

# Runs a command with its output in a log, and shows the end of the log when it fails.
logged() {
    what=$1 log=$2
    shift 2
    "$@" >"$log" 2>&1 || {
        say "$what failed; the end of $log:"
        tail -n 20 "$log" >&2
        exit 1
    }
}

only_one() {
    mkdir -p "$cache"
    exec 9>"$cache/.$1.lock"
    flock 9
}

fetch_kafka() {
    version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/kafka/pom.xml")
    target="$cache/kafka-$version"
    [ -d "$target" ] && return 0
    command -v mvn >/dev/null || {
        say "Maven is needed once, to fetch Apache Kafka: run dev/setup.sh, which names the apt command"
        exit 1
    }
    only_one kafka
    [ -d "$target" ] && return 0
    say "Apache Kafka $version: fetching its jars (54 MB) ..."
    began=$(date +%s)
    part="$cache/.kafka-$version.part"
    rm -rf "$part"
    mkdir -p "$part"
    # -C: a jar whose checksum is not the repository's ends the build.
    logged "fetching Apache Kafka" "$cache/kafka-fetch.log" \
        mvn -B -C -f "$here/kafka/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$part" -DincludeScope=runtime
    mv -T "$part" "$target"
    say "Apache Kafka $version: $(ls "$target" | wc -l) jars in $target ($(($(date +%s) - began)) s)"
}

venv_path() {
    hash=$({ python3 --version && cat "$requirements"; } | sha256sum | cut -c1-12)
    printf '%s\n' "$cache/venv-$hash"
}

fetch_python() {
    target=$(venv_path)
    [ -f "$target/.complete" ] && return 0
    only_one python
    [ -f "$target/.complete" ] && return 0
    say "Python environment: installing $(grep -c '^[a-zA-Z]' "$requirements") pinned packages ..."
    began=$(date +%s)
    rm -rf "$target"
    logged "making the Python environment (is python3-venv installed? dev/setup.sh looks)" \
        "$cache/python-fetch.log" python3 -m venv "$target"
    logged "installing the Python packages" "$cache/python-fetch.log" \
        "$target/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes -r "$requirements"
    touch "$target/.complete"
    say "Python environment: ready in $target ($(($(date +%s) - began)) s)"
}

case ${1:-} in
kafka) fetch_kafka ;;
python) fetch_python ;;
venv-path) venv_path ;;
*)
    say "usage: dev/fetch.sh kafka|python|venv-path"
    exit 2
    ;;
esac
