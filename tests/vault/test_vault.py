"""Secrets at rest: sealed in the database, plain in Python, and never handed out under a wrong key."""

import copy
import json
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from moodle_sync.models import MoodleSite
from tests.builders import make_connection, make_site
from vault import checks, keys
from vault.fields import EncryptedTextField, Sealed
from vault.secrets import any_stored, encrypted_fields, problem, rotate_all

SECRET = "s3cret-ÜÑÍ-token"


def new_key() -> str:
    return Fernet.generate_key().decode()


def stored(site: MoodleSite) -> str:
    """What the database itself holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM moodle_sync_moodlesite WHERE id = %s", [site.pk])
        (text,) = cursor.fetchone()
        assert isinstance(text, str)
        return text


def test_secret_is_sealed_in_the_database_and_plain_in_python(db: None) -> None:
    site = make_site(token=SECRET)
    assert site.token == SECRET
    assert SECRET not in stored(site)
    assert MoodleSite.objects.get().token == SECRET


def test_same_secret_is_never_sealed_the_same_way_twice(db: None) -> None:
    assert stored(make_site(token=SECRET)) != stored(make_site(token=SECRET))


def test_no_secret_stays_empty_and_can_be_asked_for(db: None) -> None:
    none, one = make_site(token=""), make_site(token=SECRET)
    assert stored(none) == ""
    assert list(MoodleSite.objects.filter(token="")) == [none]
    assert list(MoodleSite.objects.exclude(token="")) == [one]


@pytest.mark.parametrize("make", [lambda: make_site(token=SECRET), lambda: make_connection(pat=SECRET)])
def test_any_row_of_any_model_with_a_secret_counts_as_stored_whatever_the_keys(
    db: None, settings: Settings, make: Callable[[], object]
) -> None:
    make_site(token="")
    make_connection(pat="")
    assert not any_stored()
    make()
    settings.FIELD_ENCRYPTION_KEYS = []
    assert any_stored()


def test_update_in_a_query_seals_too(db: None) -> None:
    site = make_site(token="")
    MoodleSite.objects.update(token=SECRET)
    assert SECRET not in stored(site)
    assert MoodleSite.objects.get().token == SECRET


def test_row_loads_and_saves_under_a_wrong_key_and_keeps_its_secret(db: None, settings: Settings) -> None:
    site = make_site(token=SECRET)
    before, right = stored(site), settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [new_key()]
    row = MoodleSite.objects.get()
    with pytest.raises(keys.WrongKey, match="FIELD_ENCRYPTION_KEYS"):
        _ = row.token
    row.name = "Renamed"
    row.save()
    assert stored(site) == before
    settings.FIELD_ENCRYPTION_KEYS = right
    assert MoodleSite.objects.get().token == SECRET


def test_new_secret_replaces_one_that_cannot_be_read(db: None, settings: Settings) -> None:
    make_site(token=SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [new_key()]
    row = MoodleSite.objects.get()
    row.token = "new"
    row.save()
    assert MoodleSite.objects.get().token == "new"


def test_deferred_secret_is_loaded_when_it_is_used(db: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    make_site(token=SECRET)
    row = MoodleSite.objects.defer("token").get()
    # One: the deferred token.
    with django_assert_num_queries(1):
        assert row.token == SECRET
        assert row.token == SECRET


def test_sealed_value_never_shows_itself(db: None) -> None:
    make_site(token=SECRET)
    (sealed,) = MoodleSite.objects.values_list("token", flat=True)
    assert isinstance(sealed, Sealed)
    assert repr(sealed) == str(sealed) == "<sealed>"
    assert copy.copy(sealed).ciphertext == sealed.ciphertext


def test_field_on_the_class_is_a_descriptor() -> None:
    assert "DecryptOnRead" in type(MoodleSite.__dict__["token"]).__name__
    assert MoodleSite.token is MoodleSite.__dict__["token"]


def test_newest_key_writes_and_every_key_reads(settings: Settings) -> None:
    old, new = new_key(), new_key()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    sealed = keys.encrypt(SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert keys.decrypt(sealed) == SECRET
    fresh = keys.encrypt(SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert keys.decrypt(fresh) == SECRET
    with pytest.raises(keys.WrongKey):
        keys.decrypt(sealed)
    with pytest.raises(keys.WrongKey):
        keys.rotate(sealed)


@pytest.mark.parametrize("sealed", ["", "plain text", "gAAAAA"])
def test_what_is_no_ciphertext_is_never_handed_out(sealed: str) -> None:
    with pytest.raises(keys.WrongKey):
        keys.decrypt(sealed)


def test_wrong_key_says_what_to_do_and_no_secret(settings: Settings) -> None:
    sealed = keys.encrypt(SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [new_key()]
    with pytest.raises(keys.WrongKey) as refused:
        keys.decrypt(sealed)
    assert "Put the key it was saved with back" in str(refused.value)
    assert sealed not in str(refused.value)


@pytest.mark.parametrize(("configured", "said"), [([], "is empty"), (["too-short"], "malformed"), (["é"], "malformed")])
def test_missing_or_malformed_key_is_said(settings: Settings, configured: list[str], said: str) -> None:
    settings.FIELD_ENCRYPTION_KEYS = configured
    with pytest.raises(ImproperlyConfigured, match=said):
        keys.cipher()


def test_every_secret_of_every_model_is_found() -> None:
    found = {f"{model.__name__}.{field.name}" for model, field in encrypted_fields()}
    assert found == {"MoodleSite.token", "NavigatrConnection.pat"}
    assert all(isinstance(field, EncryptedTextField) for _, field in encrypted_fields())


def test_rotation_seals_everything_with_the_newest_key(db: None, settings: Settings) -> None:
    (old,), new = settings.FIELD_ENCRYPTION_KEYS, new_key()
    site = make_site(token=SECRET)
    make_site(token="")
    make_connection(pat="pat")
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert rotate_all() == 2
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert problem() == ""
    assert MoodleSite.objects.get(pk=site.pk).token == SECRET


def test_rotation_changes_nothing_when_one_secret_cannot_be_read(db: None, settings: Settings) -> None:
    (first,), second = settings.FIELD_ENCRYPTION_KEYS, new_key()
    site = make_site(token=SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [second]
    make_connection(pat="pat")
    before = stored(site)
    settings.FIELD_ENCRYPTION_KEYS = [new_key(), first]
    with pytest.raises(keys.WrongKey):
        rotate_all()
    assert stored(site) == before
    assert "cannot be read" in problem()


def test_start_up_check_finds_missing_keys_and_doubled_ones(settings: Settings) -> None:
    assert checks.encryption_keys(None) == []
    (key,) = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [key, key]
    assert [message.id for message in checks.encryption_keys(None)] == ["vault.W001"]
    settings.FIELD_ENCRYPTION_KEYS = []
    settings.SECRET_KEY = settings.SECRET_KEY_NOT_SET
    assert [message.id for message in checks.encryption_keys(None)] == ["vault.E001", "vault.E002"]


def test_command_rotates_the_keys_and_says_how_many(
    db: None, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    make_site(token=SECRET)
    settings.FIELD_ENCRYPTION_KEYS = [new_key(), *settings.FIELD_ENCRYPTION_KEYS]
    call_command("rotate_keys", "--json")
    assert json.loads(capsys.readouterr().out) == {"rotated": 1, "digests_rotated": 0}
    call_command("rotate_keys")
    assert "1 stored token(s) now use the newest key" in capsys.readouterr().out
    settings.FIELD_ENCRYPTION_KEYS = settings.FIELD_ENCRYPTION_KEYS[:1]
    assert MoodleSite.objects.get().token == SECRET
    settings.FIELD_ENCRYPTION_KEYS = [new_key()]
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("rotate_keys")
