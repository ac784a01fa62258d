# make demo and make test make the environment themselves; they need only Python 3.11 to 3.14.

SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach version,3.13 3.12 3.14 3.11 3,\
    $(shell python$(version) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
    2>/dev/null && echo python$(version))))
BIN := .venv/bin
CORES ?= 2

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all test-extras lint format bench pictures codes lock clean

help:
	@echo "make demo   run the workflow on a small generated dataset, in demo/"
	@echo "make test   run the tests (make test-all: the slow ones too)"
	@echo "make test-extras  run the tests of the extras (PyTorch, SpatialData, ...), in .venv-extras"
	@echo "make lint   check style and types; make format corrects the style"
	@echo "make bench  measure speed and memory (minutes, some GB in bench/)"
	@echo "make env    only make the environment, .venv"

env: .venv/ready

.venv/ready: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed; name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	touch $@

demo: env
	$(BIN)/snakemake --cores $(CORES) --directory demo --quiet rules
	@echo
	@echo "The results are in demo/results: open demo/results/report/index.html in a browser, or"
	@echo "  $(BIN)/python -c \"import scanpy; print(scanpy.read_h5ad('demo/results/anndata/Demo_Brain_Visium.h5ad'))\""

test: env
	$(BIN)/pytest -n $(CORES) -m "not slow"

test-all: env
	$(BIN)/pytest -n $(CORES)

# The extras are not in the lock; envs/extras.txt fixes their versions, so pip does not try many.
EXTRAS := torch,spatialdata,huggingface,baseline
EXTRAS_TESTS = $(shell grep --recursive --files-with-matches --include="test_*.py" importorskip tests)

.venv-extras/ready: envs/extras.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed; name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv-extras
	.venv-extras/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint envs/extras.txt torch torchvision '.[workflow,$(EXTRAS)]' \
	    hestcore mlcroissant openslide-bin spatialdata-io hypothesis pillow polars pytest pytest-xdist
	rm -rf .venv-extras/lib/python*/site-packages/st1k4m  # the tests import the one in scripts/
	@# With a PyTorch built for CPUs only, the import of the usual torchvision fails, because it cannot
	@# register an operator. Only detection models use this operator, and there are none here.
	.venv-extras/bin/python -c "import torchvision" 2>/dev/null || sed -i \
	    's/^@torch.library.register_fake("torchvision::q\?nms")$$/@(lambda function: function)/' \
	    .venv-extras/lib/python*/site-packages/torchvision/_meta_registrations.py
	touch $@

# A skipped test counts as a failure here, unless it needs the real slides.
test-extras: .venv-extras/ready
	.venv-extras/bin/pytest -n $(CORES) $(EXTRAS_TESTS) | tee .venv-extras/tests.txt; \
	    test $${PIPESTATUS[0]} = 0
	@! grep "^SKIPPED" .venv-extras/tests.txt | grep --invert-match "no real slides\|no published"

# The rooms whose types are checked strictly.
TYPED := $(notdir $(wildcard scripts/st1k4m/formats scripts/st1k4m/run))

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	rm -rf .lint && mkdir .lint && $(BIN)/snakemake --lint --directory .lint
	$(BIN)/mypy $(TYPED:%=--package st1k4m.%)

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

bench: env
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# One lock for every Python and platform; needs uv. It has no index addresses, so any mirror works.
# Afterwards each locked package must have a wheel for the newest Python, except these, which are
# built from source: connection-pool and pyvips are pure Python; immutables needs a C compiler on
# Python 3.14.
BUILT := connection-pool immutables pyvips

lock:
	uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	    --extra workflow --group test --group lint pyproject.toml --output-file requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
	    --no-emit-index-url --custom-compile-command "make lock" --all-extras \
	    --group test --group extras-test pyproject.toml --output-file envs/extras.txt
	for platform in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin; do \
	    uv pip compile --quiet --no-deps --python-version 3.14 --python-platform $$platform \
	        --only-binary :all: $(BUILT:%=--no-binary %) requirements.txt --output-file /dev/null \
	        || exit 1; \
	done

# The table of statuses, reasons and flags, which a test compares with the code.
codes: env
	cd scripts && ../$(BIN)/python -c "from st1k4m import codes; print(codes.describe(), end='')" \
	    > ../docs/codes.md

# The pictures of the README, made from the demo's report; needs Chromium.
pictures: demo
	$(BIN)/python docs/pictures/make.py

clean:
	rm -rf demo bench .lint .mypy_cache .venv-extras .pytest_cache .ruff_cache .hypothesis
