"""Digests are keyed, get newer keys without their texts, and are never compared under other keys."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from badging import privacy
from badging.models import Issuance, recipient_key
from badging.sending import rounds
from sandbox import Sandbox
from tests.builders import make_issuance, map_course, owe
from tests.worker import take
from vault import checks, digests
from vault.keys import WrongKey
from vault.models import DigestKey

pytestmark = pytest.mark.django_db

FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
EMAIL = "ana@example.org"


@pytest.fixture(autouse=True)
def begun_with_one_key(settings: Any, db: None) -> Iterator[None]:
    """A database that was set up with the first key."""
    settings.DIGEST_KEYS = [FIRST]
    DigestKey.objects.all().delete()
    digests.adopt()
    return


def test_a_digest_depends_on_its_key_and_shows_which(settings: Any) -> None:
    one = recipient_key(EMAIL, digests.in_use())
    assert (len(one), digests.name_of(one)) == (64, digests.newest())
    settings.DIGEST_KEYS = [SECOND]
    assert recipient_key(EMAIL, digests.newest())[8:] != one[8:]


def test_a_newer_key_is_put_on_digests_whose_address_is_known_to_nobody(settings: Any) -> None:
    row = make_issuance(state="issued", assertion_id="1", recipient_key=recipient_key(EMAIL, digests.in_use()))
    settings.DIGEST_KEYS = [THIRD, SECOND, FIRST]
    # Until then the old one is used, so that no digest is compared with one made otherwise.
    assert privacy.sent_to(EMAIL) == [row.learner_id]
    assert digests.rotate_all() == 1
    before = row.recipient_key
    row.refresh_from_db()
    assert row.recipient_key == recipient_key(EMAIL, digests.in_use()) != before
    assert privacy.sent_to("Ana@Example.org") == [row.learner_id]
    assert digests.rotate_all() == 0


def test_plain_digests_from_before_get_all_keys(settings: Any) -> None:
    DigestKey.objects.all().delete()
    plain = "cbc41284e23c8c7ed98f589b6d6ebfd6a5a8e2c7d3e2d5f8" + "0" * 16
    row = make_issuance(state="issued", assertion_id="1", recipient_key=plain)
    settings.DIGEST_KEYS = [SECOND, FIRST]
    digests.adopt()
    row.refresh_from_db()
    assert digests.name_of(row.recipient_key) == digests.newest()


@pytest.mark.parametrize("keys", [[SECOND], [FIRST, SECOND], [SECOND + "x", FIRST + "x"]])
def test_other_keys_are_noticed_and_nothing_is_sent(settings: Any, sandbox: Sandbox, keys: list[str]) -> None:
    row = owe(map_course(sandbox))
    settings.DIGEST_KEYS = keys
    assert "Put all keys back" in digests.problem()
    with pytest.raises(WrongKey):
        rounds.send_all_due()
    with pytest.raises(digests.WrongDigestKey):
        digests.rotate_all()
    row.refresh_from_db()
    assert (row.state, sandbox.navigatr.puts) == (Issuance.State.QUEUED, [])


def test_a_missing_older_key_is_noticed(settings: Any) -> None:
    settings.DIGEST_KEYS = [SECOND, FIRST]
    digests.rotate_all()
    assert digests.problem() == ""
    settings.DIGEST_KEYS = [SECOND]
    assert digests.problem()


def test_nobody_gets_a_badge_twice_across_a_rotation(settings: Any, sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    first, second = (owe(mapping, person={"email": EMAIL}) for _ in range(2))
    Issuance.objects.filter(pk=second.pk).update(state="held", next_attempt_at=None)
    rounds.send_all_due()
    settings.DIGEST_KEYS = [SECOND, FIRST]
    digests.rotate_all()
    # Queued with the old key's digest, claimed with the new one's.
    Issuance.objects.filter(pk=second.pk).update(state="queued", next_attempt_at=second.next_attempt_at)
    rounds.send_all_due()
    second.refresh_from_db()
    assert (second.state, second.reason) == ("failed", "duplicate")
    assert len(sandbox.navigatr.assertions_for(EMAIL)) == 1


def test_a_look_up_that_a_rotation_overtakes_still_finds_the_badge(settings: Any, sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    worker.ask()
    worker.die()
    rounds.sweep(now=row.queued_at)
    Issuance.objects.filter(pk=row.pk).update(
        state="queued", claim=None, leased_until=None, unanswered="unknown", next_attempt_at=row.queued_at
    )
    looking = take(row)
    settings.DIGEST_KEYS = [SECOND, FIRST]
    digests.rotate_all()
    looking.ask().write()
    row.refresh_from_db()
    assert (row.state, row.reason) == ("issued", "found")
    assert len(sandbox.navigatr.puts) == 1


@pytest.mark.parametrize("keys", [[], ["short"], [FIRST, "short"]])
def test_no_key_or_a_short_one_is_a_finding(settings: Any, keys: list[str]) -> None:
    settings.DIGEST_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="DIGEST_KEYS"):
        digests.all_keys()
    assert "vault.E003" in [message.id for message in checks.encryption_keys(None)]
