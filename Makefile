# A fresh machine needs Python 3.11, 3.12 or 3.13 and make; everything else is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
CANDIDATES = $(PYTHON) python3.13 python3.12 python3.11
# True for a Python that bayestds supports and that can make virtual environments.
SUITABLE = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PIP_INSTALL = $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet

.PHONY: help demo test coverage test-slow test-browser lint bench bench-peers docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## fit the force constants of nickel, as in the paper, into demo/
	@mkdir -p demo
	$(VENV)/bin/bayestds fit ni_fcc_paper -o demo/ni_fcc_paper.nc

test: $(VENV)/.installed-test ## quick tests
	$(VENV)/bin/pytest -n 2

coverage: $(VENV)/.installed-test ## quick tests, with a report of the lines that none of them runs
	$(VENV)/bin/pytest -n 2 --cov --cov-report=term

test-slow: $(VENV)/.installed-test ## the checks that take longer
	$(VENV)/bin/pytest -n 2 -m slow

test-browser: $(VENV)/.installed-browser ## the report page in Chromium, which must be installed
	$(VENV)/bin/pytest -m browser

lint: $(VENV)/.installed-test ## style, formatting and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(VENV)/.installed-test ## timings on this machine
	$(VENV)/bin/python benchmarks/run.py

bench-peers: $(VENV)/.installed-peers ## Euphonic, phonopy, dynasor and the algorithm of the paper beside bayestds
	$(VENV)/bin/python benchmarks/peers.py

docs: $(VENV)/.installed-docs ## the site of the documentation, into build/site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

clean: ## remove the environment and everything generated
	rm -rf $(VENV) demo build dist htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find bayestds tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@for candidate in $(CANDIDATES); do \
	    if $$candidate -c '$(SUITABLE)' 2>/dev/null; then \
	        echo "Making $(VENV) with $$($$candidate --version)"; \
	        exec $$candidate -m venv $(VENV); \
	    fi; \
	done; \
	echo "No suitable Python among: $(CANDIDATES)." >&2; \
	echo "bayestds needs Python 3.11, 3.12 or 3.13 with its venv module." >&2; \
	echo "Install one (on Debian or Ubuntu also python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-peers: $(VENV)/.installed-test
	$(PIP_INSTALL) -e '.[test,peers]'
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-test
	$(PIP_INSTALL) -e '.[test,browser]'
	@touch $@
