# Each target calls one program. `make` alone lists them.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run adopt test demo serve airflow doctor lock clean small-run scores comment images

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

setup: ## install the environments and servers (under 2 s if nothing changed)
	@$(PYTHON) infra/setup.py

run: setup ## set-up, then the whole pipeline, then a summary
	@python -m pipelines run

adopt: setup ## your documents instead of the sample's: make adopt FROM=folder-or-URL
	@python -m pipelines adopt "$(FROM)"

test: setup ## lint, types, import rules, style, tests
	@infra/test

demo: run ## the whole loop in its own clone: drift, review, retraining, release (up to 20 minutes)
	@$(PYTHON) infra/demo.py

serve: setup ## the released assistant behind its gateway, until Ctrl-C
	@python -m pipelines serve

airflow: setup ## Airflow on this machine, until Ctrl-C
	@$(PYTHON) infra/airflow.py

doctor: ## show what is installed, what is missing and how to fix it
	@$(PYTHON) infra/setup.py doctor

lock: setup ## pin pyproject.toml's groups into infra/requirements/*.txt
	@$(PYTHON) infra/setup.py lock

small-run: setup ## the whole pipeline with the small made model (5 minutes); changes params.yaml
	@python -m pipelines preset made
	@python -m pipelines run

scores: ## the last run's scores and verdict, as Markdown
	@python -m pipelines summary --markdown

comment: ## the same as a comment of a pull request, by gh: make comment PULL_REQUEST=7
	@scores="$$(python -m pipelines summary --markdown)" && printf '%s\n' "$$scores" | gh pr comment "$(PULL_REQUEST)" --edit-last --create-if-none --body-file -

images: setup ## build and run the images, as root on Debian (20 minutes, 25 GB below /var/tmp)
	@{ command -v buildah && command -v debootstrap; } > /dev/null || apt-get install -y buildah debootstrap
	@infra/test -m images

clean: ## remove the environments and .state/ (never data or models)
	rm -rf .venv .venv-airflow .venv-triton .venv-openvino .tools .state
