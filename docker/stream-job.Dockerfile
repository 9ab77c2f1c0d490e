# The stream job and the warehouse's tools: `stream-job submit`, `warehouse migrate | reconcile | query | serve`.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
ARG APT_MIRROR=""
ARG CARGO_MIRROR=""
# librdkafka and zstd are compiled here.
RUN if [ -n "$APT_MIRROR" ]; then sed -i "s|^URIs: [a-z]*://[^/]*|URIs: $APT_MIRROR|" /etc/apt/sources.list.d/debian.sources; fi \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
RUN if [ -n "$CARGO_MIRROR" ]; then \
        mkdir -p "$CARGO_HOME" \
        && printf '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\nregistry = "%s"\n' "$CARGO_MIRROR" \
            >"$CARGO_HOME/config.toml"; \
    fi
WORKDIR /build

# Dependencies are a layer of their own, which a change of our sources leaves as it is: the workspace with empty crates.
COPY Cargo.toml Cargo.lock ./
COPY dev/Cargo.toml dev/
COPY stream-job/Cargo.toml stream-job/
COPY warehouse/Cargo.toml warehouse/
RUN mkdir -p dev/src stream-job/src stream-job/benches warehouse/src \
    && for crate in dev stream-job warehouse; do touch "$crate/src/lib.rs"; echo 'fn main() {}' >"$crate/src/main.rs"; done \
    && for bench in $(sed -n '/^\[\[bench\]\]/{n;s/name = "\(.*\)"/\1/p}' stream-job/Cargo.toml); do \
        echo 'fn main() {}' >"stream-job/benches/$bench.rs"; \
    done \
    && cargo build --release --locked -p stream-job -p warehouse --bins

COPY docs/openapi.json docs/
COPY warehouse warehouse
COPY stream-job stream-job
# The empty crates are newer than the sources.
RUN find stream-job/src warehouse/src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked -p stream-job -p warehouse --bins \
    && strip target/release/stream-job target/release/warehouse

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 spanflow \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin spanflow \
    && install -d -o spanflow -g spanflow /var/lib/spanflow /jobs
COPY --from=build /build/target/release/stream-job /build/target/release/warehouse /usr/local/bin/
COPY docker/job.toml /etc/spanflow/job.toml
COPY docker/ready.sh /usr/local/bin/ready
USER 10001:10001
EXPOSE 8090
ENTRYPOINT ["stream-job"]
CMD ["submit", "/etc/spanflow/job.toml"]
