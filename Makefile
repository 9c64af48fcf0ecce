# The verbs of the project; `make train` and `make test` set up all that they need.
PYTHON ?= python3
EXTRA ?= cpu
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test test-long lint docs bench soak clean

train: $(VENV)/.with-$(EXTRA)
	$(BIN)/oarlock train $(ARGS)

test: $(VENV)/.with-dev
	$(BIN)/python -m pytest -n auto -m "not long" $(ARGS)

test-long: $(VENV)/.with-dev
	$(BIN)/python -m pytest -n auto -m long $(ARGS)

lint: $(VENV)/.with-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.with-dev
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.with-dev
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/many_plugins.py
	$(BIN)/python benchmarks/sweeps.py
	$(BIN)/python benchmarks/pruning.py

soak: $(VENV)/.with-dev
	$(BIN)/python -m pytest -n auto -m soak $(ARGS)

clean:
	rm -rf $(VENV) build dist site

# Debian ships Python without venv; where we may, we install it.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.with-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA),dev]'
	touch $@ $(VENV)/.with-$(EXTRA)

$(VENV)/.with-%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
