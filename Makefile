PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help demo reproduce test check lint bench clean

help:
	@echo "make demo [TRACE=file]  install, then calibrate, train, compare, export and ask the service (runs/demo/)"
	@echo "make reproduce          train five seeds, ship the best of them and their mean, judge all (runs/reproduce/; hours)"
	@echo "make test               install what tests need, run them all"
	@echo "make check              formatting, types, layers and the quick tests"
	@echo "make bench              measure speed (benchmarks/)"
	@echo "make clean              remove what make made"

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing (about two minutes) ..."
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable '.[serve,train]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP_INSTALL) --editable '.[serve,train,models,rivals,dev]'
	@touch $@

demo: .venv/installed
	@$(BIN)/python scripts/demo.py --out $(DEMO) $(if $(TRACE),--trace '$(TRACE)')

reproduce: .venv/installed
	$(BIN)/python scripts/reproduce.py --out runs/reproduce

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

bench: .venv/installed
	$(BIN)/python scripts/benchmark.py --out runs/benchmark.json

clean:
	rm -rf .venv runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
