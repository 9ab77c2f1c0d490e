#!/usr/bin/env bash
# Every check that needs no running system, as `make lint` and CI run them. All of them run; the end says which failed.
set -uo pipefail
cd "$(dirname "$0")/.."

env=$(dev/python-env.sh) || exit 1
export PATH="$env/bin:$PATH"
failed=()

check() {
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
in_grafana() (cd grafana && "$@")

# The database of advisories is a Git repository: where it can't be reached, that one check is left out, and said so.
advisories() {
    if timeout 60 cargo-deny --log-level error fetch db >/dev/null 2>&1; then
        cargo-deny --log-level error check advisories
    else
        echo "   SKIPPED: the advisory database could not be fetched from here"
    fi
}

# Rendered and held against the types of the Kubernetes API, which are Go's.
kubernetes() {
    if command -v go >/dev/null; then
        (cd deploy/kubernetes/check && test -z "$(gofmt -l .)" && go test ./...)
    else
        echo "   SKIPPED: Go isn't installed, so the manifests were not rendered"
    fi
}

check "rustfmt" cargo fmt --all --check
check "clippy" cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
check "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps
check "licences, bans, sources" cargo-deny --log-level error check licenses bans sources
check "advisories" advisories
if [ -f agent-probe/pyproject.toml ]; then
    check "ruff" in_probe ruff check .
    check "ruff format" in_probe ruff format --check .
    check "mypy" in_probe mypy --strict src
fi
check "ruff, outside agent-probe" ruff check --exclude agent-probe .
check "ruff format, outside agent-probe" ruff format --check --exclude agent-probe .
check "mypy, dashboards" in_grafana mypy --strict generate.py boards
check "dashboards are generated" python grafana/generate.py --check
check "dashboards by Grafana's types" python grafana/schema/check.py
check "kubernetes manifests" kubernetes
check "shell syntax" bash -n dev/*.sh docker/*.sh docker/stand-ins/run-kafka deploy/kubernetes/make-secrets.sh .ci/run
check "files" python dev/check_files.py

if ((${#failed[@]})); then
    printf 'lint failed:'
    printf ' [%s]' "${failed[@]}"
    printf '\n'
    exit 1
fi
echo "lint: all checks passed"
