# Two commands do everything, set-up included: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test evidence lint clean

run: $(VENV)/.installed
	$(BIN)/glimpseworld train quick

test: lint
	$(BIN)/python -m pytest -n 2

# The figures in the README: three seeds of the quick preset and of its i.i.d. reference. Six times `make run`.
EVIDENCE := "" "--agent independent --rotation.max-angle 3.141592653589793"
evidence: $(VENV)/.installed
	for seed in 0 1 2; do for options in $(EVIDENCE); do \
		$(BIN)/glimpseworld train quick --folder runs/evidence --seed $$seed $$options || exit 1; \
	done; done
	$(BIN)/glimpseworld summary runs/evidence/*

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
