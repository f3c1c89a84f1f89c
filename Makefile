# The verbs of this project. Each sets up what it needs: a virtual environment in .venv, the package with its native
# build, and the tools. Nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := $(wildcard native/*) CMakeLists.txt

.PHONY: setup demo page gallery test kill-test lint sanitize check-processors bench bench-gpu quality docs wheel clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

# Hundreds of processes are started in it: what they import is compiled once, whatever the surroundings say.
# What looks at the code and the sanitised build go side by side, since each has long stretches on one core.
test: setup
	$(MAKE) --jobs 2 lint sanitize
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2

# The page of `recurra look`, built anew from web/ into the package. Needs node; who uses Recurra needs none.
page:
	cd web && npm ci && npm run check && npm run build

# The pictures of docs/gallery.md, drawn anew by models that are trained for them.
gallery: setup
	$(BIN)/python examples/gallery.py

# Two hundred kills of runs, at any moment and at any call that writes, and a table of where they were.
kill-test: setup
	$(BIN)/python tests/killing.py 200

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror native/*.h native/*.cpp
	$(BIN)/clang-format --dry-run --Werror --style=file:native/.clang-format tests/*.cpp
	$(BIN)/pyright

# The native tests under the address and undefined-behaviour sanitisers.
sanitize: setup
	tests/sanitised.sh

# The same bits on Arm and on a processor without AVX2, both emulated: tests/processors.sh names the packages it needs.
check-processors: setup
	tests/processors.sh

bench: setup
	$(BIN)/python benchmarks/run.py

# The kernels for GPUs on a CUDA device: their tests, then a table; less than 8 minutes. Options in GPU, say GPU="--only lstm".
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py $(GPU)

# Rows of the table of quality, run again: make quality DATA=FOLDER ROWS="trec sst2". An hour and more for all.
quality: setup
	$(BIN)/python -m benchmarks.quality --data $(DATA) $(ROWS)

docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: setup
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf build dist site $(STAMP)
