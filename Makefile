# make run: install, measure the bundled students, open the dashboard.  make test: install and run every test.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: run test lint e2e bench soak demo space lock assets results numbers clean
.DELETE_ON_ERROR:

run: .venv/installed
	$(BIN)/python -m pfd_engine.cli.quickstart --port $(PORT)

test: .venv/installed-dev .venv-hub/installed debian
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder $(PYTEST)

e2e: PYTEST := -m browser
e2e: test

lint: .venv/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/installed-dev
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/pages.py
	$(BIN)/python benchmarks/dashboard.py

# A short version of each bundled sweep, killed at random ten times on the way: about five minutes on two cores.
soak: .venv/installed-dev
	$(BIN)/python -m tests.soak_sweeps

# What the Dockerfile runs, without Docker; `space` assembles the folder that a Hugging Face Docker Space is made of (docs/hosting.md).
demo: .venv-demo/installed
	.venv-demo/bin/python -m pfd_engine.cli.serve demo --port $(PORT)

SPACE ?= build/space
space:
	rm -rf $(SPACE) && mkdir -p $(SPACE)
	git archive HEAD Dockerfile .dockerignore .streamlit LICENSE app.py pages pfd_engine requirements-demo.txt results.duckdb | tar -x -C $(SPACE)
	find $(SPACE) -name '*.safetensors' -delete
	cp space/README.md $(SPACE)/README.md

# The bundled checkpoints trained anew, and the shipped results measured anew (about two hours on two cores). The retrained teacher comes
# first, on the noises of each sweep, and is published at once: verdicts look up the floor, and pages the constant image, in what is published.
assets: .venv/installed
	$(BIN)/python -m pfd_engine.distill.make_bundled

DIGITS := ./pfd_engine/assets/digits
results: .venv/installed
	export PFD_HOME=$$(mktemp -d) && trap 'rm -r "$$PFD_HOME"' EXIT && set -e && \
	for seed in 0 4096; do $(BIN)/python -m pfd_engine evaluate --teacher $(DIGITS)-teacher --student $(DIGITS)-teacher-2 --seed $$seed; done && \
	$(BIN)/python -m pfd_engine publish-results --all && \
	for student in memorizes generalizes; do \
	  $(BIN)/python -m pfd_engine evaluate --teacher $(DIGITS)-teacher --student $(DIGITS)-student-$$student; done && \
	for objective in denoiser progressive consistency distribution-matching; do \
	  $(BIN)/python -m pfd_engine distill --teacher $(DIGITS)-teacher --size mlp-512 --objective $$objective; done && \
	for experiment in scaling training-dynamics training-dynamics-usual bias-variance; do $(BIN)/python -m pfd_engine sweep $$experiment; done && \
	$(BIN)/python -m pfd_engine publish-results --all

# The numbers in README.md and docs/*.md, written from the shipped results; --check in place of writing is part of the tests.
numbers: .venv/installed
	$(BIN)/python -m benchmarks.docs_numbers

# The lock files: exact versions for everything that pyproject.toml and requirements-demo.in name.
lock: .venv/installed-dev
	$(COMPILE) -o requirements.txt pyproject.toml
	sed -i 's/^torch==\(.*\)+cpu$$/torch==\1/' requirements.txt
	$(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	sed -i 's/^torch==\(.*\)+cpu$$/torch==\1/' requirements-dev.txt
	$(COMPILE) -o requirements-demo.txt requirements-demo.in

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: name a newer one with PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	@echo "Installing the requirements: a minute or two, the first time"
	$(BIN)/python $(PIP) -r requirements.txt
	touch $@

.venv/installed-dev: requirements.txt requirements-dev.txt | .venv/installed
	$(BIN)/python $(PIP) -r requirements-dev.txt
	touch $@

# A Hub server on loopback for the tests, in an environment of its own, because its pins differ from ours.
.venv-hub/installed: requirements-hub-test.txt
	$(PYTHON) -m venv .venv-hub
	.venv-hub/bin/python $(PIP) -r requirements-hub-test.txt
	touch $@

.venv-demo/installed: requirements-demo.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PIP) -r requirements-demo.txt
	touch $@

# Chromium and git-lfs, where this machine lets us install them; tests that lack them fail under CI and say that they skip elsewhere.
.PHONY: debian
debian:
	@if ! { command -v chromium && command -v git-lfs; } >/dev/null 2>&1 && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing chromium and git-lfs" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium git-lfs >/dev/null; \
	fi

clean:
	rm -rf build .venv .venv-hub .venv-demo .pytest_cache .mypy_cache .ruff_cache
