#!/usr/bin/env bash
# The system in containers, as `make up` and its relatives run it:
#   dev/containers.sh up | images | status | logs [SERVICE] | down | submit [PROGRAM] | backup NAME | restore NAME
# SPANFLOW_WITHOUT="grafana ..." leaves services out.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

need_docker() {
    command -v docker >/dev/null ||
        fail "Docker is missing: install Docker Engine and Compose v2 from Docker's own packages, or use \`make demo\`, which needs none"
    docker compose version >/dev/null 2>&1 ||
        fail "Docker Compose v2 is missing: install the package docker-compose-plugin"
    docker info >/dev/null 2>&1 ||
        fail "the Docker engine does not answer at ${DOCKER_HOST:-its default socket}: is it started, and may $(id -un) use it?"
}

secret() { head -c 36 /dev/urandom | base64 | tr -d '+/\n' | cut -c1-32; }

SECRETS="CLICKHOUSE_PASSWORD CLICKHOUSE_READER_PASSWORD SPANFLOW_HTTP_TOKEN GRAFANA_PASSWORD KAFKA_CLUSTER_ID"

# Makes .env with fresh secrets. In one that is there nothing is ever changed: data may have been made with what it says.
make_env() {
    local name value
    if [ ! -f .env ]; then
        rm -f .env.part
        (umask 077 && cp .env.example .env.part)
        for name in $SECRETS; do
            value=$(secret)
            # Kafka takes 16 bytes as 22 characters, of which the last holds two bits.
            [ "$name" != KAFKA_CLUSTER_ID ] || value=S$(printf %s "$value" | tr -d '_-' | cut -c1-20)A
            sed -i "s|^$name=\$|$name=$value|" .env.part
        done
        mv .env.part .env
        say "made .env: it holds the passwords"
    fi
    for name in $SECRETS; do
        grep -q "^$name=." .env || fail "$name is missing or empty in .env: set it to a secret of your own, such as $(secret)"
    done
}

# What .env says, or the default: setting NAME DEFAULT.
setting() {
    local value
    value=$(sed -n "s/^$1=//p" .env | tail -n 1)
    printf '%s' "${value:-$2}"
}

services() {
    local name
    for name in $(docker compose config --services); do
        case " ${SPANFLOW_WITHOUT:-} " in
        *" $name "*) ;;
        *) printf '%s\n' "$name" ;;
        esac
    done
}

# A port that something else has is told before anything starts, with the line of .env that changes it.
check_ports() {
    local entry service variable port address wanted
    # Not as a pipe into `grep -q`, which would end the listing by a signal as soon as it has found its line.
    wanted=$(services)
    address=$(setting BIND_ADDRESS 127.0.0.1)
    [ "$address" != 0.0.0.0 ] || address=127.0.0.1
    for entry in kafka:KAFKA_PORT:9092 clickhouse:CLICKHOUSE_PORT:8123 stream-job:STREAM_JOB_PORT:8090 \
        prometheus:PROMETHEUS_PORT:9090 grafana:GRAFANA_PORT:3000; do
        IFS=: read -r service variable port <<<"$entry"
        grep -qx "$service" <<<"$wanted" || continue
        [ -z "$(docker compose ps --quiet --status running "$service")" ] || continue
        port=$(setting "$variable" "$port")
        if (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then
            fail "port $port is taken by another program: set $variable in .env to a free one"
        fi
    done
}

# build IMAGE_SETTING DEFAULT_NAME DOCKERFILE BUILD_ARGUMENT...: nothing where .env names an image that somebody else built.
build() {
    local image=$2 file=$3 argument arguments=()
    [ -z "$(setting "$1" "")" ] || return 0
    shift 3
    for argument; do
        [ -z "$(setting "$argument" "")" ] || arguments+=(--build-arg "$argument=$(setting "$argument" "")")
    done
    say "building $image ..."
    docker build --quiet --tag "$image" --file "$file" "${arguments[@]}" . >/dev/null ||
        fail "building $image failed: docker build --file $file . shows all of it"
}

build_images() {
    local wanted
    wanted=$(services)
    build STREAM_JOB_IMAGE spanflow/stream-job:0.1.0 docker/stream-job.Dockerfile RUST_IMAGE BASE_IMAGE APT_MIRROR CARGO_MIRROR
    grep -qx grafana <<<"$wanted" &&
        build GRAFANA_IMAGE spanflow/grafana:0.1.0 docker/grafana.Dockerfile GRAFANA_BASE_IMAGE CLICKHOUSE_PLUGIN GRAFANA_PLUGIN_MIRROR
    grep -qx simulator <<<"$wanted" &&
        build SIMULATOR_IMAGE spanflow/simulator:0.1.0 docker/simulator.Dockerfile BASE_IMAGE APT_MIRROR PIP_INDEX_URL
    return 0
}

# What the containers say that are not as they should be.
explain() {
    local name
    docker compose ps --all --format 'table {{.Service}}\t{{.Status}}' >&2
    for name in $(docker compose ps --all --format '{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}' |
        awk '$3 == "unhealthy" || $3 == "starting" || $2 == "restarting" || ($2 == "exited" && $NF != 0) { print $1 }'); do
        say ""
        say "── the end of what $name says"
        docker compose logs --no-log-prefix --tail 15 "$name" >&2
    done
}

up() {
    local names
    make_env
    check_ports
    build_images
    mkdir -p jobs
    mapfile -t names < <(services)
    if ! docker compose up --detach --wait --wait-timeout "${SPANFLOW_UP_TIMEOUT:-300}" "${names[@]}"; then
        say ""
        explain
        fail "not everything became healthy; see above, and make logs"
    fi
    urls
}

urls() {
    local host wanted
    host=$(setting BIND_ADDRESS 127.0.0.1)
    wanted=$(services)
    printf '\nSpanflow is up.\n'
    grep -qx grafana <<<"$wanted" && printf '  %-12s %s  (user %s, password: GRAFANA_PASSWORD in .env)\n' Grafana \
        "http://$host:$(setting GRAFANA_PORT 3000)" "$(setting GRAFANA_USER admin)"
    printf '  %-12s %s\n' Kafka "$(setting KAFKA_HOST localhost):$(setting KAFKA_PORT 9092)"
    printf '  %-12s %s\n' "Stream job" "http://$host:$(setting STREAM_JOB_PORT 8090)"
    printf '  %-12s %s\n' Warehouse "http://$host:$(setting CLICKHOUSE_PORT 8123)"
    printf '  %-12s %s\n' Prometheus "http://$host:$(setting PROMETHEUS_PORT 9090)"
    grep -qx collector <<<"$wanted" && printf '  %-12s %s\n' OTLP \
        "http://$host:$(setting OTLP_HTTP_PORT 4318) (gRPC: $(setting OTLP_GRPC_PORT 4317))"
    printf '\nmake status, make logs, make down; COMPOSE_PROFILES=simulator in .env adds simulated agents.\n'
}

need_env() { [ -f .env ] || fail "there is no .env here: make up makes it"; }

status() {
    need_env
    docker compose ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
    echo
    docker compose exec -T stream-job stream-job status
}

# Copies a program to where the supervisor may start it, and has it take the job over.
submit() {
    local program=${1:-target/release/stream-job} name
    need_env
    [ -f "$program" ] || fail "there is no program $program: make build builds target/release/stream-job, or name one: make submit JOB=PATH"
    name=$(basename "$program")-$(sha256sum "$program" | cut -c1-12)
    mkdir -p jobs
    # Under its own name at once or not at all.
    install -m 755 "$program" "jobs/.$name.part"
    mv "jobs/.$name.part" "jobs/$name"
    docker compose exec -T stream-job stream-job submit /etc/spanflow/job.toml --to http://127.0.0.1:8090 --binary "$name"
    docker compose exec -T stream-job stream-job status
}

# Both or neither: what the job has done, and the rows that it made. Copied while neither runs.
VOLUMES=(job-state clickhouse-data)

# in_volumes MODE COMMAND...: a shell with the volumes below /volumes and the backup at /backup.
in_volumes() {
    local mode=$1 volume mounts=()
    shift
    for volume in "${VOLUMES[@]}"; do
        mounts+=(--volume "$(project)_$volume:/volumes/$volume$mode")
    done
    docker run --rm --network none --user 0 "${mounts[@]}" --volume "$PWD/backups/$NAME:/backup" --entrypoint sh \
        "$(setting STREAM_JOB_IMAGE spanflow/stream-job:0.1.0)" -c "$*"
}

project() { docker compose config --format json | sed -n 's/^  "name": "\(.*\)",$/\1/p'; }

need_name() {
    [[ ${NAME:-} =~ ^[a-zA-Z0-9][a-zA-Z0-9_.-]*$ ]] || fail "a backup has a name of letters, digits, - and _: make $1 NAME=before-upgrade"
}

backup() {
    need_env
    need_name backup
    [ ! -e "backups/$NAME" ] || fail "backups/$NAME is there already: take another name"
    mkdir -p "backups/$NAME"
    say "stopping the job, which lets all that it has read land, and the warehouse ..."
    docker compose stop stream-job clickhouse
    if ! in_volumes :ro 'for v in /volumes/*; do tar -C $v -cf /backup/$(basename $v).tar.part . || exit 1; done
        for v in /backup/*.part; do mv $v ${v%.part}; done'; then
        docker compose start clickhouse stream-job
        fail "the copy failed: backups/$NAME is not complete"
    fi
    docker compose start clickhouse stream-job
    printf 'backups/%s: %s; records that come meanwhile wait in Kafka\n' "$NAME" "$(du -sh "backups/$NAME" | cut -f1)"
}

restore() {
    need_env
    need_name restore
    local volume
    for volume in "${VOLUMES[@]}"; do
        [ -f "backups/$NAME/$volume.tar" ] || fail "backups/$NAME/$volume.tar is missing: no complete backup has that name"
    done
    [ "${YES:-}" = 1 ] || fail "this replaces the warehouse and the job's state by those of the backup: make restore NAME=$NAME YES=1"
    docker compose stop stream-job clickhouse
    in_volumes "" 'for v in /volumes/*; do find $v -mindepth 1 -delete && tar -C $v -xf /backup/$(basename $v).tar || exit 1; done'
    docker compose up --detach --wait clickhouse stream-job
    echo "restored: the job goes on from where it was then, and reads again what Kafka still has of what came after"
}

action=${1:-}
shift || true
need_docker
case $action in
up) up ;;
images) make_env && build_images ;;
status) status ;;
logs) need_env && docker compose logs --tail 200 --follow "$@" ;;
down) need_env && docker compose --profile '*' down && echo "stopped; the data stays: docker compose down --volumes removes it" ;;
submit) submit "$@" ;;
backup) NAME=${1:-} && backup ;;
restore) NAME=${1:-} && restore ;;
*)
    sed -n '2,4p' "$0"
    exit 2
    ;;
esac
