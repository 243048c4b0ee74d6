"""Sets the stage before Django loads: a private data folder, fresh keys, and the database that was asked for."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from sandbox import Sandbox

from . import services, shared
from .launcher import running

# What a developer's shell or `.env` may set, and tests must not inherit: they would test something else.
_SETTINGS = {
    "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],testserver",
    "BIND_ADDRESS": "",
    "PORT": "",
    "CSRF_TRUSTED_ORIGINS": "",
    "TRUST_PROXY_HEADER": "",
    "TRUSTED_PROXIES": "",
    "SECURE_HSTS_SECONDS": "",
    "SECRET_KEY_FALLBACKS": "",
    "DEBUG": "false",
    "SECRET_KEY": "only-for-tests-" + "x" * 50,
    "TIME_ZONE": "UTC",
    "NAVIGATR_PRODUCTION_URL": "https://production.navigatr.test/v1",
    "NAVIGATR_STAGING_URL": "https://staging.navigatr.test/v1",
    "RETRY_FIRST_SECONDS": "60",
    "RETRY_FACTOR": "4",
    "RETRY_LONGEST_SECONDS": "86400",
    "RETRY_GIVE_UP_DAYS": "7",
    "LEASE_SECONDS": "300",
}

# Fixtures that start a server, a browser or a portal.
_STARTS_SOMETHING = {"postgres_url", "valkey_url", "chromium", "prepared"}
# What starts programs without one of these.
_STARTS_PROGRAMS = (
    "tests/commands/test_from_a_shell.py",
    "tests/hostile/",
    "tests/launcher/",
)
# What these show is the same on every database: pages and programs whose rows other tests write on both, and what has
# nothing to do with the database. On PostgreSQL they are not even loaded.
_ONE_DATABASE = (
    "tests/access/",
    "tests/commands/",
    "tests/config/",
    "tests/docs/",
    "tests/e2e/",
    "tests/hostile/",
    "tests/launcher/",
    "tests/navigatr_client/",
    "tests/outbound_http/",
    "tests/sandbox/",
    "tests/test_house.py",
    "tests/badging/admin/test_connections.py",
    "tests/badging/admin/test_courses.py",
    "tests/badging/admin/test_going_live.py",
    "tests/badging/admin/test_grants.py",
    "tests/badging/admin/test_learner_badge.py",
    "tests/badging/admin/test_mappings.py",
    "tests/badging/admin/test_people.py",
    "tests/badging/admin/test_privacy_page.py",
    "tests/badging/admin/test_schedule.py",
    "tests/badging/admin/test_set_up.py",
    "tests/badging/admin/test_sites.py",
    "tests/badging/admin/test_start.py",
    "tests/badging/pages/",
    "tests/badging/test_trial.py",
    "tests/moodle_sync/test_front_page.py",
    "tests/moodle_sync/test_inspection.py",
    "tests/moodle_sync/test_learner_feed.py",
    "tests/moodle_sync/test_moodle_hosts.py",
    "tests/moodle_sync/test_site_check.py",
    "tests/people/test_invitations.py",
    "tests/people/test_lock_admin.py",
    "tests/people/test_second_factor.py",
    "tests/people/test_sign_in.py",
    "tests/people/test_single_sign_on.py",
    "tests/people/test_users_admin.py",
    "tests/tools/",
)
# Of these, only the tests marked `postgres` run there: lists, searches, counts, and a story of each kind.
_MOSTLY_ONE_DATABASE = (
    "tests/circumstances/",
    "tests/badging/admin/test_issuances.py",
    "tests/badging/admin/test_lists.py",
    "tests/people/test_guessing.py",
)

_stage = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--database`: the suite runs on SQLite, and what touches the database runs on PostgreSQL as well."""
    parser.addoption("--database", choices=["sqlite", "postgres"], default="sqlite", help="which database to test on")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment and load Django. With xdist each worker has its own folder and all share one server."""
    stage = ExitStack()
    config.stash[_stage] = stage
    folder = stage.enter_context(tempfile.TemporaryDirectory(prefix="portal-test-"))
    on_worker = hasattr(config, "workerinput")
    if config.getoption("database") == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/portal.sqlite3"
    elif not on_worker:
        os.environ["DATABASE_URL"] = stage.enter_context(services.postgres())
    if not on_worker:
        os.environ[shared.FOLDER] = stage.enter_context(tempfile.TemporaryDirectory(prefix="portal-tests-"))
    os.environ.update(_SETTINGS)
    os.environ["PORTAL_DATA_DIR"] = folder
    # Where `collectstatic` would put its files: WhiteNoise complains when it is missing.
    (Path(folder) / "static").mkdir()
    os.environ["CELERY_BROKER_URL"] = "memory://"
    os.environ["FIELD_ENCRYPTION_KEYS"] = Fernet.generate_key().decode()
    os.environ["DIGEST_KEYS"] = "only-for-tests-" + "y" * 50
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    # Pages render without `collectstatic`: tests need no manifest of hashed names.
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    # The product's hasher is slow on purpose; most tests that sign in care about who, not about how it is kept.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started and remove the data folder."""
    config.stash[_stage].close()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what need not run on PostgreSQL; None lets others decide."""
    path = f"{collection_path.relative_to(config.rootpath)}{'/' if collection_path.is_dir() else ''}"
    return True if config.getoption("database") != "sqlite" and path.startswith(_ONE_DATABASE) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow and begin with it; on PostgreSQL run only what may end differently there.

    Afterwards pytest-django puts tests that commit behind all others, because what they leave, as in the cache's table,
    would be in the way of the others.
    """
    for item in items:
        if _starts_something(item):
            item.add_marker(pytest.mark.slow)
    # Begun last, a slow test would keep one process busy alone.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if config.getoption("database") == "sqlite":
        return
    config.hook.pytest_deselected(items=[item for item in items if not _depends_on_database(item)])
    items[:] = [item for item in items if _depends_on_database(item)]


def _starts_something(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", [])
    return not _STARTS_SOMETHING.isdisjoint(fixtures) or item.nodeid.startswith(_STARTS_PROGRAMS)


def _depends_on_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", [])
    reads = item.get_closest_marker("django_db") is not None or "db" in fixtures or "transactional_db" in fixtures
    if item.nodeid.startswith(_MOSTLY_ONE_DATABASE):
        return reads and item.get_closest_marker("postgres") is not None
    return reads


@pytest.fixture(scope="session")
def migrated(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: Any
) -> Iterator[shared.MigratedDatabase]:
    """What the migrations have made, in this process or another one."""
    from django.db import connection

    with django_db_blocker.unblock():
        database = shared.MigratedDatabase(connection)
    yield database
    database.close()


@pytest.fixture(scope="session")
def django_db_keepdb(migrated: shared.MigratedDatabase) -> bool:
    """A copy is taken as it is; Django still looks whether a migration is missing in it."""
    return migrated.copied


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any, migrated: shared.MigratedDatabase) -> None:
    """Make the test database, and give it to the other processes."""
    with django_db_blocker.unblock():
        migrated.keep()


@pytest.fixture(scope="session")
def prepared() -> Path:
    """A data folder as `make setup` leaves it, made once for all processes: not to be changed."""

    def set_up(folder: Path) -> None:
        done = running.manage(folder, "setup_portal")
        assert done.returncode == 0, done.stderr

    return shared.made_once("prepared", set_up)


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A private copy of it. Its name has a blank."""
    return Path(shutil.copytree(prepared, tmp_path / "portal data"))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The DATABASE_URL of a real PostgreSQL server, for tests that start programs of their own."""
    with services.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The address of a real Valkey server, in Celery's form."""
    with services.valkey() as url:
        yield url


@dataclass(frozen=True)
class SharedSandbox:
    """One sandbox for the whole session, and the tokens that it began with."""

    running: Sandbox
    tokens: tuple[str, str, str]

    def as_new(self) -> Sandbox:
        """Undo whatever a test has done to it."""
        sandbox = self.running
        sandbox.reset(demo=False)
        sandbox.moodle.token, sandbox.navigatr.pat, sandbox.production.pat = self.tokens
        for service in (sandbox.moodle, sandbox.navigatr, sandbox.production):
            service.clock = time.time
        return sandbox


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SharedSandbox]:
    """Started once: a test asks for `sandbox`."""
    # Playwright keeps an event loop in the tests' thread, and the sandbox starts one of its own.
    with ThreadPoolExecutor(1) as elsewhere:
        running = Sandbox()
        elsewhere.submit(running.start).result()
        yield SharedSandbox(running, (running.moodle_token, running.pat, running.production_pat))
        elsewhere.submit(running.stop).result()


@pytest.fixture
def sandbox(shared_sandbox: SharedSandbox, settings: Any) -> Sandbox:
    """An empty Moodle, and both environments of Navigatr at the addresses that the settings name."""
    running = shared_sandbox.as_new()
    settings.NAVIGATR_URLS = {"staging": running.navigatr_url, "production": running.production_url}
    settings.SEND_THREADS = 8
    return running


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A private folder that stands for PORTAL_DATA_DIR."""
    folder = tmp_path / "var"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for browser tests; without one they are skipped, or fail with PORTAL_REQUIRE_BROWSER=1."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("PORTAL_REQUIRE_BROWSER") == "1":
        pytest.fail("No Chromium is installed, and PORTAL_REQUIRE_BROWSER=1 asks for one.")
    pytest.skip("No Chromium is installed.")
