# The embedded warehouse (ClickHouse's engine behind its HTTP interface), for machines that cannot pull
# clickhouse/clickhouse-server: the same port, /ping, data folder and password. One user, `default`.
ARG STREAM_JOB_IMAGE=spanflow/stream-job:0.1.0
FROM ${STREAM_JOB_IMAGE}
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 101 -g 101 /var/lib/clickhouse
COPY libchdb.so /opt/libchdb.so
USER 101:101
EXPOSE 8123
ENTRYPOINT ["/bin/sh", "-c", "exec warehouse serve --data /var/lib/clickhouse/embedded --listen 0.0.0.0:8123 --library /opt/libchdb.so --max-memory-bytes 2000000000 --token \"$CLICKHOUSE_PASSWORD\""]
CMD []
