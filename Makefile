# Needs Python 3.11+ (with venv), git and make; everything else is set up in .venv and .parts.
# Every target may be called first, and called again: what is done already is not done twice, and
# then nothing touches the network.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.stamps
# The first one that really runs (a pyenv shim may exist and refuse to) and can make environments.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3 python; do \
  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
  then command -v "$$python"; break; fi; done)
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Only what the lock names, by its hash, and only wheels: building a source archive would fetch
# build tools that no lock names.
PIP_LOCKED := $(PIP) install --require-hashes --no-deps --only-binary :all:
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate $(UPGRADE)
PACKAGE_FOLDERS := core cli consumers examples infra lakehouse orchestration producers

.PHONY: help install demo test lint soak soak-webhooks fuzz parts bench bench-drops bench-restart bench-sizes bench-many-files bench-webhooks docs lock clean FORCE

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

install: $(STAMPS)/package $(STAMPS)/dev  ## .venv with headrace (editable) and what its development needs

demo: $(STAMPS)/package  ## daily revenue by country out of real shop exports, in ./headrace-demo
	@$(VENV)/bin/headrace demo

test: install  ## the tests, with the real parts that `make parts` has installed
	@$(PY) -P -m pytest $(PYTEST_ARGS)

lint: install  ## format, lint, types, imports, dependencies, dead code, spelling
	@status=0; for check in "ruff format --check ." "ruff check ." mypy "mypy --config-file tests/mypy.ini tests benchmarks docs" \
	  "lint-imports --no-logo" "deptry ." vulture codespell; do \
	  echo "--- $$check"; $(VENV)/bin/$$check || status=1; \
	done; exit $$status

soak: install parts  ## kill everything at random 1,000 times, then count (SOAK_ARGS="--kills 50 --seed 7")
	@PYTHONPATH=tests $(PY) -P -m faults.soak $(SOAK_ARGS)

soak-webhooks: install  ## kill a producer 20 times amid calls, then count those acknowledged (SOAK_ARGS="--kills 50")
	@PYTHONPATH=tests $(PY) -P -m faults.webhook_kills $(SOAK_ARGS)

parts:  ## the real parts that tests can use: Apache Kafka, an S3 server, Prometheus, a browser, docker compose
	@tests/install-parts

fuzz: install  ## ten minutes of hostile input for all parsers (FUZZ_ARGS="--seconds 60 --only archives")
	@PYTHONPATH=tests $(PY) -P -m fuzz.run $(FUZZ_ARGS)

bench: install  ## rows per second from file to gold and peak memory, on the whole retail set
	@$(PY) -P benchmarks/retail.py

bench-restart: install  ## seconds from kill -9 of a consumer to its next commit, beside a bare one
	@$(PY) -P benchmarks/consumer_restart.py

bench-sizes: install  ## 5 GB of CSV and 1 GB of JSON in one line: records per second, peak memory
	@$(PY) -P benchmarks/sizes.py $(SIZES_ARGS)

bench-webhooks: install  ## calls per second a webhook acknowledges, their p99, and how fast they land
	@$(PY) -P benchmarks/webhooks.py $(WEBHOOKS_ARGS)

bench-many-files: install  ## 100,000 small files in one folder: seconds to find them, and what comes after
	@$(PY) -P benchmarks/many_files.py

bench-drops: install  ## under `up`: seconds from a dropped file to gold, CPU and memory at rest
	@$(PY) -P benchmarks/drops.py

docs: install  ## docs/reference from the code
	@$(PY) -P docs/generate.py

lock: $(STAMPS)/dev  ## requirements*.txt from pyproject.toml (UPGRADE=--upgrade for newer versions)
	@$(COMPILE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) --group build --output-file requirements-build.txt
	@$(COMPILE) pyproject.toml --group dev --constraint requirements.txt \
	  --output-file requirements-dev.txt

clean:  ## away with everything that the other targets made
	rm -rf $(VENV) .parts build dist headrace-demo .mypy_cache .ruff_cache .pytest_cache

$(PY):
	@test -n "$(PYTHON)" || { \
	  echo "make: no Python 3.11 or newer with venv found." >&2; \
	  echo "  -> install one (Debian: apt install python3 python3-venv), or say: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)

$(STAMPS)/run: requirements.txt requirements-build.txt $(PY)
	@echo "Installing what headrace runs on"
	@$(PIP_LOCKED) -r requirements.txt -r requirements-build.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: requirements-dev.txt $(STAMPS)/run
	@echo "Installing what its development needs"
	@$(PIP_LOCKED) -r requirements-dev.txt
	@touch $@

# A strict editable install is a tree of links to the files there were (type checkers and tests
# follow it like any package), so it is made again when a file has come or gone.
$(STAMPS)/package: $(STAMPS)/run $(STAMPS)/files pyproject.toml
	@rm -rf build
	@$(PIP) install --no-deps --no-index --no-build-isolation \
	  --config-settings editable_mode=strict --editable .
	@touch $@

$(STAMPS)/files: FORCE | $(STAMPS)/run
	@find $(PACKAGE_FOLDERS) -name __pycache__ -prune -o -type f -print 2>/dev/null | LC_ALL=C sort > $@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi
