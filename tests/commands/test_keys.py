"""What the commands say when the encryption key is wrong, and how a key is replaced."""

import pytest
from cryptography.fernet import Fernet
from pytest_django.fixtures import Settings

from badging.models import NavigatrConnection
from moodle_sync.models import MoodleSite

from .calling import manage, succeed
from .conftest import CONNECT_NAVIGATR, MAP, Connected

NEEDS_A_TOKEN = [("poll",), ("issue",), ("map_course", *map(str, MAP), "--course", "2"), ("rotate_keys",)]


@pytest.mark.parametrize("command", NEEDS_A_TOKEN, ids=lambda command: command[0])
def test_a_wrong_key_is_one_clear_line(connected: Connected, settings: Settings, command: tuple[str, ...]) -> None:
    connected.map()
    connected.complete(1)
    succeed("poll")
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    done = manage(*command)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "cannot be read with the keys in FIELD_ENCRYPTION_KEYS" in line
    assert "gAAAA" not in line


@pytest.mark.parametrize("keys", [[], ["malformed"]])
def test_no_key_or_a_malformed_one_is_one_clear_line(connected: Connected, settings: Settings, keys: list[str]) -> None:
    settings.FIELD_ENCRYPTION_KEYS = keys
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=connected.sandbox.pat)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "FIELD_ENCRYPTION_KEYS" in line


def test_a_wrong_key_spends_nothing(connected: Connected, settings: Settings) -> None:
    connected.map()
    (email,) = connected.complete(1)
    succeed("poll")
    right = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert manage("issue").code == 1
    settings.FIELD_ENCRYPTION_KEYS = right
    assert connected.badges(email) == 0
    assert sum(succeed("status")["issuances"].values()) == 1


def test_keys_are_replaced_without_entering_a_token_again(connected: Connected, settings: Settings) -> None:
    old, new = settings.FIELD_ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert succeed("rotate_keys") == {"rotated": 2, "digests_rotated": 0}
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert NavigatrConnection.objects.get().pat == connected.sandbox.pat
    assert MoodleSite.objects.get().token == connected.sandbox.moodle_token
    assert "2 stored token(s)" in manage("rotate_keys").out
