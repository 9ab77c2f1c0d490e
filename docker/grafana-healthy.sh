#!/bin/sh
# Healthy is Grafana when its data source is: the plugin runs, logs in to the warehouse and gets an answer.
set -eu
login=$(printf '%s:%s' "$GF_SECURITY_ADMIN_USER" "$GF_SECURITY_ADMIN_PASSWORD" | base64 | tr -d '\n')
wget -q -O - --header "Authorization: Basic $login" \
    http://127.0.0.1:3000/api/datasources/uid/spanflow-clickhouse/health | grep -q '"status": *"OK"'
