#!/bin/sh
# Downloads what a local system needs beside the Rust build, once, into $SPANFLOW_CACHE (~/.cache/spanflow):
#   dev/fetch.sh kafka   Apache Kafka's jars (54 MB, by Maven)          -> kafka-<version>/*.jar
#   dev/fetch.sh flink-harness   Apache Flink's operator test harness (100 MB, by Maven) -> flink-harness-<version>/*.jar
#   dev/fetch.sh python  a Python environment for the simulated agents -> venv-<hash of what it holds>/
#   dev/fetch.sh venv-path   prints where that environment is, and fetches nothing
#   dev/fetch.sh flink   Apache Flink's jars (86 MB, by Maven)          -> flink-<version>-<hash of the pom>/*.jar
#                        and the job that make bench-flink measures    -> flink-job-<hash of its sources>.jar
#   dev/fetch.sh flink-path  prints the class path of both, and fetches nothing
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

# The jars of a project under dev/: fetch_jars NAME TITLE PROJECT PROPERTY_OF_THE_VERSION SIZE
fetch_jars() {
    name=$1 title=$2 project="$here/$3/pom.xml" property=$4 size=$5
    version=$(sed -n "s:.*<$property>\\(.*\\)</$property>.*:\\1:p" "$project")
    target="$cache/$name-$version"
    [ -d "$target" ] && return 0
    command -v mvn >/dev/null || {
        say "Maven is needed once, to fetch $title: run dev/setup.sh, which names the apt command"
        exit 1
    }
    only_one "$name"
    [ -d "$target" ] && return 0
    say "$title $version: fetching its jars ($size) ..."
    began=$(date +%s)
    part="$cache/.$name-$version.part"
    rm -rf "$part"
    mkdir -p "$part"
    # -C: a jar whose checksum is not the repository's ends the build.
    logged "fetching $title" "$cache/$name-fetch.log" \
        mvn -B -C -f "$project" dependency:copy-dependencies \
        -DoutputDirectory="$part" -DincludeScope=runtime
    mv -T "$part" "$target"
    say "$title $version: $(ls "$target" | wc -l) jars in $target ($(($(date +%s) - began)) s)"
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

flink_jars() {
    version=$(sed -n 's:.*<flink.version>\(.*\)</flink.version>.*:\1:p' "$here/flink/pom.xml")
    printf '%s\n' "$cache/flink-$version-$(sha256sum <"$here/flink/pom.xml" | cut -c1-12)"
}

flink_job() {
    hash=$(cat "$here/flink/pom.xml" "$here"/flink/src/main/java/dev/spanflow/bench/*.java | sha256sum | cut -c1-12)
    printf '%s\n' "$cache/flink-job-$hash.jar"
}

fetch_flink() {
    jars=$(flink_jars)
    job=$(flink_job)
    [ -d "$jars" ] && [ -f "$job" ] && return 0
    command -v mvn >/dev/null || {
        say "Maven is needed once, to fetch Apache Flink: run dev/setup.sh, which names the apt command"
        exit 1
    }
    command -v javac >/dev/null || {
        say "a Java compiler is needed once, to build the Flink job: apt-get install openjdk-17-jdk-headless (or another JDK, 17 or newer)"
        exit 1
    }
    only_one flink
    part="$cache/.flink.part"
    rm -rf "$part"
    mkdir -p "$part/jars"
    began=$(date +%s)
    if [ ! -d "$jars" ]; then
        say "Apache Flink: fetching its jars (86 MB) ..."
        logged "fetching Apache Flink" "$cache/flink-fetch.log" \
            mvn -B -C -f "$here/flink/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$part/jars" -DincludeScope=runtime
        mv -T "$part/jars" "$jars"
    fi
    if [ ! -f "$job" ]; then
        logged "building the Flink job" "$cache/flink-fetch.log" \
            mvn -B -C -f "$here/flink/pom.xml" package -Dbuild.folder="$part/build"
        mv "$part/build/flink-job-1.jar" "$job"
    fi
    rm -rf "$part"
    say "Apache Flink: $(ls "$jars" | wc -l) jars in $jars, the job in $job ($(($(date +%s) - began)) s)"
}

case ${1:-} in
kafka) fetch_jars kafka "Apache Kafka" kafka kafka.version "54 MB" ;;
flink-harness) fetch_jars flink-harness "Apache Flink's test harness" oracle flink.version "100 MB" ;;
python) fetch_python ;;
venv-path) venv_path ;;
flink) fetch_flink ;;
flink-path) printf '%s/*:%s\n' "$(flink_jars)" "$(flink_job)" ;;
*)
    say "usage: dev/fetch.sh kafka|flink-harness|python|venv-path|flink|flink-path"
    exit 2
    ;;
esac
