#!/usr/bin/env bash
# Makes secrets.env beside it, with fresh passwords, for kustomization.yaml. One that is there is never changed: data may
# have been made with what it says.
set -euo pipefail
cd "$(dirname "$0")"

if [ -e secrets.env ]; then
    echo "secrets.env is there already and stays as it is" >&2
    exit 0
fi
secret() { head -c 36 /dev/urandom | base64 | tr -d '+/\n' | cut -c1-32; }
umask 077
{
    for name in CLICKHOUSE_PASSWORD CLICKHOUSE_READER_PASSWORD SPANFLOW_HTTP_TOKEN GRAFANA_PASSWORD; do
        echo "$name=$(secret)"
    done
    # Kafka takes 16 bytes as 22 characters, of which the last holds two bits.
    echo "KAFKA_CLUSTER_ID=S$(secret | cut -c1-20)A"
} >secrets.part
mv secrets.part secrets.env
echo "made secrets.env: it holds the passwords" >&2
