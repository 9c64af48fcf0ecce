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

# Every part of the benchmarks, and the page that shows them; `make bench-training ARGS="--rounds 1"` runs one part alone.
BENCH := training training-2 callbacks memory startup many_plugins sweeps launchers growth pruning serve

bench: $(VENV)/.with-dev
	@for part in $(BENCH); do $(MAKE) --no-print-directory bench-$$part || failed="$$failed $$part"; done; \
	$(MAKE) --no-print-directory bench-page; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench-training-2: $(VENV)/.with-dev
	$(BIN)/python benchmarks/training.py --threads 2 $(ARGS)

bench-%: $(VENV)/.with-dev
	$(BIN)/python benchmarks/$*.py $(ARGS)

soak: $(VENV)/.with-dev
	$(BIN)/python -m pytest -n auto -m soak $(ARGS)

clean:
	rm -rf $(VENV) build dist site benchmarks/.environments

# Debian ships Python without venv; where we may, we install it.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.with-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA),dev]'
	touch $@ $(VENV)/.with-$(EXTRA)

$(VENV)/.with-%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
