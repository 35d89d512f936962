# Everything starts here; each target sets up what it needs (first time: some minutes).
#
#   make demo        the walk-through: hub, two clusters, the operator, checked line by line
#   make test        all tests but the long ones
#   make check       format, lint, types, layers, generated files
#   make hub         leaves a hub running and says how to use it (make hub-stop ends it)
#   make e2e         the long tests, and those with the real agents or a real node
#   make fault-matrix       everything that goes wrong, 200 clusters a row; writes its page (an hour)
#   make fault-matrix-short the same with 20 clusters a row
#   make bench       measures the hub with 50, 200 and 1,000 simulated clusters
#   make bench-spoke measures pulls through emulated links into real stores (root; some hours)
#   make test-tools  installs podman, skopeo, containerd, CNI (root on Debian); builds a newer containerd
#   make crds        writes deploy/crds from the API structs
#   make docs        writes the pages of docs/ that are made from the code
#   make clean       removes what make wrote into this directory

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := test

RUN := .venv/bin/python
# Where a hub of `make hub` lives.
HUB := run/hub
# More arguments for pytest: make test PYTEST="-k queue -x"
PYTEST :=
# Arguments for the measurement of pulls: make bench-spoke BENCH=--short
BENCH :=
# Much of the time tests wait for real programs; a file's tests stay together, as its fixtures do.
WORKERS := 2
SHARED := -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

# Targets that fail when a generated file is out of date; a new one goes here and below.
GENERATED_CHECKS := check-crds check-docs

.PHONY: demo test check hub hub-stop e2e fault-matrix fault-matrix-short bench bench-short bench-spoke crds docs $(GENERATED_CHECKS) clean env controlplane agents test-tools

demo: controlplane
	.venv/bin/talm demo

test: controlplane
	@$(RUN) -m pytest $(SHARED) -m "not long and not e2e" $(PYTEST); \
	echo "make test: passed in $$SECONDS s"

check: env $(GENERATED_CHECKS)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	@echo "make check: passed"

hub: controlplane
	@$(RUN) -m talm.sim.plane.standing start --crds deploy/crds $(HUB)

hub-stop: env
	@$(RUN) -m talm.sim.plane.standing stop $(HUB)

e2e: controlplane agents
	@$(RUN) -m pytest $(SHARED) -m "long or e2e" $(PYTEST); \
	echo "make e2e: passed in $$SECONDS s"

fault-matrix: controlplane
	nice $(RUN) -m tests.matrix

fault-matrix-short: controlplane
	$(RUN) -m tests.matrix --short

bench: controlplane
	$(RUN) -m bench.hub

bench-short: controlplane
	$(RUN) -m bench.hub --short

bench-spoke: controlplane test-tools
	$(RUN) -m bench.spoke $(BENCH)

crds: env
	$(RUN) -m talm.api.crd

check-crds: env
	$(RUN) -m talm.api.crd --check

docs: env
	$(RUN) docs/generate.py

check-docs: env
	$(RUN) docs/generate.py --check

clean:
	@if [ -d $(HUB) ] && [ -x $(RUN) ]; then $(RUN) -m talm.sim.plane.standing stop $(HUB); fi
	rm -rf .venv run dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@echo "built programs are kept in $${TALM_CACHE:-~/.cache/talm}"

# --- set-up ---

env:
	@scripts/environment.sh

controlplane: env
	@$(RUN) -m controlplane.build

agents: env
	@$(RUN) -m controlplane.build view-action-agent action-gc work-agent policy-engine

test-tools: env
	@scripts/test-tools.sh
	@$(RUN) -m controlplane.build containerd
