# The portal's commands. All paths are relative, because the folder's path may have blanks.
#
#   make demo    set up, and run the portal with a pretend Moodle and Navigatr
#   make run     set up, and run the portal
#   make setup   set up only
#   make docs    build the documentation in docs/_build/html; “make pictures” takes its pictures again
#   make screenshots                every page at two widths in two colours, in screenshots/ (SCREENSHOTS=…)
#   make test    all tests          make check   all checks that run no portal
#   make coverage                   all tests, and how much of the code they run
#   make test-fast                  the tests that take milliseconds
#   make chaos   10,000 completions while everything is killed and broken (SEED=… repeats a run's plan)
#   make requirements               write the pinned requirements anew (needs uv)
#   make audit   known vulnerabilities of the requirements (needs the network; AUDIT_URL=… asks another OSV API)
#   make sbom    the service's packages with their licences, in CycloneDX's format, in sbom.cdx.json
#   make licences                   write docs/licences.md anew

PYTHON ?= python3
UV ?= uv
VENV_PYTHON := .venv/bin/python

.PHONY: demo run setup install install-dev test coverage test-fast chaos check docs pictures screenshots requirements audit sbom licences \
	clean

demo: install
	@$(VENV_PYTHON) manage.py setup_portal --print-password
	@exec $(VENV_PYTHON) manage.py portal $(if $(PORT),--port $(PORT)) --sandbox

run: setup
	@exec $(VENV_PYTHON) manage.py portal $(if $(PORT),--port $(PORT))

setup: install
	@$(VENV_PYTHON) manage.py setup_portal

# Filled by tools/install.sh, which fetches nothing while the requirements are the same.
install:
	@PYTHON="$(PYTHON)" tools/install.sh .venv requirements.txt

install-dev:
	@PYTHON="$(PYTHON)" tools/install.sh .venv requirements-dev.txt

# The whole suite runs on SQLite, and what may end differently on PostgreSQL runs there as well. Many tests wait for
# time-outs and for programs that they start, so more of them run at once than there are processors.
# Compiled files are kept, whatever the shell says: each process would compile all of ours anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(VENV_PYTHON) -m pytest --dist worksteal

test: install-dev
	$(PYTEST) -n 4
	$(PYTEST) -n 4 --database=postgres

# The same, measured: half as long again.
coverage: install-dev
	@$(VENV_PYTHON) -m coverage erase
	$(PYTEST) -n 4 --cov --cov-report= --cov-fail-under=0
	$(PYTEST) -n 4 --database=postgres --cov --cov-append --cov-report= --cov-fail-under=0
	$(VENV_PYTHON) -m coverage report

# No programs, servers or browser, and nothing that takes seconds.
test-fast: install-dev
	$(PYTEST) -n 2 -m "not slow" -q

chaos: install-dev
	$(VENV_PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED))

# Dead links and missing anchors are warnings, and warnings are errors. Needs no network.
docs: install-dev
	$(VENV_PYTHON) -m sphinx --nitpicky --fail-on-warning --keep-going --quiet -d docs/_build/doctrees docs docs/_build/html

pictures: install-dev
	$(VENV_PYTHON) docs/take_pictures.py

# Every page in a window and on a phone, in light and dark, to be looked at: SCREENSHOTS=folder.
SCREENSHOTS ?= screenshots
screenshots: install-dev
	$(VENV_PYTHON) docs/take_pictures.py --every "$(SCREENSHOTS)"

check: install-dev
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache
	find . \( -path ./.venv -o -path ./docs/_build \) -prune -o -name '*.html' -exec .venv/bin/djade --check --target-version 5.2 {} +
	$(VENV_PYTHON) manage.py makemigrations --check --dry-run --skip-checks

# --no-strip-extras: if a package requires coverage[toml], pip 23 ignores the pin of coverage without the extra.
requirements:
	$(UV) pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --python-version 3.11 \
		pyproject.toml -o requirements.txt
	$(UV) pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --python-version 3.11 \
		pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

# Fails if a requirement has a known vulnerability, and if nobody could be asked; the last line says which.
audit: install-dev
	@$(VENV_PYTHON) -m tools.audit $(if $(AUDIT_URL),--url $(AUDIT_URL))

# From an environment that holds what the service needs and nothing else.
sbom: install-dev
	@PYTHON="$(PYTHON)" tools/install.sh .venv-service requirements.txt
	@$(VENV_PYTHON) -m tools.sbom .venv-service/bin/python sbom.cdx.json

licences: install-dev
	$(VENV_PYTHON) -m tools.licences

# Keeps var/, the portal's data.
clean:
	rm -rf .venv .venv-service sbom.cdx.json docs/_build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
