"""A wrong setting is one sentence from every command, and nothing runs with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher import running


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://portal:hidden@db/portal"),
        ("DATABASE_URL", "postgres://portal:hidden@db:port/portal"),
        ("TIME_ZONE", "Hidden/Place"),
        ("RETRY_FACTOR", "hidden"),
        ("SEND_THREADS", "-5"),
        ("LEASE_SECONDS", "0"),
        ("DEBUG", "hidden"),
        ("BIND_ADDRESS", "hidden.example.org"),
        ("PORT", "hidden"),
        ("PORT", "70000"),
        ("TRUSTED_PROXIES", "hidden"),
        ("TRUSTED_PROXIES", "10.0.0.5/8"),
        ("MOODLE_HOSTS", "moodle.example.org,hidden/99"),
        ("MOODLE_HOSTS", "https://hidden.example.org"),
        ("REQUIRE_SECOND_FACTOR", "hidden"),
        ("EMAIL_URL", "hidden://user:hidden@mail/"),
        ("EMAIL_URL", "smtp://user:hidden@mail:port"),
        ("OIDC_SERVER_URL", "http://hidden.example.org"),
        ("OIDC_SERVER_URL", "https://hidden.example.org"),
        ("OIDC_GROUPS", "hidden"),
    ],
)
def test_a_wrong_setting_ends_in_one_sentence_that_names_it(data_folder: Path, name: str, value: str) -> None:
    env = running.environment(data_folder, **{"TRUST_PROXY_HEADER": "true", name: value})
    done = subprocess.run(
        [sys.executable, "manage.py", "status"], cwd=running.ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name} must ")
    assert len(done.stderr.splitlines()) == 1
    assert "hidden" not in done.stderr.lower()
