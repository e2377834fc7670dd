# `make demo` and `make test` need nothing else on a new machine: each creates the virtual environment first.

PYTHON ?= python3
VENV := .venv
# Number of processes that run the tests. Use no more than there are cores, because some tests have time limits.
JOBS ?= 2
BIN := $(VENV)/bin
# Python compiles a module when it is first imported; compiling all modules at installation would take 350 MB.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all check lint format types contracts docs bench sbom clean

demo: $(VENV)/.train  ## Create synthetic films, inspect, train, evaluate, export, classify; needs no data
	$(BIN)/pneumoscan demo demo

test: $(VENV)/.dev  ## The tests, without those marked slow
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/.dev  ## All tests
	$(BIN)/python -m pytest

check: lint types contracts test  ## All checks of a change

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin
	$(BIN)/mypy --platform win32

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## The documentation as a site, build/site/index.html
	$(BIN)/python docs/build_site.py

bench: $(VENV)/.dev  ## Speed benchmarks; writes results/benchmarks/
	$(BIN)/python -m benchmarks.speed.run

# Installs under constraints.txt what a hospital installs, and lists that. The tool has an environment of its own: nothing of it is in the bill.
SBOM_EXTRAS ?= node,dicom,pdf,web
sbom:  ## Software bill of materials (CycloneDX), build/sbom.cdx.json; make sbom SBOM_EXTRAS=train for another set
	mkdir -p build
	$(PYTHON) -m venv build/sbom-tool
	build/sbom-tool/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7.5,<8"
	$(PYTHON) -m venv --clear --without-pip build/sbom-env
	build/sbom-tool/bin/python -m pip --python build/sbom-env/bin/python install --quiet --no-compile --disable-pip-version-check \
	    --constraint constraints.txt ".[$(SBOM_EXTRAS)]"
	version=$$(build/sbom-env/bin/python -c "import pneumoscan; print(pneumoscan.__version__)") && \
	    sed "s/^dynamic = .*/version = \"$$version\"/" pyproject.toml > build/sbom.toml
	build/sbom-tool/bin/cyclonedx-py environment build/sbom-env/bin/python --pyproject build/sbom.toml --mc-type application \
	    --output-reproducible --output-format JSON --output-file build/sbom.cdx.json

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pneumoscan needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.train: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable ".[train]"
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
