# Two commands: `make` runs the pipeline, `make test` runs the tests. Both make .venv first if need be.
PYTHON := $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: all test lint
all: .venv/installed
	@$(BIN)/dvc config --quiet --local core.no_scm $(if $(wildcard .git),false,true) # a downloaded ZIP is no git repository
	$(BIN)/dvc repro

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/installed: requirements.txt stages/requirements.txt tests/requirements.txt
	$(if $(PYTHON),,$(error Python 3.11 or 3.12 is needed; none of python3, python3.12, python3.11 is one))
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/requirements.txt
	touch $@
