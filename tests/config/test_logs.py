"""What stands in the log after a failure: where to look, and nobody's data."""

import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError
from django.db import connection as database
from django.test import Client

from badging import tasks
from config.logs import LineFormatter
from tests.launcher import running
from tests.services import wait_until

DATA = 'Key (email)=(mina@example.org) already exists, "Okafor"'


def raise_with_data(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
    """Have questions about the portal's rows fail as PostgreSQL does: with an error that quotes a row."""
    if "moodle_sync_" not in sql and "badging_" not in sql:
        return execute(sql, *arguments)
    try:
        raise ValueError(DATA)
    except ValueError as driver:
        raise IntegrityError(DATA) from driver


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the settings' own handler writes to standard error from now on."""
    stream = io.StringIO()
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one.formatter, LineFormatter)]
    assert isinstance(handler, logging.StreamHandler)
    monkeypatch.setattr(handler, "stream", stream)
    return stream


@pytest.mark.django_db
def test_a_refused_page_leaves_one_line(written: io.StringIO) -> None:
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get("/admin/badging/issuance/").status_code == 403
    [line] = written.getvalue().splitlines()
    assert line.endswith("django.request: Forbidden (Permission denied): /admin/badging/issuance/")


@pytest.mark.django_db
def test_a_page_that_fails_leaves_its_traceback_and_nobodys_data(
    written: io.StringIO,
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("mina"))
    with database.execute_wrapper(raise_with_data):
        assert client.get("/courses/", {"q": "Okafor"}).status_code == 500
    text = written.getvalue()
    assert text.count("Internal Server Error: /courses/") == 1
    assert text.count("Traceback (most recent call last):") == 2
    assert "in raise_with_data" in text
    assert "direct cause" in text
    assert text.splitlines()[-1] == "django.db.utils.IntegrityError"
    assert "Okafor" not in text
    assert "mina@" not in text


@pytest.mark.django_db
def test_a_task_that_fails_is_logged_once_without_the_words_of_its_error(
    written: io.StringIO,
) -> None:
    with database.execute_wrapper(raise_with_data):
        tasks.send_due.apply((1,))
    text = written.getvalue()
    assert text.count("ERROR celery.app.trace: Task badging.tasks.send_due[") == 1
    assert "raised unexpected: django.db.utils.IntegrityError" in text
    assert "in raise_with_data" in text
    assert "Okafor" not in text
    assert "mina@" not in text


@pytest.mark.slow
def test_a_worker_of_its_own_logs_a_failing_task_once_on_standard_error(tmp_path: Path, valkey_url: str) -> None:
    # Without tables every task fails.
    data, settings = tmp_path / "var", {"CELERY_BROKER_URL": valkey_url}
    data.mkdir()
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "config", "worker", "--pool", "threads"]
    command += ["--concurrency", "1", "--loglevel", "WARNING"]
    with running.program(command, running.environment(data, **settings)) as worker:
        code = "from badging.tasks import send_due; send_due.delay(1)"
        assert running.manage(data, "shell", "--no-imports", "-c", code, **settings).returncode == 0
        wait_until(lambda: "django.db.utils.OperationalError" in worker.lines, what="the end of the traceback")
        worker.stop()
    assert worker.text.count("Task badging.tasks.send_due[") == 1
    assert worker.text.count("django.db.utils.OperationalError") == 2
    assert "no such table" not in worker.text


def record(message: object, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("portal", logging.ERROR, __file__, 1, message, args, trace)


def test_a_database_error_in_the_message_gives_its_type_with_or_without_a_traceback() -> None:
    error = DatabaseError(DATA)
    for line in (record("failed: %s", error), record("failed: %(why)s", {"why": error}), record(error)):
        text = LineFormatter().format(line)
        assert "django.db.utils.DatabaseError" in text
        assert "Okafor" not in text
    assert "failed: no route" in LineFormatter().format(record("failed: %s", OSError("no route")))


def test_a_text_that_another_handler_made_of_the_exception_is_not_taken_over() -> None:
    line = record("failed", error=ValueError(DATA))
    line.exc_text = DATA
    assert "Okafor" not in LineFormatter().format(line)
    assert line.exc_text == DATA


def test_exceptions_that_lead_in_a_circle_and_hidden_ones_end() -> None:
    first, second = ValueError(DATA), KeyError(DATA)
    first.__context__, second.__context__ = second, first
    assert LineFormatter().format(record("x", error=first)).count("Traceback") == 2
    first.__suppress_context__ = True
    text = LineFormatter().format(record("x", error=first))
    assert "KeyError" not in text
    assert text.endswith("builtins.ValueError")
