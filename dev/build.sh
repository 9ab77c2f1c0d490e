#!/bin/sh
# Builds the binaries and, meanwhile, downloads what a local system needs beside them.
set -eu

cd "$(dirname "$0")/.."
pids=""
for item in kafka python; do
    dev/fetch.sh "$item" &
    pids="$pids $!"
done
built=0
cargo build --release --locked --workspace --bins || built=$?
for pid in $pids; do
    wait "$pid"
done
exit "$built"
