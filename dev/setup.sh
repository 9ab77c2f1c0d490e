#!/bin/sh
# Looks whether this machine has what Spanflow needs, before anything is downloaded or built.
# Where Debian packages are missing it prints the one command that brings them, and runs it only as root or with YES=1.
set -eu

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

check_platform() {
    supported="Spanflow runs on Linux with glibc, on x86_64"
    [ "$(uname -s)" = Linux ] || fail "$(uname -s) is not supported: $supported. A Linux virtual machine or container will do."
    case $(uname -m) in
    x86_64) ;;
    *) fail "$(uname -m) is not supported: $supported, as the embedded ClickHouse engine is pinned for that one." ;;
    esac
    case $(getconf GNU_LIBC_VERSION 2>/dev/null) in
    glibc*) ;;
    *) fail "this Linux has no glibc (is it Alpine?): $supported." ;;
    esac
}

# What a person chose how to install: rustup, pyenv, nvm or packages. Named, never installed.
check_tools() {
    has cargo || fail "Rust is missing: install it as https://rust-lang.org/tools/install says (1.95 or newer)"
    has python3 || fail "Python is missing: version 3.10 or newer is needed"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$(python3 --version) is too old: 3.10 or newer is needed"
    has npm || fail "npm is missing: install Node.js 18 or newer, which brings it (it fetches the embedded engine)"
}

java_version() {
    java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1
}

# The JRE's package: 17 where the release has it by that name, else the release's default, which is newer.
java_package() {
    case $(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") in
    bullseye | bookworm | focal | jammy) echo openjdk-17-jre-headless ;;
    *) echo default-jre-headless ;;
    esac
}

missing_packages() {
    version=$(if has java; then java_version; fi)
    [ "${version:-0}" -ge 17 ] || java_package
    has mvn || echo maven
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    # librdkafka and zstd are compiled here.
    { has cc && has c++ && has make; } || echo build-essential
}

install_packages() {
    packages=$(missing_packages | tr '\n' ' ' | sed 's/ $//')
    [ -n "$packages" ] || return 0
    has apt-get || fail "missing, by their names in Debian: $packages. Install them with this system's package manager."
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo "
    command="${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends $packages"
    say "Missing: $packages. This brings them:"
    say "    $command"
    if [ "$(id -u)" != 0 ] && [ "${YES:-}" != 1 ]; then
        say "Run it, or let it be run here: make demo YES=1"
        exit 1
    fi
    sh -c "$command" >&2 || fail "that failed: see the lines above"
    left=$(missing_packages | tr '\n' ' ')
    [ -z "$left" ] || fail "still missing after that: $left(is an older one first in PATH?)"
}

check_platform
check_tools
install_packages
