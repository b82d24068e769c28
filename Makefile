# Every target sets up what it needs in .venv; nothing but Python 3.11 or newer (with venv) and make has to be there.

SHELL := /bin/sh
VENV ?= .venv
override VENV := $(patsubst ~/%,$(HOME)/%,$(VENV))
BIN := $(VENV)/bin
# The programs that build, check and run the functions, in an environment of their own.
TOOLS ?= .venv-aws
override TOOLS := $(patsubst ~/%,$(HOME)/%,$(TOOLS))
# The same, wherever it is used: whole, also where a path has spaces, on which functions of make would split it.
AT_TOOLS := $(if $(filter /%,$(firstword $(TOOLS))),,$(CURDIR)/)$(TOOLS)
# The programs that test the API from the outside: generators of clients, linters, a fuzzer, and Node.js.
CLIENTS ?= .venv-clients
override CLIENTS := $(patsubst ~/%,$(HOME)/%,$(CLIENTS))
AT_CLIENTS := $(if $(filter /%,$(firstword $(CLIENTS))),,$(CURDIR)/)$(CLIENTS)
# The newest Python that is installed. Set PYTHON to choose another one.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$python; break; fi; done)
# Where `make up` keeps its data, unless the environment, .env or config.yaml says so.
HAS_WORKDIR := $(shell grep -qsE '^ *(export +)?WORKDIR=.' .env && echo yes; grep -qs '^workdir:' "$${MANIFOLD_CONFIG:-config.yaml}" && echo yes)
DIR ?=
# More options for `manifold up`, such as --enterprise.
UP_ARGS ?=
PYTEST_ARGS ?=
# All tests run in several processes, those that PYTEST_ARGS names in one. Bytecode is kept even where one is told not to:
# every process of the tests would compile the whole project anew.
PYTEST := unset PYTHONDONTWRITEBYTECODE; exec '$(BIN)'/python -m pytest -n auto --dist worksteal --durations 15
# What `make check` runs, but for tests that are marked slow.
FAST_TESTS := tests/architecture tests/compat tests/functions tests/unit
OTHER_TESTS := $(filter-out $(FAST_TESTS),$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py)))))
KAFKA_TESTS := $(wildcard $(foreach word,event kafka relay,tests/*/test_*$(word)*.py tests/*/*/test_*$(word)*.py))
BENCH_ARGS ?=
# The programs of the PostgreSQL that `make test-postgres` runs on: the newest that Debian's packages have put here.
POSTGRES ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
# What functions are built for.
LAMBDA_PYTHON ?= 3.13
LAMBDA_ARCHITECTURE ?= x86_64
export LAMBDA_PYTHON LAMBDA_ARCHITECTURE

.PHONY: help up up-functions functions validate demo check test test-enterprise test-pgbouncer test-postgres test-kafka test-containers test-api openapi lint bench clean distclean environment tools clients
.DEFAULT_GOAL := help

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

environment:
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.11 or newer with venv was found; set PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' local/make_environment.py '$(VENV)'

tools:
	@'$(PYTHON)' local/make_environment.py '$(TOOLS)' infra/tools.lock

clients:
	@'$(PYTHON)' local/make_environment.py '$(CLIENTS)' tests/clients/python.lock
	@'$(CLIENTS)'/bin/python tests/clients/make_node.py

up: environment ## Serve the HTTP API on http://127.0.0.1:32180, data in ./.manifold unless WORKDIR is set
ifneq ($(HAS_WORKDIR),)
	@exec '$(BIN)'/manifold up $(UP_ARGS)
else
	@WORKDIR="$${WORKDIR:-$(CURDIR)/.manifold}" exec '$(BIN)'/manifold up $(UP_ARGS)
endif

up-functions: environment tools ## Serve the API on port 32180 from Lambda functions, on stand-ins for AWS; no Docker
ifneq ($(HAS_WORKDIR),)
	@exec '$(BIN)'/python -m manifold_local.functions_stack --tools '$(TOOLS)'
else
	@WORKDIR="$${WORKDIR:-$(CURDIR)/.manifold}" exec '$(BIN)'/python -m manifold_local.functions_stack --tools '$(TOOLS)'
endif

functions: tools ## Build what Lambda runs: make functions [LAMBDA_PYTHON=3.13] [LAMBDA_ARCHITECTURE=x86_64|arm64]
	@unset MAKEFLAGS MAKEOVERRIDES; PATH='$(AT_TOOLS)/bin':"$$PATH" PYTHON='$(AT_TOOLS)/bin/python' SAM_CLI_TELEMETRY=0 \
		AWS_DEFAULT_REGION="$${AWS_DEFAULT_REGION:-us-east-1}" sam build
	@PYTHONPATH=local '$(TOOLS)'/bin/python -m manifold_local.packaging sizes .aws-sam/build

validate: tools ## Check the templates of the functions
	@'$(TOOLS)'/bin/cfn-lint infra/*.yaml
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION="$${AWS_DEFAULT_REGION:-us-east-1}" '$(TOOLS)'/bin/sam validate

demo: environment ## Show it at work on a real tree: make demo [DIR=folder]
	@'$(BIN)'/python -m manifold_local.demo $(if $(DIR),'$(DIR)')

check: lint ## Check style, types and the fast tests: what is not slow of architecture, compat, functions and unit
	@echo 'Not run: tests marked slow, and $(OTHER_TESTS); make test runs them all.'
	@$(PYTEST) -o testpaths='$(FAST_TESTS)' -m 'not slow' $(PYTEST_ARGS)

test: environment tools clients ## Run all tests, in random order
	@export MANIFOLD_TOOLS='$(AT_TOOLS)' MANIFOLD_CLIENTS='$(AT_CLIENTS)'; $(PYTEST) $(PYTEST_ARGS)

test-enterprise: environment tools clients ## Run all tests with S3, Vault, Redis and Kafka under them
	@export MANIFOLD_TEST_STACK=enterprise MANIFOLD_TOOLS='$(AT_TOOLS)' MANIFOLD_CLIENTS='$(AT_CLIENTS)'; $(PYTEST) $(PYTEST_ARGS)

test-pgbouncer: environment tools clients ## The same, with a PgBouncer in transaction mode before every database
	@export MANIFOLD_TEST_STACK=enterprise MANIFOLD_TEST_POOLER=pgbouncer MANIFOLD_TOOLS='$(AT_TOOLS)' MANIFOLD_CLIENTS='$(AT_CLIENTS)'; $(PYTEST) $(PYTEST_ARGS)

test-postgres: environment tools clients ## The same, on another PostgreSQL: make test-postgres [POSTGRES=folder of its programs]
	@export MANIFOLD_TEST_STACK=enterprise MANIFOLD_TEST_POSTGRES='$(POSTGRES)' MANIFOLD_TOOLS='$(AT_TOOLS)' MANIFOLD_CLIENTS='$(AT_CLIENTS)'; $(PYTEST) $(PYTEST_ARGS)

test-kafka: environment ## Run the tests of events on Apache Kafka (needs Java and Maven)
	@mvn -q -f tests/support/kafka.pom.xml dependency:copy-dependencies -DoutputDirectory='$(CURDIR)/.kafka'
	@export MANIFOLD_TEST_KAFKA_LIBS='$(CURDIR)/.kafka'; $(PYTEST) $(KAFKA_TESTS) $(PYTEST_ARGS)

test-api: environment tools clients ## Have schemathesis attack every operation of the API, at length
	@export MANIFOLD_TOOLS='$(AT_TOOLS)' MANIFOLD_CLIENTS='$(AT_CLIENTS)' MANIFOLD_TEST_API_EXAMPLES=300; \
		'$(BIN)'/python -m pytest -s tests/clients/test_fuzzed.py $(PYTEST_ARGS)

openapi: environment ## Write docs/openapi-v1.json anew, unless clients of the one there would break
	@'$(BIN)'/python -m tests.clients.snapshot

test-containers: environment tools ## Run the compose files, the Dockerfile and sam local on Podman (as root, see docs/containers.md)
	@MANIFOLD_TOOLS='$(AT_TOOLS)' '$(BIN)'/python -m tests.containers $(PYTEST_ARGS)

lint: environment ## Check style, imports and types
	@'$(BIN)'/ruff check .
	@'$(BIN)'/ruff format --check .
	@'$(BIN)'/mypy

bench: environment tools ## Measure speed beside cp, git, restic and rclone
	@'$(BIN)'/python -m tests.bench $(BENCH_ARGS)

clean: ## Remove the environment, caches and results; keep the projects in ./.manifold
	@rm -rf '$(VENV)' '$(TOOLS)' '$(CLIENTS)' .pytest_cache .mypy_cache .ruff_cache .hypothesis .bench .kafka .pgbouncer bench-results build dist .aws-sam .containers
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@test ! -d .manifold || echo 'kept ./.manifold, which holds projects; `make distclean` removes it too'

distclean: clean ## Also remove ./.manifold with all its projects and keys
	@rm -rf .manifold
