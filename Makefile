# The front door: `make help` lists what is here. Everything runs in .venv, which `make setup` creates.

PYTHON ?= python3
# Before everything else, so that no other package chooses the version.
TORCH ?= torch==2.13.0
SERVICE ?= service
OUT ?= out/demo
DATA ?= out/memory
ADDRESS ?= 127.0.0.1:50051
SOAK_MINUTES ?= 3
BACKBONE ?= toy
TOY ?= generator/toy/weights
# One folder for each toy: a corpus is of one model.
TOY_RUN = out/encoder-of-$(subst /,-,$(TOY))
SOAK_SEED ?=

BIN := .venv/bin
USER_STAMP := .venv/.user-$(SERVICE)
DEV_STAMP := .venv/.dev
BENCH_STAMP := .venv-bench/.peers
# Peers bring much that nothing else needs, so they live apart.
BENCH = $(if $(wildcard $(BENCH_STAMP)),.venv-bench/bin,$(BIN))
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PROTO := protos/memory_service/v1/memory.proto

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-slow test-gpu soak check format protos bench bench-peers bench-smoke \
	bench-generator serve ablation toy toy-encoder clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(USER_STAMP)  ## Create .venv with everything the demo needs

setup-dev: $(DEV_STAMP)  ## Create .venv with everything the tests need as well

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Reverie needs Python 3.11 or later; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.torch: .venv/.python
	@echo "Installing $(TORCH) ..."
	$(PIP) "$(TORCH)"
	@touch $@

$(USER_STAMP): pyproject.toml .venv/.torch
	@echo "Installing Reverie and what it needs ..."
	$(PIP) --editable '.[$(SERVICE),generator,inspector]'
	@touch $@

$(DEV_STAMP): pyproject.toml $(USER_STAMP)
	@echo "Installing the development tools ..."
	$(PIP) --editable '.[dev]'
	@touch $@

$(BENCH_STAMP): pyproject.toml .venv/.python
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet "$(TORCH)"
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[$(SERVICE),bench]'
	@touch $@

demo: setup  ## Start a memory, let two generators share it, leave videos, pictures and tables in out/demo
	$(BIN)/reverie-generate demo --out $(OUT)

test: setup-dev  ## Run the tests (a few minutes on two cores)
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup-dev  ## Run all tests, the long ones too
	$(BIN)/python -m pytest

test-gpu: setup-dev  ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

soak: setup-dev  ## Generators against a server that is killed at random, for SOAK_MINUTES (3); SOAK_SEED repeats one
	PYTHONPATH=tests $(BIN)/python tests/soak --minutes $(SOAK_MINUTES) $(if $(SOAK_SEED),--seed $(SOAK_SEED))

check: setup-dev  ## Lint, format check, strict types, and that generated code is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/python -m pytest -q tests/unit/test_protos_current.py

format: setup-dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: setup-dev  ## Regenerate memory_service/v1 from protos/
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)

bench: setup-dev  ## Measure the memory beside its peers and the floor, up to 20 minutes (PART=peers|clients|growth|cold)
	$(BENCH)/python -m benchmarks $(PART)

bench-peers: $(BENCH_STAMP)  ## Install the peers that pip can install, into .venv-bench
	@command -v redis-server >/dev/null || echo "redis-server is missing: apt-get install redis-server"

bench-smoke: setup-dev  ## The same benchmark, small and without what must be installed: shows that it runs
	$(BIN)/python -m benchmarks --smoke

bench-generator: setup  ## What a block costs to generate, beside its floor, and what of it retrieval costs (BACKBONE=toy|wan-random)
	$(BIN)/python -m benchmarks.generator --backbone $(BACKBONE)

serve: setup  ## Run a memory service; set ADDRESS and DATA to choose where
	$(BIN)/reverie-memory serve --data $(DATA) --address $(ADDRESS)

ablation: setup  ## What each part of retrieval is worth in the toy world, end to end (20 minutes on two cores)
	$(PIP) --editable '.[$(SERVICE),generator,ablation]'
	$(BIN)/python -m benchmarks.ablation

toy: setup  ## Train the toy world's codec and generator anew (six hours on two cores), then its encoder
	$(BIN)/python -m generator.toy.training.train --out out/toy
	$(MAKE) toy-encoder TOY=out/toy

toy-encoder: setup  ## Train the retrieval encoder anew on rollouts of the toy in TOY (five minutes on two cores)
	$(BIN)/reverie-encoder corpus rollouts --prompts toy:32 --frames 240 --weights $(TOY) --workers 2 --out $(TOY_RUN)/corpus
	$(BIN)/reverie-encoder train --corpus $(TOY_RUN)/corpus --config toy --out $(TOY_RUN)/encoder --cpu
	$(BIN)/reverie-encoder centre $(TOY_RUN)/encoder/best.safetensors --corpus $(TOY_RUN)/corpus \
		--out $(TOY)/encoder.safetensors

clean:  ## Remove what the demo and the tests made; .venv stays
	rm -rf out .pytest_cache .mypy_cache .ruff_cache .hypothesis
