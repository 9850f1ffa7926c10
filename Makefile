# What a person runs. Everything is installed into .venv on first use; python3 (3.11 or later) and make are enough.
#
#   make convert TARGET=splunk [FORMAT=…] [OUT=…] [SETTINGS=…] [FILTERS=…] [RULES=…]
#   make hunt LOGS="path …" [FORMAT=…] [SETTINGS=…] [FILTERS=…] [RULES=…]
#   make backtest LOGS="path …" [REPORT=…] [MAX_PER_WEEK=…] [WRITE=…] [SETTINGS=…] [FILTERS=…] [RULES=…]
#   make upstream OUT=dir
#   make test

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Processes that run tests; each engine is started in one of them.
JOBS ?= 2

options = $(foreach rules,$(RULES),--rules "$(rules)") $(foreach filters,$(FILTERS),--filters "$(filters)") \
    $(if $(SETTINGS),--settings "$(SETTINGS)") $(if $(FORMAT),--format "$(FORMAT)")

.PHONY: help convert hunt backtest upstream targets test bench lint golden attack lock clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' $(MAKEFILE_LIST)

convert: $(VENV)/.installed
	@test -n "$(TARGET)" || { echo "make convert needs TARGET=…; these are there:" >&2; $(BIN)/keywatch targets >&2; exit 2; }
	@$(BIN)/keywatch convert "$(TARGET)" $(options) $(if $(OUT),--out "$(OUT)")

hunt: $(VENV)/.installed
	@test -n "$(LOGS)" || { echo "make hunt needs LOGS=\"path …\": CloudTrail files or folders" >&2; exit 2; }
	@$(BIN)/keywatch hunt $(options) $(LOGS)

backtest: $(VENV)/.installed
	@test -n "$(LOGS)" || { echo "make backtest needs LOGS=\"path …\": CloudTrail files or folders" >&2; exit 2; }
	@$(BIN)/keywatch backtest $(options) $(if $(REPORT),--report "$(REPORT)") \
	    $(if $(MAX_PER_WEEK),--max-per-week "$(MAX_PER_WEEK)") $(if $(WRITE),--write "$(WRITE)") $(LOGS)

upstream: $(VENV)/.installed
	@test -n "$(OUT)" || { echo "make upstream needs OUT=dir: a folder, or a checkout of SigmaHQ/sigma" >&2; exit 2; }
	@$(BIN)/keywatch upstream "$(OUT)"

targets: $(VENV)/.installed
	@$(BIN)/keywatch targets

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# Simulates the events first, once: 5 million are 0.8 GB in build/bench.
bench: $(VENV)/.installed-dev
	$(BIN)/python tests/bench.py $(or $(EVENTS),100000 1000000 5000000)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict sigma

# Write the golden files and the tables of docs/equivalence.md and docs/fields.md anew: look at the diff.
golden: $(VENV)/.installed-dev
	KEYWATCH_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/test_golden.py \
	    tests/test_docs.py tests/test_equivalence.py -k "not test_equivalence or column or the_page"

# Write the table of ATT&CK's names anew from a bundle of github.com/mitre-attack/attack-stix-data.
attack: $(VENV)/.installed
	@test -n "$(SOURCE)" || { echo "make attack needs SOURCE=enterprise-attack-….json: a bundle that MITRE publishes" >&2; exit 2; }
	@$(BIN)/python tools/attack.py "$(SOURCE)"

lock: $(VENV)/.installed-dev
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --group dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf build $(VENV)

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "keywatch needs Python 3.11 or later; name one: make PYTHON=/path/to/python3 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	@echo "Installing into $(VENV) …" >&2
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
