# Apache Kafka from its published jars, for machines that cannot pull apache/kafka: the same paths, port and environment.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
COPY jars /opt/kafka/libs
COPY run-kafka /opt/kafka/run-kafka
RUN useradd --uid 1000 appuser && install -d -o appuser /var/lib/kafka/data
USER 1000
EXPOSE 9092
ENTRYPOINT ["/opt/kafka/run-kafka"]
