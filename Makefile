# Everything a newcomer types. PYTHON may be set to any Python 3.11 or newer, JOBS to the number of
# processes that run tests.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo docs test faults fuzz lint stack bench clean

setup: $(STAMP)  ## a virtual environment with the tested versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup examples/demo/data/.written  ## the whole pipeline on SmolLM2-135M-Instruct, in minutes
	$(BIN)/bids run examples/demo/config.yaml

examples/demo/data/.written: examples/demo/make_data.py | $(STAMP)
	$(BIN)/python examples/demo/make_data.py examples/demo/data
	touch $@

docs: setup  ## the documentation as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: setup  ## all tests, in two processes (JOBS=1: one after the other)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

faults: setup  ## kills servers and workers in the middle of runs; a line for each fault; 15 minutes
	$(BIN)/python -m pytest tests/faults -m 'faults or not faults'

fuzz: setup  ## damaged files and hostile values, thirty times as many as in the tests; half an hour
	BIDS_FUZZ=30 $(BIN)/python -m pytest tests/fuzz -o timeout=3600

lint: setup  ## style, types, import contracts, declared dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

stack: setup  ## the stack of docker/compose.yaml without containers: PostgreSQL, Redis, auth, two workers; a comparison on workers
	BIDS_TEST_STACK=1 $(BIN)/python -m pytest tests/deployments/test_native_stack.py tests/deployments/test_compare.py tests/deployments/test_overlapping_schedules.py

bench: setup  ## benchmarks, one after the other; prints ratios
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:  ## remove what the commands above made, but not the results
	rm -rf $(VENV) build dist site *.egg-info examples/demo/data
