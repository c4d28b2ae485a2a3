# On a fresh machine with only Python (3.11 or later) and make: `make demo`, `make test`.
# PYTHON=/path/to/python3.12 chooses another interpreter; the first that will do is taken.
SHELL := /bin/sh
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
		>/dev/null 2>&1 && echo $$name && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: setup demo test check clean

setup: $(READY)

# Made again only when a pin or layers.c changes; a half-made environment has no stamp.
$(READY): constraints.txt pyproject.toml setup.py system2/engine/layers.c
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv is needed; set PYTHON=" >&2; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo 'Setting up $(VENV): once, some minutes.'
	$(RUN) -m pip install --quiet -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[train,test,dev]'
	touch $@

demo: setup
	$(RUN) -m system2 demo

test: setup
	$(RUN) -m pytest -q -n 2 --dist loadfile

check: setup
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright
	$(RUN) -m pytest -q -n 2 --dist loadfile

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	rm -f system2/engine/_layers*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
