# Two commands set everything up: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-long clean

run: $(BIN)/ready
	$(BIN)/python -m experiments.run dm --dataset digits --ipc 10 --plugins cc cm cmi --workdir runs/digits

test: $(BIN)/test-ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(BIN)/test-ready
	XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m ""

$(BIN)/ready: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

# torch, for the tests alone: networks and losses are compared with it
$(BIN)/test-ready: $(BIN)/ready
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

clean:
	rm -rf .venv runs
