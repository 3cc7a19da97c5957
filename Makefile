# Backbeat. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installed first and alone: a host that offers a CPU build of it keeps that build.
TORCH := torch==2.13.0
# Databases that are made and thrown away by the thousand wait for a disk, but not for memory.
MEMORY := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})
# One more than processors, since tests of services wait for their processes.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); test $$n -lt 4 && echo $$((n + 1)) || echo 4)
ROOMS := contracts feature_repo validation training registry serving backbeat

.DEFAULT_GOAL := help
.PHONY: help install chromium demo test lint format docs bench experiment lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Create .venv with the exact versions of requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); expected Python 3.11. Next: make install PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing $$(grep -c == requirements.lock) packages into $(VENV) (one to five minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq $(TORCH)
	@$(BIN)/pip install -qq -r requirements.lock
	@$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

chromium: ## Install Debian's Chromium for tests/browser where it is missing
	@command -v chromium >/dev/null || { \
		SUDO=$$(test $$(id -u) = 0 || echo sudo); \
		$$SUDO apt-get update -qq && \
		$$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

demo: install ## Data set to served champion; DATA=path/to/mmssl/folder, ARGS="--json"
	@$(BIN)/backbeat demo $(if $(DATA),--data $(DATA)) $(ARGS)

test: install ## Run the tests, a file per worker; ARGS="-k name" narrows
	@scratch=$$(mktemp -d -p $(MEMORY)) && trap "rm -rf $$scratch" EXIT && \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --basetemp=$$scratch/tests $(ARGS)

lint: install ## Format check, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: install ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install ## Regenerate the generated pages
	@$(BIN)/python -m docs.errors_page
	@$(BIN)/python -m docs.reference_page

bench: install ## Run every benchmark; of the faults that the suites should find, a few trials of each
	@for file in benchmarks/[a-z]*.py; do \
		few=; test $$file = benchmarks/quality.py && few="--trials 14"; \
		$(BIN)/python $$file --json $$few || exit 1; done

experiment: install ## Run a paper's table, e.g. NAME=m3csr-table2 INGEST="mmssl ../shared/data/tiktok" ARGS="--seeds 0"
	@$(if $(INGEST),$(BIN)/backbeat ingest $(INGEST) && $(BIN)/backbeat features apply && $(BIN)/backbeat validate run)
	@$(BIN)/backbeat experiment $(NAME) $(ARGS)

lock: ## Resolve pyproject.toml afresh into requirements.lock
	@rm -rf $(VENV).lock && $(PYTHON) -m venv $(VENV).lock
	@$(VENV).lock/bin/pip install -qq $(TORCH)
	@$(VENV).lock/bin/pip install -qq -e '.[dev]'
	@{ echo "# Written by 'make lock' from pyproject.toml. Do not edit."; \
	   $(VENV).lock/bin/pip freeze --exclude-editable --all | grep -v '^pip==' | sed 's/+cpu$$//'; } > requirements.lock
	@rm -rf $(VENV).lock

clean: ## Remove the environment and caches, not the home
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
