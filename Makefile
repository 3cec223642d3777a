# The page of commands. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Pythons that pyenv installed, for tox; without pyenv this adds nothing.
PYENV_BINS := $(subst $() ,:,$(wildcard $(HOME)/.pyenv/versions/*/bin))
# As root; where there is no sudo, one sentence.
SUDO := $(if $(filter 0,$(shell id -u)),,sh tests/as-root)
# For make kernels: which of Debian's kernels, and what pytest is told.
KERNEL ?= 5.10 6.1 6.12
TESTS ?= tests/kernel
# For make fuzz: how long it searches.
SECONDS ?= 300

.DEFAULT_GOAL := help
.PHONY: help run test unit kernel kernels package deb fuzz lint types bench docs picture golden clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/installed ## install into .venv and show this machine's connection tracking
	@$(BIN)/conntrack-stat status
	@for command in check_conntrack conntrack-telegraf \
	    "conntrack-prometheus --metrics table.*"; do \
	    printf '\n$$ %s\n' "$$command"; $(BIN)/$$command; done; true
	@printf '\nWhat is missing or could be had here (conntrack-stat doctor):\n'
	@$(BIN)/conntrack-stat doctor || true
	@$(BIN)/conntrack-stat demo --if-inactive

test: packages $(VENV)/tox ## install what the tests need (Debian packages, as root) and run everything
	PATH="$$PATH:$(PYENV_BINS)" $(BIN)/tox run

unit: $(VENV)/tox ## the unit tests with this Python alone
	$(BIN)/tox run -e py3

kernel: packages $(VENV)/tox ## the tests on the real kernel and in the real agents (root)
	$(BIN)/tox run -e kernel

kernels: packages ## tests/kernel on Debian's kernels under QEMU (KERNEL=6.1 TESTS=tests/kernel/test_list.py)
	$(SUDO) sh tests/machine/build .machines $(KERNEL)
	@failed=; for kernel in $(KERNEL); do \
	    sh tests/machine/run $$kernel -q $(TESTS) || failed="$$failed $$kernel"; done; \
	[ -z "$$failed" ] || { echo "failed on$$failed"; exit 1; }

fuzz: $(VENV)/installed ## search for inputs that break a parser (SECONDS=300)
	@$(BIN)/pip install --quiet --disable-pip-version-check '.[test]'
	@$(BIN)/pip install --quiet --disable-pip-version-check atheris || echo "no atheris for this Python: hypothesis alone"
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS)

lint: $(VENV)/tox ## ruff (rules and format) and mypy (strict)
	$(BIN)/tox run -e lint,types

package: packages $(VENV)/tox ## the tests of the wheel and the Debian packages (root; installs, purges)
	$(BIN)/tox run -e package

deb: ## build the Debian packages into dist/
	@command -v dpkg-buildpackage >/dev/null || { echo "make deb needs: apt install dpkg-dev"; exit 1; }
	sh debian/build.sh dist

bench: $(VENV)/installed ## measure, as ratios in one run
	$(BIN)/python tests/bench/bench.py

docs: $(VENV)/installed ## make docs/metrics.md anew from the catalogue
	$(BIN)/python -m conntrack_plugins.manual.reference > docs/metrics.md

picture: $(VENV)/installed ## draw README's picture anew (root)
	$(SUDO) env PYTHONPATH=tests $(BIN)/python tests/picture.py docs/picture.svg

golden: $(VENV)/tox ## accept the commands' present output as right (look at git diff!)
	$(BIN)/tox run -e py3 -- tests/unit/test_golden.py --update-golden

clean: ## remove what these targets made
	rm -rf $(VENV) .tox .machines build dist *.egg-info debian/made

.PHONY: packages
packages:
	sh tests/install-debian-packages

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "a virtual environment needs: apt install python3-venv"; exit 1; }

$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/tox: $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check 'tox >= 4.11'
	@touch $@
