# Thin targets; what they run can be run by hand as well. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
ARGS ?=

S3 := command -v go >/dev/null || { echo "the fault harness needs go, to build its S3 server" >&2; exit 1; }; $(BIN)/python -m ops.storage.local_s3

.PHONY: help setup demo test faults soak faults-selfcheck fuzz clients lint types bench model model-eval generated lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(STAMP) ## make .venv from hash-pinned requirements, fetch Kafka

$(STAMP): requirements.txt ops/requirements-setup.txt pyproject.toml
	@sh ops/setup.sh "$(PYTHON)" $(VENV)
	@touch $(STAMP)

demo: setup ## run the whole pipeline on examples/jobs.jsonl; videos land in out/
	@$(BIN)/reelbus demo $(ARGS)

test: setup ## run all tests on a real broker (ARGS="tests/core -k name" for some)
	@if command -v go >/dev/null; then $(BIN)/python -m ops.storage.local_s3; \
	else echo "no go: tests on versitygw are left out" >&2; fi
	@$(BIN)/python -m pytest $(or $(strip $(ARGS)),-n 3 --dist loadfile --no-loadscope-reorder)

faults: setup ## 500 jobs, at least 120 kills, three broker outages: nothing lost, nothing twice (ARGS="--seed 7")
	@$(S3)
	@$(BIN)/python -m tests.faults run $(ARGS)

soak: setup ## ten parts of 1,000 jobs and 100 kills, every other on three brokers; hours (ARGS="--parts 2 --report FILE")
	@$(S3)
	@$(BIN)/python -m tests.faults soak $(ARGS)

faults-selfcheck: setup ## the checker must catch every seeded bug
	@$(S3)
	@$(BIN)/python -m tests.faults selfcheck $(ARGS)

fuzz: setup ## 100,000 mutated records on every topic that a stage reads, real stages, real broker (ARGS="--records 5000 --seed 7")
	@$(BIN)/python -m tests.fuzz $(ARGS)

clients: setup ## run docs/examples in Java, Node, Go, kcat and Avro on the real pipeline (ARGS="--only go kcat" for some)
	@if test -n "$$CI" && ! { command -v kcat && command -v jq; } >/dev/null; then \
	apt-get -q update && apt-get -q install -y kcat jq; fi
	@$(BIN)/python -m tests.clients $(ARGS)

lint: setup ## ruff and the rules of who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: setup ## mypy --strict
	@$(BIN)/mypy

bench: setup ## all benches but backlog, which takes hours, one table each (reelbus bench NAME --json for one)
	@for name in overhead mux ingest batch-kills decisions scheduling fairness estimates moderation watermark; do \
	$(BIN)/reelbus bench $$name $(ARGS) || failed=1; done; exit $${failed:-0}

model: setup ## train the tiny model again into out/shapes (about an hour)
	@$(BIN)/python -m gpu_consumers.models.shapes.train --out out/shapes $(ARGS)

model-eval: setup ## how well the tiny model follows unseen prompts
	@$(BIN)/python -m gpu_consumers.models.shapes.evaluate $(ARGS)

generated: setup ## write again what is made from schemas, topics and tests (docs/reference, ops/deploy, schemas/examples)
	@$(BIN)/python -m tests.contracts.goldens
	@$(BIN)/python -m ops.schemas_page
	@$(BIN)/python -m ops.reference
	@$(BIN)/python -m ops.exports.files
	@$(BIN)/python -m ops.topics_export
	@$(BIN)/python -m tests.bad_input.table

lock: setup ## pin what pyproject.toml asks for, by hash, into requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --quiet -o requirements.txt

clean: ## remove what runs left (out/, .reelbus/, caches); .venv and Kafka's jars stay
	@rm -rf out .reelbus .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
