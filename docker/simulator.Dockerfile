# Simulated agents, to look at the system with.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE} AS build
ARG APT_MIRROR=""
ARG PIP_INDEX_URL=""
RUN if [ -n "$APT_MIRROR" ]; then sed -i "s|^URIs: [a-z]*://[^/]*|URIs: $APT_MIRROR|" /etc/apt/sources.list.d/debian.sources; fi \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY dev/requirements-demo.txt /tmp/
RUN python3 -m venv /opt/simulator \
    && /opt/simulator/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
        ${PIP_INDEX_URL:+--index-url "$PIP_INDEX_URL"} -r /tmp/requirements-demo.txt

FROM ${BASE_IMAGE}
ARG APT_MIRROR=""
RUN if [ -n "$APT_MIRROR" ]; then sed -i "s|^URIs: [a-z]*://[^/]*|URIs: $APT_MIRROR|" /etc/apt/sources.list.d/debian.sources; fi \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/simulator /opt/simulator
COPY agent-probe/src /opt/agent-probe
ENV PYTHONPATH=/opt/agent-probe PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["/opt/simulator/bin/python", "-m", "agent_probe.simulator"]
