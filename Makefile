# Everything runs from a checkout with nothing but Python >= 3.11 and make.
#
#   make demo    tune PPO on HalfCheetah-v5 for this machine, train with the plan that won, evaluate, print the verdict
#
#   make train             PPO with the plan that suits the machine   (ENV=HalfCheetah-v5 STEPS=1000000 OUT=runs/..)
#   make train-timed       the same for MINUTES=10
#   make train-parallel    PPO in RUNNERS=2 runner processes of ENVS=8 environments
#   make train-impala      IMPALA in one process
#   make train-impala-parallel   IMPALA with RUNNERS actors that never wait, ENVS environments in each
#   make train-a2c         A2C
#   make train-a3c         A3C with RUNNERS runners that send gradients
#   make evaluate          play EPISODES=100 episodes with the policy in OUT (the newest run, if OUT is not given)
#   make compare           compare the runs in DIRS="runs/a runs/b" (the newest two, if DIRS is not given)
#   make tensorboard       show the curves of all runs below LOGDIR=runs on this machine's port 6006
#
#   make test    run the tests that are quick
#   make test-slow   run the others: whole programs, and everything that is killed, hung and starved on purpose
#   make test-gymnasium   run Gymnasium's own vector tests against our executions
#   make check   lint, types, layers
#   make bench   compare speeds with other libraries (installs them; takes an hour or more)
#   make bench-learning   how well every algorithm learns: 18 rows of 5 seeds, which takes hours; finished seeds are kept
#   make bench-rllib   install RLlib for that comparison, in a virtual environment of its own

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

ENV ?= HalfCheetah-v5
STEPS ?= 1000000
MINUTES ?= 10
RUNNERS ?= 2
ENVS ?= 8
EPISODES ?= 100
LOGDIR ?= runs
# More options of the command, for example ARGS="--seed 3 --set algo.gamma=0.98".
ARGS ?=
STAMP := $(shell date +%Y%m%d-%H%M%S)
FOLDER = $(or $(OUT),runs/$@-$(STAMP))
TRAIN = $(BIN)/paceline train $(ENV) --out $(FOLDER)

.DELETE_ON_ERROR:
.PHONY: demo train train-timed train-parallel train-impala train-impala-parallel train-a2c train-a3c evaluate compare \
	tensorboard test test-slow test-gymnasium check bench bench-learning bench-rllib clean

# The batch of the published experiment: 16384 steps in 32 minibatches. A plan whose environments do not divide it is
# measured, and so trained, with the nearest batch that they do divide: the exported run has it.
demo: $(VENV)/.installed
	$(BIN)/paceline tune HalfCheetah-v5 --budget-minutes 3 --again --batch-size 16384 --minibatch-size 512 \
		--out $(FOLDER)/tune
	$(BIN)/paceline export $(FOLDER)/tune --to yaml --out $(FOLDER)/run.yaml
	$(BIN)/paceline train --config $(FOLDER)/run.yaml --minutes 1 --out $(FOLDER)/train
	$(BIN)/paceline evaluate $(FOLDER)/train --episodes 10
	@echo
	@sed '/^  /,$$d' $(FOLDER)/tune/report.txt
	@echo "tuning: $(FOLDER)/tune/report.html    training: $(FOLDER)/train/report.html"

train: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) $(ARGS)

train-timed: $(VENV)/.installed
	$(TRAIN) --minutes $(MINUTES) $(ARGS)

train-parallel: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) --num-env-runners $(RUNNERS) --num-envs-per-env-runner $(ENVS) $(ARGS)

train-impala: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) --algo impala --num-env-runners 0 --num-envs-per-env-runner $(ENVS) $(ARGS)

train-impala-parallel: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) --algo impala --inference runner --schedule async --num-env-runners $(RUNNERS) \
		--num-envs-per-env-runner $(ENVS) $(ARGS)

train-a2c: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) --algo a2c $(ARGS)

train-a3c: $(VENV)/.installed
	$(TRAIN) --total-steps $(STEPS) --algo a3c --num-env-runners $(RUNNERS) --num-envs-per-env-runner $(ENVS) $(ARGS)

# The folders of training runs, the newest first.
RUNS = $(patsubst %/checkpoints,%,$(shell ls -td runs/*/checkpoints runs/*/train/checkpoints 2>/dev/null))

evaluate: $(VENV)/.installed
	@test -n "$(or $(OUT),$(firstword $(RUNS)))" || { echo "no run to evaluate; make train first, or give OUT="; exit 2; }
	$(BIN)/paceline evaluate $(or $(OUT),$(firstword $(RUNS))) --episodes $(EPISODES) $(ARGS)

compare: $(VENV)/.installed
	@test -n "$(or $(DIRS),$(word 2,$(RUNS)))" || { echo "expected two runs to compare; give DIRS=\"runs/a runs/b\""; exit 2; }
	$(BIN)/paceline compare $(or $(DIRS),$(wordlist 1,2,$(RUNS))) $(ARGS)

tensorboard: $(VENV)/.installed
	@test -x $(BIN)/tensorboard || \
		{ echo "TensorBoard is not installed; run $(BIN)/python -m pip install tensorboard, then make tensorboard"; exit 2; }
	$(BIN)/tensorboard --logdir $(LOGDIR) --host localhost --port 6006

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
	$(BIN)/python -m benchmarks.train_vs_peers
	$(BIN)/python -m benchmarks.parallel_vs_sequential
	$(BIN)/python -m benchmarks.startup

# Apart from the others: it trains 90 times, most of them a million steps of HalfCheetah-v5.
bench-learning: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.learning

# RLlib pins another Gymnasium: it is compared from a virtual environment of its own.
bench-rllib:
	$(PYTHON) -m venv $(VENV)-rllib
	$(VENV)-rllib/bin/python -m pip install --quiet torch==2.13.0 'ray[rllib]' 'gymnasium[mujoco]' mujoco==4.0.0

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
