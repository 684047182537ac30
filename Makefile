# Five words: install, check, test, demo, bench. Each makes the virtual environment that it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
INTEROP := .venv-interop

.PHONY: install check test test-slow demo bench interop clean

install: $(STAMP)

# The constraints pin what CI runs; torch==2.13.0 among them, which a machine without a GPU wants as its CPU build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[worker,gateway,embedded,demo,dev]'
	touch $(STAMP)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p warmlane -p warmlane_workers
	$(BIN)/lint-imports

test: install
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow --timeout 900

demo: install
	$(BIN)/warmlane demo

bench: install
	$(BIN)/python -m benchmarks.lane
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.queue
	$(BIN)/python -m benchmarks.artifact
	$(BIN)/python -m benchmarks.predict $(if $(wildcard $(INTEROP)/.installed),--mlflow $(INTEROP)/bin/python)
	$(BIN)/python -m benchmarks.cache
	$(BIN)/python -m benchmarks.adapters
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.fuzz

# Beside the five words: MLflow, which warmlane does not need, loads what warmlane saves, and the other way round.
$(INTEROP)/.installed: pyproject.toml constraints.txt constraints-interop.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/pip install --quiet --constraint constraints.txt --constraint constraints-interop.txt \
		--editable '.[worker,demo]' mlflow pytest pytest-timeout
	touch $(INTEROP)/.installed

interop: $(INTEROP)/.installed
	$(INTEROP)/bin/python -m pytest -c interop/pytest.ini interop

clean:
	rm -rf $(VENV) $(INTEROP) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
