# One Makefile, few words. CI runs `make test` and nothing else.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROGRAMS := opa etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok

.PHONY: help setup programs demo test bench e2e fmt lint types policy generate drift lock clean

help: ## what can be made here
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with everything locked, and .venv/bin/phasegate

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11 …" >&2; exit 3; }
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 3; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

programs: setup # the pinned programs of the local control plane; built once, into the user's cache
	@$(BIN)/python -m controller.local.programs $(PROGRAMS) > /dev/null

demo: setup ## three workflows on a real control plane, live (KEEP=1 leaves it running)
	@$(BIN)/phasegate demo $(if $(KEEP),--keep)

test: setup programs lint types drift policy ## everything that CI asks: lint, types, drift, policies, tests
	@$(BIN)/python -m controller.local.programs promtool > /dev/null
	$(BIN)/python -m pytest $(ARGS)

bench: setup programs ## measure: .bench/report.md and report.json (ONLY=name for one)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

e2e: setup programs ## the tests that need a real node (root, containerd, runc)
	@$(BIN)/python -m controller.local.programs kubelet > /dev/null
	$(BIN)/python -m pytest tests/e2e $(ARGS)

fmt: setup ## format Python and Rego
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$$($(BIN)/python -m controller.local.programs opa) fmt --write policies

lint: setup ## ruff and the arrows between the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## mypy, strict
	$(BIN)/mypy

policy: setup ## format, check, negation, tests with coverage and lint of policies/
	@$(BIN)/python -m controller.local.programs opa regal > /dev/null
	$(BIN)/python -m controller.policy.verify

generate: setup ## crds/, schemas/, configmaps/, docs/reference/ and the rules in deploy/, from the models and policies/
	$(BIN)/python -m controller.api.crd
	$(BIN)/python -m controller.gates.schemas
	$(BIN)/python -m controller.policy.permissions --opa "$$($(BIN)/python -m controller.local.programs opa)"
	$(BIN)/python -m controller.policy.render
	$(BIN)/python -m controller.diagram
	$(BIN)/python -m controller.policy.reference --opa "$$($(BIN)/python -m controller.local.programs opa)"

drift: setup # fails when a generated file is not what `make generate` would write
	$(BIN)/python -m controller.api.crd --check
	$(BIN)/python -m controller.gates.schemas --check
	$(BIN)/python -m controller.policy.permissions --check --opa "$$($(BIN)/python -m controller.local.programs opa)"
	$(BIN)/python -m controller.policy.render --check
	$(BIN)/python -m controller.diagram --check
	$(BIN)/python -m controller.policy.reference --check --opa "$$($(BIN)/python -m controller.local.programs opa)"

lock: ## resolve requirements/*.txt anew from pyproject.toml (ARGS=--upgrade for newer versions)
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet pip-tools==7.6.2
	$(VENV)-lock/bin/python requirements/lock.py $(ARGS)

clean: ## remove what is made here (the user's cache of programs stays)
	rm -rf $(VENV) $(VENV)-lock .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find controller tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
