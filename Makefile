# Two commands: `make` runs the pipeline, `make test` runs the tests. Both make .venv first if need be.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: all test lint lock
all: .venv/installed
	@$(BIN)/dvc config --quiet --local core.no_scm $(if $(wildcard .git),false,true) # a downloaded ZIP is no git repository
	$(BIN)/dvc repro

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# After a change of requirements.txt or those of stages/ and tests/: what exactly is installed on each platform, with the
# hashes of the files. Versions that still do are kept.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(LOCK) requirements.txt --output-file requirements.lock
	$(LOCK) --no-deps tests/requirements.txt >> requirements.lock

.venv/installed: requirements.lock
	$(if $(PYTHON),,$(error Python 3.11, 3.12 or 3.13 is needed; none of python3, python3.13, python3.12, python3.11 is one))
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes --requirement $<
	-$(BIN)/python -m compileall -q -j 0 -x "/tests?/" .venv/lib # as pip would on one core, less the tests of others
	touch $@
