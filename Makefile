# What a person types. `make` alone explains itself.
#
# Variables given on the command line or in the environment reach the recipes as environment variables, so that a value
# with quotes or spaces, such as Q="SELECT 'a b'", needs no care here.

SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := target/release

.PHONY: help
help: ## Explain the targets
	@echo "Spanflow: every step that an AI agent takes, through Kafka and a Rust dataflow, into ClickHouse."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Variables:"
	@echo "  DURATION=N        demo ends by itself after N seconds and holds what landed against what was sent"
	@echo "  AGENTS=N          sessions of simulated agents at a time (40); 0 starts none"
	@echo "  SEED=N            seed of the simulated agents (another one each time), or of \`make oracle\` (1)"
	@echo "  KILLS=N           kills of \`make chaos\` (200)"
	@echo "  LAYOUTS=...       processes x workers of \`make chaos\`, by turns (1x1,1x4,2x2)"
	@echo "  TRANSCRIPTS=N     transcripts of \`make oracle\` (1000)"
	@echo "  YES=1             install missing Debian packages without asking (as root that is the default)"
	@echo "  Q=\"SELECT ...\"    the query of \`make query\`"
	@echo "  ID=...            the trace of \`make trace\`: 32 hex digits, or latest"
	@echo "  DIR=...           the new folder of \`make record\`"
	@echo "  RUNS=N            runs of each measurement of \`make bench\`, \`bench-flink\`, \`bench-recovery\` (3), \`bench-probe\` (5)"
	@echo "  SPANS=N           spans of the backlog of \`make bench-flink\` and \`make bench-recovery\`"
	@echo "  JOB=PATH          the stream-job program of \`make submit\` (target/release/stream-job)"
	@echo "  NAME=...          the backup of \`make backup\` and \`make restore\`"
	@echo "  SERVICE=...       the container of \`make logs\` (all)"
	@echo "  SPANFLOW_HOME     folder of the demo's data (.spanflow in the checkout)"
	@echo "  SPANFLOW_CACHE    folder of downloads (~/.cache/spanflow)"

.PHONY: setup
setup: ## Check that this machine has what is needed, and bring missing Debian packages
	@dev/setup.sh

.PHONY: build
build: setup ## Build the binaries, and download what a local system needs meanwhile
	@dev/build.sh

.PHONY: demo
demo: build ## Run the whole product on this machine, with simulated agents, until Ctrl-C
	@$(BIN)/dev demo $(if $(DURATION),--duration $(DURATION)) $(if $(AGENTS),--agents $(AGENTS)) $(if $(SEED),--seed $(SEED))

.PHONY: clean-demo
clean-demo: ## Remove the demo's data; refused while it runs
	@test -x $(BIN)/dev || cargo build --release --locked -p dev
	@$(BIN)/dev clean

.PHONY: query
query: ## Ask the running warehouse: make query Q="SELECT ... FROM dws_step_1m_latest"
	@test -n "$$Q" || { echo "error: no query: make query Q=\"SELECT count() FROM dwd_span\"" >&2; exit 1; }
	@dev/with-demo.sh $(BIN)/warehouse query "$$Q"

.PHONY: trace
trace: ## Print a trace as a tree with times: make trace ID=latest
	@dev/with-demo.sh $(BIN)/warehouse trace "$${ID:-latest}"

.PHONY: reconcile
reconcile: ## Hold the counts of every layer against each other
	@dev/with-demo.sh $(BIN)/warehouse reconcile

.PHONY: record
record: ## Copy what Kafka has into a recording: make record DIR=my-case
	@test -n "$$DIR" || { echo "error: no folder: make record DIR=my-case" >&2; exit 1; }
	@dev/with-demo.sh $(BIN)/stream-job record --out "$$DIR"

.PHONY: test
test: setup ## Run every test: Rust, Python, integration with a real Kafka and warehouse
	@dev/test.sh

.PHONY: oracle
oracle: setup ## Hold our windows against Apache Flink's on 1,000 random transcripts (a JDK is needed)
	@cargo run --quiet --locked -p dev -- oracle $(if $(SEED),--seed $(SEED)) $(if $(TRANSCRIPTS),--transcripts $(TRANSCRIPTS))

.PHONY: chaos
chaos: setup ## Kill every part under load, at least 200 times, and compare every row with an undisturbed run (about 30 minutes)
	@cargo build --locked -p dev -p stream-job -p warehouse
	@target/debug/dev chaos $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(LAYOUTS),--layouts $(LAYOUTS))

.PHONY: lint
lint: ## Run every check that needs no running system
	@dev/lint.sh

.PHONY: bench
bench: build ## Measure throughput, memory and delay on this machine (about 20 minutes)
	@$(BIN)/dev bench $(if $(RUNS),--runs $(RUNS))

.PHONY: bench-probe
bench-probe: ## Measure what agent-probe costs an agent (about 10 minutes)
	@env=$$(dev/python-env.sh) && "$$env/bin/python" agent-probe/bench/overhead.py $(if $(RUNS),--runs $(RUNS))

.PHONY: bench-flink
bench-flink: build ## Measure the windows beside the same in Apache Flink, and compare results (about 20 minutes)
	@$(BIN)/dev bench flink --heap-sweep $(if $(RUNS),--runs $(RUNS)) $(if $(SPANS),--backlog $(SPANS))

.PHONY: bench-recovery
bench-recovery: build ## Measure recovery after a kill, and what checkpoints cost, with 1,000,000 open traces (about 20 minutes)
	@$(BIN)/dev bench recovery $(if $(RUNS),--runs $(RUNS)) $(if $(SPANS),--backlog $(SPANS))

.PHONY: up
up: ## Run the whole system in containers: Kafka, ClickHouse, the job, Prometheus, Grafana
	@dev/containers.sh up

.PHONY: status
status: ## Show how the containers and the job in them are
	@dev/containers.sh status

.PHONY: logs
logs: ## Follow what the containers say: make logs SERVICE=stream-job
	@dev/containers.sh logs $(if $(SERVICE),"$$SERVICE")

.PHONY: down
down: ## Stop the containers; the data stays
	@dev/containers.sh down

.PHONY: submit
submit: ## Hand the job in the containers over to another program: make submit JOB=target/release/stream-job
	@dev/containers.sh submit $(if $(JOB),"$$JOB")

.PHONY: backup
backup: ## Copy the warehouse and the job's state, which stop meanwhile: make backup NAME=before-upgrade
	@dev/containers.sh backup "$$NAME"

.PHONY: restore
restore: ## Put a backup back in the place of what is there: make restore NAME=before-upgrade YES=1
	@dev/containers.sh restore "$$NAME"

.PHONY: test-up
test-up: ## Test the containers in a real Docker engine, with stand-ins for images that can't be pulled
	@dev/test-up.sh
