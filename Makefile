# The interface of the project: make demo, make test. Everything else is for developers.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     ?= $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
READY  := $(VENV)/.ready
# As pip does: a network may have certificates of its own.
export UV_SYSTEM_CERTS ?= 1

.PHONY: demo test quick check light bench bench-check setup assets container format clean

demo: $(READY)  ## draw the built-in data, train, score, report: one command, no data needed
	$(BIN)/owdfa run lab: -o runs/demo --baseline supervised --refit plda

test: check  ## everything that must hold
	$(BIN)/pytest -q -n 2 -m 'not benchmark'

bench-check: $(READY)  ## that every benchmark runs, at toy size
	$(BIN)/pytest -q -n 2 -m benchmark

quick: $(READY)  ## the quick tests alone
	$(BIN)/pytest -q -n 2 -m 'not slow and not benchmark'

check: $(READY)
	$(BIN)/ruff format --check src tests benchmarks examples tools
	$(BIN)/ruff check src tests benchmarks examples tools
	$(BIN)/mypy
	$(BIN)/lint-imports

light: $(READY)  ## the base install in an environment of its own: what needs no torch
	rm -rf .venv-light
	$(UV) venv -q --python $(PYTHON) .venv-light
	$(UV) pip install -q --python .venv-light/bin/python -c constraints.txt .
	du -sm .venv-light
	OWDFA_LIGHT_PYTHON=$(CURDIR)/.venv-light/bin/python $(BIN)/pytest -q tests/test_light.py

bench: $(READY)  ## what things cost on this machine: benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(UV) >/dev/null || { $(PYTHON) -m venv .uv && .uv/bin/pip install -q --disable-pip-version-check uv; }
	$(UV) venv -q --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

assets:  ## fetch the vendored browser assets anew, by npm: for who changes their list, vendor.toml
	$(PYTHON) tools/assets.py

container:  ## the image, where Docker runs; else its steps, in a bare environment
	if docker info >/dev/null 2>&1; then docker build -t owdfa .; else tools/container/steps.sh; fi

format: $(READY)
	$(BIN)/ruff format src tests benchmarks examples tools
	$(BIN)/ruff check --fix src tests benchmarks examples tools

clean:
	rm -rf $(VENV) .venv-light .uv runs .mypy_cache .ruff_cache .import_linter_cache
