# Every command of the suite. `make` alone lists them.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
SHELL := /bin/bash
PYTHON ?= python3
FATHOM := .venv/bin/python -m fathom
LONGEST := tests/test_pipeline.py
LONGEST_FIRST := $(LONGEST) $(filter-out $(LONGEST), $(wildcard tests/test_*.py))

.DEFAULT_GOAL := help
.PHONY: help repro figures figure data retrain plan compare test bench mutate lab stamp clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

.venv/.lock: requirements.lock
	@cmp -s requirements.lock .venv/.lock || { echo "setting up .venv (about 4 minutes)" && rm -rf .venv \
	  && $(PYTHON) -m venv .venv \
	  && .venv/bin/pip install -q --disable-pip-version-check -r requirements.lock \
	  && .venv/bin/pip install -q --disable-pip-version-check --no-deps -e . \
	  && cp requirements.lock .venv/.lock; }
	@touch .venv/.lock

repro: .venv/.lock ## set up, bring everything up to date, redraw every figure, report
	@.venv/bin/dvc repro
	@$(FATHOM) figures
	@.venv/bin/dvc status -q || echo "git checkout figures goes back to the committed ones."
	@$(FATHOM) report

figures: .venv/.lock ## redraw every figure from the tables
	@$(FATHOM) figures

figure: .venv/.lock ## redraw one figure: make figure NAME=tp6/fig10_rate_transfer
	@$(FATHOM) figures $(NAME)

plan: .venv/.lock ## what an entry holds and what it would take: make plan ENTRY=laws_mlp
	@$(FATHOM) plan $(ENTRY)

data: .venv/.lock ## bring Fashion-MNIST (30 MB) into data/, without root
	@$(FATHOM) data

retrain: .venv/.lock ## train anew (everything, or ENTRY=laws_mlp), then compare
	@$(FATHOM) retrain $(ENTRY)

compare: .venv/.lock ## the committed numbers beside the present ones, claim by claim
	@$(FATHOM) compare

test: .venv/.lock ## all checks, as CI runs them
	@TIMEFORMAT="ruff and types: %0R s"; time (.venv/bin/ruff check . \
	  && .venv/bin/ruff format --check . && .venv/bin/basedpyright)
	@TIMEFORMAT="notebooks: %0R s"; time .venv/bin/pytest -n 2 --dist loadscope -q --nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks
	@TIMEFORMAT="tests: %0R s"; time .venv/bin/pytest -p no:nbval -n 2 --dist loadfile \
	  --no-loadscope-reorder -q -rs --durations 20 -m "slow or not slow" $(LONGEST_FIRST)
	@.venv/bin/dvc status -q

bench: .venv/.lock ## the trainer's speed beside a user's own loop and JAX (about 20 minutes)
	@.venv/bin/python -c "import jax" 2>/dev/null || .venv/bin/pip install -q \
	  --disable-pip-version-check -e ".[bench]"
	@.venv/bin/python bench

mutate: .venv/.lock ## remove load-bearing factors one by one: the tests must notice each
	@.venv/bin/python tests/mutate.py

lab: .venv/.lock ## JupyterLab, where every notebook runs from its own folder
	@.venv/bin/jupyter lab --notebook-dir notebooks

stamp: .venv/.lock ## store the verdicts that the claim cells print
	@$(FATHOM) stamp

clean: ## remove build/ (executed notebooks, journals) and caches
	rm -rf build .pytest_cache .ruff_cache
	find lib tests bench notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
