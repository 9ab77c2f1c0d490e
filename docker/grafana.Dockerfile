# Grafana with the ClickHouse data source, the dashboards and the alert rules in it.
ARG GRAFANA_BASE_IMAGE=grafana/grafana:13.2.3
FROM ${GRAFANA_BASE_IMAGE}
ARG CLICKHOUSE_PLUGIN=4.15.0
ARG GRAFANA_PLUGIN_MIRROR=""
ENV GF_PATHS_PLUGINS=/opt/grafana-plugins
USER root
RUN mkdir -p "$GF_PATHS_PLUGINS" \
    && grafana cli --pluginsDir "$GF_PATHS_PLUGINS" ${GRAFANA_PLUGIN_MIRROR:+--repo "$GRAFANA_PLUGIN_MIRROR"} \
        plugins install grafana-clickhouse-datasource "$CLICKHOUSE_PLUGIN"
COPY grafana/provisioning /etc/grafana/provisioning
COPY grafana/dashboards /etc/grafana/dashboards
COPY docker/grafana-healthy.sh /usr/local/bin/healthy.sh
USER 472
