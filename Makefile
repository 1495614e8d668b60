# Everything runs from a checkout with nothing but Python >= 3.11 and make.
#
#   make demo    sweep and train PPO on HalfCheetah-v5 on this machine, print the recommendation
#   make test    run the tests that are quick
#   make test-slow   run the others: whole programs, and everything that is killed, hung and starved on purpose
#   make test-gymnasium   run Gymnasium's own vector tests against our executions
#   make check   lint, types, layers
#   make bench   compare with other libraries (installs them; takes about an hour)

PYTHON ?= python3
VENV ?= .venv
ifndef OUT
OUT := runs/demo-$(shell date +%Y%m%d-%H%M%S)
endif
BIN := $(VENV)/bin

.DELETE_ON_ERROR:
.PHONY: demo test test-slow test-gymnasium check bench clean

# The batch of the published experiment (16384 steps), so that the table can be put beside it.
demo: $(VENV)/.installed
	$(BIN)/paceline sweep HalfCheetah-v5 --num-env-runners 0,1,2 --num-envs-per-env-runner 1,4,16 --iterations 5 \
		--batch-size 16384 --minibatch-size 512 --out $(OUT)/sweep
	$(BIN)/paceline train HalfCheetah-v5 --plan $(OUT)/sweep/plan.yaml --minutes 1 --out $(OUT)/train
	$(BIN)/paceline evaluate $(OUT)/train --episodes 10
	@echo
	@head -n 12 $(OUT)/sweep/report.txt
	@echo "sweep report: $(OUT)/sweep/report.html    training report: $(OUT)/train/report.html"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

# Gymnasium's own tests of vector environments, run against ours; fetches its repository unless GYMNASIUM_CHECKOUT names one.
test-gymnasium: $(VENV)/.installed-dev
	GYMNASIUM_CHECKOUT=$${GYMNASIUM_CHECKOUT:-fetch} $(BIN)/python -m pytest tests/vector/gymnasium_suite

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.vector_peers
	$(BIN)/python -m benchmarks.vector_setup
	$(BIN)/python -m benchmarks.vector_scaling
	$(BIN)/python -m benchmarks.train_vs_sb3
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.learning

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "paceline needs Python 3.11 or newer, $(PYTHON) is older; run make PYTHON=python3.11 (or newer)"; exit 2; }
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 2; }
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
