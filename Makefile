# Thin: each target is one line of meaning. `make` alone lists them.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run test demo serve airflow doctor lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

setup: ## make the environments and the Weaviate server (under 2 s when nothing changed)
	@$(PYTHON) infra/setup.py

run: setup ## set-up, then the whole pipeline, then a summary
	@python -m pipelines run

test: setup ## lint, types, import rules, tests
	@infra/test

demo: run ## the whole loop in a clone of its own: drift, review, retraining, a better release (10 minutes)
	@$(PYTHON) infra/demo.py

serve: setup ## Weaviate and Triton with the released assistant, until Ctrl-C
	@python -m pipelines serve

airflow: setup ## start Airflow on this machine and hold it until Ctrl-C
	@$(PYTHON) infra/airflow.py

doctor: ## what is installed, what is missing, the command that mends it
	@$(PYTHON) infra/setup.py doctor

lock: setup ## pin pyproject.toml's groups into infra/requirements/*.txt
	@$(PYTHON) infra/setup.py lock

clean: ## remove the environments and .state/ (never data or models)
	rm -rf .venv .venv-airflow .venv-triton .tools .state
