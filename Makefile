# Every target makes what it needs; a fresh clone and a package index are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install demo test test-slow lint bench clean

help:
	@echo "make install    the package in $(VENV)"
	@echo "make demo       label bundled photographs; writes out/demo/gallery.html"
	@echo "make test       the test suite (make test-slow: the long tests too)"
	@echo "make lint       ruff and mypy"
	@echo "make bench      every claim of the README, beside its reference"
	@echo "make clean      remove what the other targets made"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Stamps: set-up runs again only when the requirements change.
$(VENV)/.installed: setup.py constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: setup.py constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python tools/make_demo.py out/demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m 'slow or not slow'

lint: $(VENV)/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run_all

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
