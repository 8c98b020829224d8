# One list of commands, the same for people and for the build.
.PHONY: help setup check fix test test-all docs bench demo
.DEFAULT_GOAL := help

help: ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup: ## install everything into .venv
	uv sync

check: ## lint, format and types
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy

fix: ## format, and repair what the linter can
	uv run ruff check --fix .
	uv run ruff format .

test: ## run the quick tests
	uv run pytest

test-all: ## run all tests, the slow ones too
	SALIENCE_SHAPES=1 uv run pytest -m "slow or not slow" -n auto --dist worksteal

docs: ## write docs/cli.md and docs/measures.md from the program's help
	uv run python -m salience.cli.page docs/cli.md
	uv run python -m salience.cli.measures_page docs/measures.md

bench: ## measure; BENCH names a module of benchmarks/
	uv run python -m benchmarks$(if $(BENCH),.$(BENCH))

demo: ## explain the sample photograph
	uv run salience explain
