"""Settings that follow from the environment: what is read anew leaves those of the tests as they are."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core import signing
from django.db.utils import ConnectionHandler
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from tests.launcher import running

from .reading import read_settings

NAMES = (
    *("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"),
    *("SECURE_HSTS_SECONDS", "SECURE_PROXY_SSL_HEADER", "PUBLIC_URL"),
)
PROTO = ["HTTP_X_FORWARDED_PROTO", "https"]
HTTPS = {"CSRF_TRUSTED_ORIGINS": "http://127.0.0.1:8000,https://badges.example.org"}
PROXY = {"TRUST_PROXY_HEADER": "true"}


def read(data: Path, names: tuple[str, ...] = NAMES, **environment: str) -> list[Any]:
    """What these settings are in that environment."""
    every = read_settings(data, **environment)
    found: list[Any] = json.loads(json.dumps([every[name] for name in names], default=str))
    return found


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [False, False, False, 0, None, ""]),
        ({"CSRF_TRUSTED_ORIGINS": "http://badges.example.org"}, [False, False, False, 0, None, ""]),
        # A redirect would never end: every request looks like plain HTTP.
        (HTTPS, [True, True, False, 2_592_000, None, "https://badges.example.org"]),
        (HTTPS | PROXY, [True, True, True, 2_592_000, PROTO, "https://badges.example.org"]),
        (HTTPS | {"SECURE_HSTS_SECONDS": "0"}, [True, True, False, 0, None, "https://badges.example.org"]),
        (PROXY | {"SECURE_HSTS_SECONDS": "3600"}, [False, False, False, 3600, PROTO, ""]),
        ({"TRUST_PROXY_HEADER": "false", "TRUSTED_PROXIES": "10.0.0.5"}, [False, False, False, 0, None, ""]),
    ],
)
def test_cookies_and_headers_follow_how_the_portal_is_reached(
    data_folder: Path, environment: dict[str, str], expected: list[Any]
) -> None:
    assert read(data_folder, **environment) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, []),
        ({"TRUSTED_PROXIES": "10.0.0.5"}, []),
        (PROXY, ["127.0.0.0/8", "::1/128"]),
        (PROXY | {"TRUSTED_PROXIES": "10.0.0.5, 192.168.1.0/24,2001:db8::/32"},
         ["10.0.0.5/32", "192.168.1.0/24", "2001:db8::/32"]),
    ],
)  # fmt: skip
def test_a_proxy_is_trusted_only_when_it_is_said_so(
    data_folder: Path, environment: dict[str, str], expected: list[str]
) -> None:
    assert read(data_folder, ("TRUSTED_PROXIES",), **environment) == [expected]


@pytest.mark.parametrize(
    ("environment", "file", "expected"),
    [
        ({}, "first\nsecond\nthird\n", ["first", ["second", "third"]]),
        ({}, "first\n", ["first", []]),
        ({"SECRET_KEY": "own"}, "first\nsecond\n", ["own", []]),
        ({"SECRET_KEY": "own", "SECRET_KEY_FALLBACKS": "old,older"}, "", ["own", ["old", "older"]]),
        ({"SECRET_KEY_FALLBACKS": "old"}, "first\nsecond\n", ["first", ["old"]]),
        ({}, "", ["not-set-run-make-setup", []]),
    ],
)
def test_old_secret_keys_stay_valid_as_fallbacks(
    data_folder: Path, environment: dict[str, str], file: str, expected: list[Any]
) -> None:
    (data_folder / "secret_key").write_text(file)
    assert read(data_folder, ("SECRET_KEY", "SECRET_KEY_FALLBACKS"), **environment) == expected


def test_what_an_old_key_has_signed_is_valid_until_the_key_is_taken_out(data_folder: Path, settings: Settings) -> None:
    def use_keys(*keys: str) -> None:
        (data_folder / "secret_key").write_text("".join(f"{key}\n" for key in keys))
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = read(data_folder, ("SECRET_KEY", "SECRET_KEY_FALLBACKS"))

    old, new = "o" * 60, "n" * 60
    use_keys(old)
    signed = signing.dumps("hello")
    use_keys(new, old)
    assert signing.loads(signed) == "hello"
    use_keys(new)
    with pytest.raises(signing.BadSignature):
        signing.loads(signed)


def test_the_deployment_check_of_a_portal_behind_https_is_silent(data: Path) -> None:
    environment = HTTPS | PROXY | {"ALLOWED_HOSTS": "badges.example.org", "REQUIRE_SECOND_FACTOR": "true"}
    done = running.manage(data, "check", "--deploy", "--fail-level", "WARNING", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("System check identified no issues")


def test_the_deployment_check_of_a_portal_without_https_tells_what_is_missing(data: Path) -> None:
    done = running.manage(data, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 1
    assert all(check in done.stderr for check in ("security.W004", "security.W008", "security.W011"))


def test_a_host_that_is_gone_keeps_no_rows_locked_and_the_url_has_the_last_word(
    data_folder: Path, postgres_url: str, django_db_blocker: DjangoDbBlocker
) -> None:
    names = ("idle_in_transaction_session_timeout", "random_page_cost", "tcp_user_timeout")
    told = []
    for url in (postgres_url, f"{postgres_url}?options=-c%20random_page_cost%3D3&connect_timeout=7"):
        connection = ConnectionHandler(read_settings(data_folder, DATABASE_URL=url)["DATABASES"])["default"]
        with django_db_blocker.unblock(), closing(connection), connection.cursor() as cursor:
            told.append([cursor.execute(f"SHOW {name}").fetchone()[0] for name in names])
    assert told == [["1min", "1.1", "60000"], ["0", "3", "0"]]


def test_mail_and_single_sign_on_come_from_the_environment(data_folder: Path) -> None:
    names = ("EMAIL_HOST", "EMAIL_PORT", "EMAIL_USE_TLS", "SENDS_MAIL", "OIDC_GROUPS", "SOCIALACCOUNT_PROVIDERS")
    environment = {
        "EMAIL_URL": "smtp+tls://user:pa%2Fss@mail.example.org:587",
        "OIDC_SERVER_URL": "https://login.example.org/realms/college/",
        "OIDC_CLIENT_ID": "portal",
        "OIDC_CLIENT_SECRET": "secret",
        "OIDC_NAME": "Northgate",
        "OIDC_GROUPS": "cn=admins,ou=x=Site admins; privacy=Data protection officers",
    }
    host, port, tls, sends, groups, providers = read(data_folder, names, **environment)
    assert (host, port, tls, sends) == ("mail.example.org", 587, True, True)
    assert groups == {"cn=admins,ou=x": "Site admins", "privacy": "Data protection officers"}
    [app] = providers["openid_connect"]["APPS"]
    assert (app["name"], app["settings"]["server_url"]) == ("Northgate", "https://login.example.org/realms/college")
    assert providers["openid_connect"]["OAUTH_PKCE_ENABLED"] is True


def test_without_a_mail_server_nothing_is_sent(data_folder: Path) -> None:
    told = read(data_folder, ("SENDS_MAIL", "EMAIL_BACKEND"))
    assert told == [False, "django.core.mail.backends.dummy.EmailBackend"]
