# The portal's commands. All paths are relative, because the folder's path may have blanks.
#
#   make demo    set up, and run the portal with a pretend Moodle and Navigatr
#   make run     set up, and run the portal
#   make setup   set up only
#   make docs    build the documentation in docs/_build/html; “make pictures” takes its pictures again
#   make test    all tests          make check   all checks that run no portal
#   make test-fast                  the tests that take milliseconds
#   make chaos   10,000 completions while everything is killed and broken (SEED=… repeats a run's plan)
#   make requirements               write the pinned requirements anew (needs uv)

PYTHON ?= python3
UV ?= uv
VENV_PYTHON := .venv/bin/python

.PHONY: demo run setup install install-dev test test-fast chaos check docs pictures requirements clean

demo: setup
	@exec $(VENV_PYTHON) manage.py portal $(if $(PORT),--port $(PORT)) --sandbox

run: setup
	@exec $(VENV_PYTHON) manage.py portal $(if $(PORT),--port $(PORT))

setup: install
	@$(VENV_PYTHON) manage.py setup_portal

# .venv has a copy of the installed requirements; nothing is fetched while they are the same.
install: .venv/bin/python
	@cmp -s requirements.txt .venv/installed.txt || { \
		$(PIP_INSTALL) requirements.txt && cp requirements.txt .venv/installed.txt; }

install-dev: .venv/bin/python
	@cmp -s requirements-dev.txt .venv/installed-dev.txt || { \
		$(PIP_INSTALL) requirements-dev.txt && cp requirements-dev.txt .venv/installed-dev.txt; }

# On Debian, ensurepip is in the package python3-venv. Without it, use the system's pip.
PIP_INSTALL = echo "Installing the requirements (once) …"; \
	if $(VENV_PYTHON) -m pip --version >/dev/null 2>&1; then set -- $(VENV_PYTHON) -m pip; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then set -- $(PYTHON) -m pip --python $(VENV_PYTHON); \
	else echo "There is no pip. Install python3-venv or python3-pip and try again." >&2; exit 1; fi; \
	"$$@" install --quiet --disable-pip-version-check --require-hashes -r

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
		else $(PYTHON) -m venv --without-pip .venv; fi

# The whole suite runs on SQLite, and what may end differently on PostgreSQL runs there as well. Many tests wait for
# time-outs and for programs that they start, so more of them run at once than there are processors.
# Compiled files are kept, whatever the shell says: each process would compile all of ours anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(VENV_PYTHON) -m pytest --dist worksteal

test: install-dev
	@$(VENV_PYTHON) -m coverage erase
	$(PYTEST) -n 4 --cov --cov-report= --cov-fail-under=0
	$(PYTEST) -n 4 --database=postgres
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

# Keeps var/, the portal's data.
clean:
	rm -rf .venv docs/_build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
