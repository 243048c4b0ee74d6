"""Settings that follow from the environment, read anew by a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.launcher import running

NAMES = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "SECURE_PROXY_SSL_HEADER")


def read(data: Path, **environment: str) -> list[Any]:
    """What these settings are in that environment."""
    code = f"import json; from config import settings; print(json.dumps([getattr(settings, n) for n in {NAMES!r}]))"
    env = running.environment(data, **environment)
    done = subprocess.run([sys.executable, "-c", code], cwd=running.ROOT, env=env, capture_output=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [False, False, 0, None]),
        ({"CSRF_TRUSTED_ORIGINS": "http://badges.example.org"}, [False, False, 0, None]),
        (
            {"CSRF_TRUSTED_ORIGINS": "http://127.0.0.1:8000,https://badges.example.org"},
            [True, True, 0, None],
        ),
        (
            {"SECURE_HSTS_SECONDS": "3600", "TRUST_PROXY_HEADER": "true"},
            [False, False, 3600, ["HTTP_X_FORWARDED_PROTO", "https"]],
        ),
        ({"TRUST_PROXY_HEADER": "false"}, [False, False, 0, None]),
    ],
)
def test_cookies_and_headers_follow_how_the_portal_is_reached(
    data_folder: Path, environment: dict[str, str], expected: list[Any]
) -> None:
    assert read(data_folder, **environment) == expected


def test_a_host_that_is_gone_keeps_no_rows_locked_and_the_url_has_the_last_word(
    data_folder: Path, postgres_url: str
) -> None:
    code = (
        "import django, json; django.setup()\n"
        "from django.db import connection\n"
        "names = ('idle_in_transaction_session_timeout', 'random_page_cost', 'tcp_user_timeout')\n"
        "with connection.cursor() as cursor:\n"
        "    print(json.dumps([cursor.execute(f'SHOW {name}').fetchone()[0] for name in names]))\n"
    )
    told = []
    for url in (postgres_url, f"{postgres_url}?options=-c%20random_page_cost%3D3&connect_timeout=7"):
        env = running.environment(data_folder, DATABASE_URL=url, DJANGO_SETTINGS_MODULE="config.settings")
        done = subprocess.run([sys.executable, "-c", code], cwd=running.ROOT, env=env, capture_output=True, check=True)
        told.append(json.loads(done.stdout))
    assert told == [["1min", "1.1", "60000"], ["0", "3", "0"]]
