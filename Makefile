# What a person runs. Everything is installed into .venv on first use; python3 (3.11 or later) and make are enough.
#
#   make simulate OUT=dir [EVENTS=…] [DAYS=…] [SEED=…]
#   make hunt LOGS="path …" | ON=trino://… | ON=athena://… [FROM=…] [TO=…] [FORMAT=…] [OUT=…] [SETTINGS=…] [FILTERS="path …"] [RULES="path …"]
#   make backtest LOGS="path …" [REPORT=…] [MAX_PER_WEEK=…] [WRITE=…] [SETTINGS=…] [FILTERS="path …"] [RULES="path …"]
#   make convert TARGET=splunk [FORMAT=…] [OUT=…] [SETTINGS=…] [FILTERS="path …"] [RULES="path …"]
#   make upstream OUT=dir
#   make regression RULES="path …"
#   make test
#
# A path with blanks stands as it is if it is the only one (LOGS="/mnt/my logs"); beside others it takes quotes of its own.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Processes that run tests; each engine is started in one of them, which waits while its engine works: so that two
# processors have always something to do, there are three.
JOBS ?= 3

#: What each goal takes, besides VENV and PYTHON. A variable that none of the goals takes is refused, not ignored.
PACK := SETTINGS FILTERS RULES
TAKES_convert := TARGET FORMAT OUT $(PACK)
TAKES_hunt := LOGS ON FROM TO FORMAT OUT $(PACK)
TAKES_backtest := LOGS REPORT MAX_PER_WEEK WRITE $(PACK)
TAKES_simulate := OUT EVENTS DAYS SEED
TAKES_upstream := OUT
TAKES_regression := RULES
TAKES_bench := EVENTS
TAKES_attack := SOURCE
GIVEN := $(foreach name,$(filter-out MAKE% VENV PYTHON,$(.VARIABLES)),$(if $(findstring command line,$(origin $(name))),$(name)))
TAKEN := $(foreach goal,$(MAKECMDGOALS),$(TAKES_$(goal)))
UNKNOWN := $(filter-out $(TAKEN),$(GIVEN))
$(if $(UNKNOWN),$(error make $(or $(MAKECMDGOALS),help) does not take $(UNKNOWN); it takes: $(sort VENV PYTHON $(TAKEN))))

# The shell reads what is given from its environment, so that no character in it means anything to make.
export $(GIVEN)
option = if [ -n "$$$(2)" ]; then set -- "$$@" $(1) "$$$(2)"; fi;
# Paths: one, whatever it holds, if it is there; else several as a shell reads them, each after the option.
paths = if [ -e "$$$(2)" ]; then set -- "$$@" $(1) "$$$(2)"; else eval "for one in $$$(2); do set -- \"\$$@\" $(1) \"\$$one\"; done"; fi;
pack = set --; $(call option,--settings,SETTINGS) $(call paths,--filters,FILTERS) $(call paths,--rules,RULES)

.PHONY: help convert hunt backtest simulate upstream regression targets test programs pytest bench lint golden attack lock clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' $(MAKEFILE_LIST)

convert: $(VENV)/.installed
	@test -n "$$TARGET" || { echo "make convert needs TARGET=…; these are there:" >&2; $(BIN)/keywatch targets >&2; exit 2; }
	@$(pack) $(call option,--format,FORMAT) $(call option,--out,OUT) $(BIN)/keywatch convert "$$@" -- "$$TARGET"

hunt: $(VENV)/.installed
	@test -n "$$LOGS$$ON" || { echo "make hunt needs LOGS=\"path …\", CloudTrail files or folders, or ON=trino://…" >&2; exit 2; }
	@$(pack) $(call option,--on,ON) $(call option,--from,FROM) $(call option,--to,TO) \
	    $(call option,--format,FORMAT) $(call option,--out,OUT) set -- "$$@" --; $(call paths,,LOGS) $(BIN)/keywatch hunt "$$@"

backtest: $(VENV)/.installed
	@test -n "$$LOGS" || { echo "make backtest needs LOGS=\"path …\": CloudTrail files or folders" >&2; exit 2; }
	@$(pack) $(call option,--report,REPORT) $(call option,--max-per-week,MAX_PER_WEEK) $(call option,--write,WRITE) \
	    set -- "$$@" --; $(call paths,,LOGS) $(BIN)/keywatch backtest "$$@"

simulate: $(VENV)/.installed
	@test -n "$$OUT" || { echo "make simulate needs OUT=dir: a new folder, or an empty one" >&2; exit 2; }
	@set --; $(call option,--events,EVENTS) $(call option,--days,DAYS) $(call option,--seed,SEED) \
	    $(BIN)/keywatch simulate "$$@" -- "$$OUT"

upstream: $(VENV)/.installed
	@test -n "$$OUT" || { echo "make upstream needs OUT=dir: a folder, or a checkout of SigmaHQ/sigma" >&2; exit 2; }
	@$(BIN)/keywatch upstream -- "$$OUT"

regression: $(VENV)/.installed
	@test -n "$$RULES" || { echo "make regression needs RULES=\"path …\": rules with samples, such as OUT of make upstream" >&2; exit 2; }
	@set -- --; $(call paths,,RULES) $(BIN)/keywatch regression "$$@"

targets: $(VENV)/.installed
	@$(BIN)/keywatch targets

# What engines need is brought and built while the venv is made; the linters run beside the first tests.
test:
	@$(MAKE) --no-print-directory --jobs=3 $(VENV)/.installed-dev programs lint pytest

programs:
	@PYTHONPATH=tests $(PYTHON) -m programs

# Of what only the tests import, Python compiles the tenth that is imported, if it may write it down.
pytest: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS)

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
	    tests/test_docs.py tests/test_types.py tests/test_equivalence.py -k "not test_equivalence or column or the_page"

# Write the table of ATT&CK's names anew from a bundle of github.com/mitre-attack/attack-stix-data.
attack: $(VENV)/.installed
	@test -n "$$SOURCE" || { echo "make attack needs SOURCE=enterprise-attack-….json: a bundle that MITRE publishes" >&2; exit 2; }
	@$(BIN)/python tools/attack.py "$$SOURCE"

lock: $(VENV)/.installed-dev
	$(BIN)/pip install -q uv
	printf 'uv\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade - -o requirements-uv.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --all-extras --group dev pyproject.toml -o requirements-dev.lock
	printf 'google-re2\npysigma>=2,<3\n' | \
	    $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --no-deps - -o requirements-pysigma2.lock

clean:
	rm -rf build $(VENV)

# pip takes five times as long as uv, which reads none of pip's settings: pip installs where these name an index, where
# uv is not to be had, and where it fails.
PIP = $(BIN)/pip install -q --disable-pip-version-check
install = { ! $(BIN)/pip config list 2>/dev/null | grep -q index && $(BIN)/uv pip install -q --no-compile --python $(BIN)/python $(1); } \
    || { echo "Not with uv: pip installs …" >&2; $(PIP) --no-compile $(1); }

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "keywatch needs Python 3.11 or later; name one: make PYTHON=/path/to/python3 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock requirements-uv.lock pyproject.toml | $(VENV)/bin/pip
	@echo "Installing into $(VENV) …" >&2
	@$(PIP) --only-binary :all: --require-hashes -r requirements-uv.lock || true
	@$(call install,--require-hashes -r requirements.lock)
	@$(call install,--no-deps -e .)
	@# Where Python may write no bytecode (PYTHONDONTWRITEBYTECODE), every start would compile all modules.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib backend pipelines
	@touch $@

# pySigma 2, which the stock backends do not allow yet, lies beside the venv's own for the tests that run under it.
$(VENV)/.installed-dev: requirements-dev.lock requirements-pysigma2.lock $(VENV)/.installed
	@$(call install,--require-hashes -r requirements-dev.lock)
	@rm -rf $(VENV)/pysigma2
	@$(call install,--require-hashes --no-deps --target $(VENV)/pysigma2 -r requirements-pysigma2.lock)
	@touch $@
