# Two commands set everything up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The newest one that runs; `make test-newest NEWEST_PYTHON=path/to/python3.13` names it
NEWEST_PYTHON ?= $(firstword $(foreach python,python3.14 python3.13 python3.12,\
	$(shell $(python) -c 'print("$(python)")' 2>/dev/null)) $(PYTHON))

.PHONY: run test test-long test-newest lint clean

run: $(BIN)/ready
	$(BIN)/python -m experiments.run dm --dataset digits --ipc 10 --plugins cc cm cmi --workdir runs/digits

test: $(BIN)/test-ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(BIN)/lint-ready
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/python -m pyright --pythonpath $(BIN)/python

test-long: $(BIN)/test-ready
	XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m ""

# The same tests on the newest versions that pip gives within requirements.txt
test-newest:
	rm -f .venv-newest/bin/ready
	PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager $(MAKE) .venv-newest/bin/test-ready VENV=.venv-newest PYTHON=$(NEWEST_PYTHON)
	.venv-newest/bin/python -c 'import sys, jax; print("Python", sys.version.split()[0], "JAX", jax.__version__)'
	$(MAKE) test VENV=.venv-newest

$(BIN)/ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	touch $@

# torch, for the tests alone: networks and losses are compared with it. A TPU's compiler lies beside
# the packages and not among them, since JAX would look for a TPU in every process; without it (it is
# there for Linux on x86 alone) its tests are skipped.
$(BIN)/test-ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[test]'
	-$(BIN)/python -m pip install --quiet --no-deps --target $(VENV)/libtpu libtpu==0.0.52
	touch $(BIN)/ready $@

# pyright, for `make lint` alone: it brings a Node.js of its own, 67 MB to fetch, and fetches nothing when it runs
$(BIN)/lint-ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[lint]'
	touch $(BIN)/ready $@

clean:
	rm -rf .venv .venv-newest runs
