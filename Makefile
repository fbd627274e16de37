# Bare `make` is help. Everything runs in .venv, which tools/bootstrap.py makes and keeps up to date.

PYTHON ?= python3
VENV := .venv/bin/python
# Each process starts its own embedded PostgreSQL.
TEST_PROCESSES ?= 4

# If it is set, each of the 1,000 processes that the tests start compiles all of Haulier.
unexport PYTHONDONTWRITEBYTECODE

# With peers and plots after `make bench-setup`; missing ones are skipped.
BENCH_PYTHON = $(if $(wildcard .venv-bench/bin/python),.venv-bench/bin/python,$(VENV))

.DEFAULT_GOAL := help
.PHONY: help demo run psql test test-lowest test-slow test-browser screenshots test-clients test-alerts test-pgbouncer failover race model isolation fuzz chaos soak hosts bench bench-setup docs check audit lint format schema lock dist clean clean-data venv

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1:/p' Makefile | while IFS=: read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

demo: venv ## run one real job of each kind (ONCE=1: exit afterwards)
	@exec $(VENV) -m haulier.local demo

run: venv ## run the API and a worker, on DATABASE_URL or an embedded PostgreSQL
	@exec $(VENV) -m haulier.local run

psql: venv ## open psql on the database of `make run`, or on DATABASE_URL
	@exec $(VENV) -m haulier.local psql

test: venv ## run all tests except those with their own target
	$(VENV) -m pytest -n $(TEST_PROCESSES) --dist worksteal -m "not slow and not browser and not clients and not alerts and not site"

# Without what only gunicorn 27 does (docs/pins.md), and without schemathesis, which needs newer packages.
LOWEST_TESTS = tests/cli/test_migrate_command.py tests/command_line tests/api tests/http tests/kinds tests/queue/jobs \
	tests/worker/metrics tests/worker/steps tests/worker/test_shutdown.py --ignore tests/http/gunicorn \
	--deselect tests/api/openapi/test_openapi.py::test_schemathesis_with_all_checks_finds_nothing

test-lowest: venv ## run the core tests with the lowest versions that setup.cfg allows
	@tools/install-venv .venv-lowest tools/requirements-lowest.txt
	.venv-lowest/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal -m "not slow" $(LOWEST_TESTS)

# By itself after the others: three servers, three etcd and a limit of 2 s need both processors.
FAILOVER = tests/failover/test_patroni.py

test-slow: venv ## run the slow tests, of which `make test` runs short forms
	@tools/install-nginx >/dev/null
	@tools/install-patroni >/dev/null
	$(VENV) -m pytest -n $(TEST_PROCESSES) --dist worksteal -m slow --ignore $(FAILOVER)
	$(VENV) -m pytest $(FAILOVER)

test-browser: venv ## run the tests that drive Chromium (NIGHT=off: without the bad night, which takes 8 minutes)
	tools/install-chromium
	$(VENV) -m pytest -m browser $(if $(filter off,$(NIGHT)),--ignore tests/browser/test_night.py)

screenshots: venv ## retake the screenshots of the dashboard and Swagger UI in Chromium
	tools/install-chromium
	SCREENSHOTS=retake $(VENV) -m pytest tests/browser/test_screenshots.py tests/browser/test_scene.py tests/browser/test_swagger_ui.py

test-clients: venv ## test clients in other languages and clients generated from the OpenAPI document
	tools/install-clients
	$(VENV) -m pytest -m clients

test-alerts: venv ## check the alerts in ops/ with promtool, and that each fires when it should
	tools/install-promtool
	$(VENV) -m pytest -m alerts

test-pgbouncer: venv ## run the tests through a PgBouncer in transaction mode
	tools/install-pgbouncer
	$(VENV) -m pytest -n $(TEST_PROCESSES) -m "not browser and not clients and not alerts and not site" --pgbouncer

failover: venv ## kill the machine of the primary under load, with Patroni and etcd (KILLS=5)
	@FAILOVER_KILLS=$(or $(KILLS),5) $(VENV) -m pytest -q -s $(FAILOVER)
	@$(VENV) -m tests.failover.losses

race: venv ## run the races with 20,000 jobs
	SIMULATED_JOBS=20000 $(VENV) -m pytest tests/worker/test_races.py --timeout 900

model: venv ## compare the queue with a model in random orders of calls (EXAMPLES=2000 SEED=1)
	MODEL_EXAMPLES=$(or $(EXAMPLES),2000) MODEL_SEED=$(or $(SEED),1) $(VENV) -m pytest tests/model

isolation: venv ## let the database refuse every worker statement with every error (ERRORS=5: only 5 of 17 errors)
	@rm -f tests/isolation/results.json
	@ISOLATION_LONG=$(or $(ERRORS),17) $(VENV) -m pytest -n $(TEST_PROCESSES) tests/isolation; ended=$$?; \
	$(VENV) -m tests.isolation.report && exit $$ended

fuzz: venv ## resize images and send mails with random mutations (IMAGES=100000 MAILS=10000 SEED=1)
	FUZZ_IMAGES=$(or $(IMAGES),100000) FUZZ_MAILS=$(or $(MAILS),10000) FUZZ_SEED=$(or $(SEED),1) \
	$(VENV) -m pytest -s --timeout 0 tests/kinds/test_image_fuzz.py tests/hostile/test_hostile_mails.py

chaos: venv ## inject planned faults and compare the tables with a ledger (MINUTES=20 SEED=1; DRAW=1: only redraw the report)
	@exec $(BENCH_PYTHON) -m lab.chaos $(if $(DRAW),draw,run) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

soak: venv ## run 500 jobs a second and watch for growth (MINUTES=30; DYNO=1: under `haulier all`)
	@exec $(BENCH_PYTHON) -m lab.chaos soak --minutes $(or $(MINUTES),30) $(if $(DYNO),--dyno)

hosts: venv ## cut hosts off: 40 workers on ten hosts, 50 ms from the database, for 1.5 leases (LEASE=30; needs root)
	@exec $(VENV) -m lab.chaos hosts $(if $(LEASE),--lease $(LEASE))

bench: venv ## run the benchmarks, with peers and the limit of Postgres (ONLY="drain post" REPETITIONS=5 SCALE=1; DRAW=1: only redraw)
	@exec $(BENCH_PYTHON) -m lab.bench $(ONLY) $(if $(REPETITIONS),--repetitions $(REPETITIONS)) $(if $(SCALE),--scale $(SCALE)) $(if $(CONTENDERS),--contenders $(CONTENDERS)) $(if $(DRAW),--draw)

bench-setup: venv ## install the peers for `make bench`, if this machine has what they need
	@lab/bench/peers/setup

docs: export NO_MKDOCS_2_WARNING = 1
docs: venv ## build the documentation site into build/site; a dead link fails
	@tools/install-venv .venv-docs tools/requirements-docs.txt
	@$(VENV) -m tools.reference
	.venv-docs/bin/mkdocs build --strict
	$(VENV) -m pytest -q -m site tests/docs

check: lint test ## run all checks that a commit must pass

audit: venv ## check the pinned packages for known vulnerabilities (exits with 2 if it cannot check)
	@$(VENV) tools/audit.py

lint: venv ## check format, style, types and layers
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy
	$(VENV) -m pytest -q tests/architecture
	@$(VENV) tools/audit.py --if-reachable

format: venv ## format the code
	$(VENV) -m ruff format .
	$(VENV) -m ruff check --fix .

schema: ## build schema.sql and grants.sql from haulier/schema
	@$(PYTHON) tools/schema.py

lock: ## pin the newest versions that setup.cfg allows (needs uv)
	tools/lock

dist: venv ## build wheel and sdist into dist/, reproducibly
	@$(VENV) tools/dist.py

clean: ## remove .venv and caches
	rm -rf .venv .venv-audit .venv-clients .venv-docs .venv-lowest tools/clients/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-data: venv ## remove the jobs, mails and images of `make run` and `make demo`
	@$(VENV) -m haulier.local clean

venv:
	@$(PYTHON) tools/bootstrap.py
