"""A wrong setting is one sentence from every command, and nothing runs with it."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.launcher import running

from .reading import read_settings


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
def test_a_wrong_setting_is_one_sentence_that_names_it(data_folder: Path, name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        read_settings(data_folder, **{"TRUST_PROXY_HEADER": "true", name: value})
    sentence = str(error.value)
    assert sentence.startswith(f"{name} must ")
    assert len(sentence.splitlines()) == 1
    assert "hidden" not in sentence.lower()


def test_a_command_ends_with_that_sentence(data_folder: Path) -> None:
    done = running.manage(data_folder, "status", TIME_ZONE="Hidden/Place")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("TIME_ZONE must ")
    assert "Hidden" not in line
