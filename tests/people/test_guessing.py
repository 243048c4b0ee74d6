"""Who must wait after wrong passwords, where, and for how long."""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import time_machine
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import resolve, reverse
from django.utils import timezone

from badging.models import AuditEntry
from badging.tasks import once_a_day
from people import guessing, middleware
from people.caches import clear_expired
from people.models import SignInLock
from tests.builders import NOW

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
HERE, THERE = "203.0.113.5", "198.51.100.7"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def mina() -> User:
    return User.objects.create_user("mina", "mina@example.org", PASSWORD)


def attempt(client: Client, name: str = "mina", password: str = "wrong", address: str = HERE) -> Any:
    return client.post("/sign-in/", {"login": name, "password": password}, REMOTE_ADDR=address)


def guess(number: int, name: str = "mina", address: str = HERE, client: Client | None = None) -> list[int]:
    """That many wrong passwords; returns the statuses."""
    client = client or Client()
    return [attempt(client, name, address=address).status_code for _number in range(number)]


def test_the_fifth_wrong_password_makes_the_place_wait_and_the_right_one_does_not_help(mina: User) -> None:
    assert guess(5) == [200, 200, 200, 200, 429]
    refused = attempt(Client(), password=PASSWORD)
    assert refused.status_code == 429
    assert "Try again in 1 minute." in refused.content.decode()
    assert 0 < int(refused["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("failures", "minutes"), [(4, None), (5, 1), (6, 2), (7, 4), (10, 32), (11, 60), (12, 60), (10_000, 60)]
)
def test_pauses_double_up_to_an_hour(failures: int, minutes: int | None) -> None:
    pause = guessing.pause_after(failures, free=guessing.FREE_FAILURES, longest=guessing.LONGEST_PAUSE)
    assert pause == (minutes * MINUTE if minutes else None)


@pytest.mark.postgres
def test_after_the_pause_one_attempt_is_free_and_a_wrong_one_doubles_it(mina: User) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        guess(5)
        clock.move_to(NOW + timedelta(seconds=61))
        assert guess(2) == [429, 429]
        lock = SignInLock.objects.get(place=f"address {HERE}")
        # What was refused unseen did not count.
        assert (lock.failures, lock.locked_until) == (6, NOW + timedelta(seconds=61) + 2 * MINUTE)
        clock.move_to(NOW + timedelta(seconds=61) + 2 * MINUTE)
        assert attempt(Client(), password=PASSWORD).status_code == 302
        assert not SignInLock.objects.filter(place=f"address {HERE}").exists()


def test_nobody_is_locked_at_another_address_nor_another_account_at_this_one(mina: User) -> None:
    User.objects.create_user("tom", "tom@example.org", PASSWORD)
    guess(20)
    assert attempt(Client(), password=PASSWORD, address=THERE).status_code == 302
    assert attempt(Client(), "tom", PASSWORD).status_code == 302


@pytest.mark.postgres
def test_name_and_address_are_one_account_and_case_makes_no_difference(mina: User) -> None:
    for name in ("mina", "MINA", "mina@example.org", " Mina@Example.ORG "):
        assert guess(1, name) == [200]
    assert guess(1, "Mina") == [429]


@pytest.mark.postgres
def test_a_user_whose_name_has_another_folded_form_is_known() -> None:
    user = User.objects.create_user("straße", "strasse@example.org", PASSWORD)
    for name in ("straße", "Straße"):
        guess(1, name)
    assert SignInLock.objects.get(place=f"address {HERE}").user == user


def test_a_known_browser_goes_on_while_a_neighbour_and_strangers_guess(mina: User) -> None:
    own = Client()
    assert attempt(own, password=PASSWORD).status_code == 302
    own.post("/sign-out/")
    guess(6)
    for number in range(60):
        guess(1, address=f"192.0.2.{number}")
    assert attempt(own, password=PASSWORD).status_code == 302
    # A new browser of hers must wait, but never long at a time.
    refused = attempt(Client(), password=PASSWORD, address=THERE)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) <= 15 * 60


def test_a_known_browser_cannot_guess_without_limit_either(mina: User) -> None:
    own = Client()
    attempt(own, password=PASSWORD)
    own.post("/sign-out/")
    assert guess(6, client=own) == [200, 200, 200, 200, 429, 429]
    assert attempt(own, password=PASSWORD, address=THERE).status_code == 429


def test_the_cookie_of_a_known_browser_cannot_be_made_up_nor_used_for_others(mina: User) -> None:
    User.objects.create_user("tom", "tom@example.org", PASSWORD)
    toms = Client()
    attempt(toms, "tom", PASSWORD)
    toms.post("/sign-out/")
    made_up = Client()
    made_up.cookies["known_browser"] = "0" * 32 + "." + "f" * 64 + "." + "f" * 64
    guess(5)
    for client in (toms, made_up):
        assert attempt(client, password=PASSWORD).status_code == 429


def test_from_fifty_addresses_the_account_is_slowed_for_all_unknown_browsers(mina: User) -> None:
    statuses = [guess(1, address=f"192.0.2.{number}")[0] for number in range(52)]
    assert statuses[:49] == [200] * 49
    assert statuses[49:] == [429] * 3
    lock = SignInLock.objects.get(place=guessing.EVERYWHERE)
    assert lock.failures == 50


def test_neighbours_in_an_ipv6_network_are_one_address(mina: User) -> None:
    for number in range(4):
        guess(1, address=f"2001:db8:1:2::{number}")
    assert guess(1, address="2001:db8:1:2:ffff::1") == [429]
    assert guess(1, address="2001:db8:1:3::1") == [200]


def test_unknown_names_wait_as_known_ones_do_and_are_stored_nowhere(mina: User) -> None:
    known, unknown = Client(), Client()
    for number in range(6):
        pages = [attempt(known), attempt(unknown, "s3cret-name", address=THERE)]
        assert pages[0].status_code == pages[1].status_code, number
    assert "s3cret-name" not in str(list(SignInLock.objects.values())) + str(list(AuditEntry.objects.values()))
    assert {entry.subject for entry in AuditEntry.objects.all()} == {"mina"}


@pytest.mark.postgres
def test_one_address_has_sixty_failures_a_minute_and_known_browsers_there_go_on(mina: User) -> None:
    own = Client()
    attempt(own, password=PASSWORD)
    own.post("/sign-out/")
    with time_machine.travel(NOW, tick=False) as clock:
        assert [guess(1, f"name{number}")[0] for number in range(60)] == [200] * 60
        refused = attempt(Client(), "somebody")
        assert (refused.status_code, refused["Retry-After"]) == (429, "60")
        assert attempt(own, password=PASSWORD).status_code == 302
        clock.move_to(NOW + timedelta(seconds=61))
        assert guess(1, "somebody") == [200]


def test_no_flood_of_sign_ins_keeps_out_a_known_browser_at_the_same_address(mina: User) -> None:
    own, flood = Client(), Client()
    attempt(own, password=PASSWORD)
    own.post("/sign-out/")
    with time_machine.travel(NOW, tick=False):
        # Without a password: such attempts fail before they count as wrong ones.
        assert {attempt(flood, "somebody", password="").status_code for _number in range(310)} == {200}
        guess(61, "somebody")
        assert attempt(Client(), "somebody").status_code == 429
        assert attempt(own, password=PASSWORD).status_code == 302


@pytest.mark.postgres
def test_the_audit_of_guessing_is_bounded(mina: User) -> None:
    """A day of guessing as fast as it goes: from one address, and from a new one each time."""
    with time_machine.travel(NOW, tick=False) as clock:
        account, now, addresses = guessing.account_of_user(mina), NOW, count()
        while now < NOW + timedelta(days=1):
            clock.move_to(now)
            waits = []
            for place in (guessing.Place(f"address {HERE}"), guessing.Place(f"address new {next(addresses)}")):
                waits.append(guessing.locked_until(account, place, now))
                if waits[-1] is None:
                    guessing.record_failure(account, place, now)
            # On to the moment when one of them may try again.
            now = min(until or now + timedelta(seconds=1) for until in waits)
    # Fifty free ones, then at most four an hour, each with at most two entries of waiting.
    assert AuditEntry.objects.filter(action="sign_in_failed").count() <= 50 + 4 * 24 + 10
    assert AuditEntry.objects.count() <= 500


@pytest.mark.postgres
def test_after_a_quiet_day_all_is_forgotten(mina: User) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        guess(5)
        Client().post("/password/forgotten/", {"email": "mina@example.org"}, REMOTE_ADDR=HERE)
        once_a_day.send(sender=None)
        assert SignInLock.objects.filter(user=mina).exists()
        assert HERE in cache_keys()
        # Nobody tries to sign in any more.
        clock.move_to(NOW + timedelta(days=1, seconds=1))
        once_a_day.send(sender=None)
        assert not SignInLock.objects.exists()
        assert cache_keys() == ""


def cache_keys() -> str:
    """The keys of all rows, whether they have expired or not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT cache_key FROM portal_cache")
        return " ".join(key for (key,) in cursor.fetchall())


@pytest.mark.postgres
def test_what_has_not_expired_stays_in_the_cache() -> None:
    cache.set("short", 1, timeout=60)
    cache.set("long", 1, timeout=3600)
    caches["navigatr"].set("short", 1, timeout=60)
    clear_expired(now=timezone.now() + 2 * MINUTE)
    assert cache_keys() == ":1:long"
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM portal_navigatr_cache")
        assert cursor.fetchone() == (0,)


def test_failures_are_audited_without_address_or_password(mina: User) -> None:
    guess(5)
    entries = list(AuditEntry.objects.order_by("pk").values_list("action", "subject", "actor"))
    assert entries == [("sign_in_failed", "mina", None)] * 5 + [("sign_in_locked", "mina", None)]
    assert HERE not in str(list(AuditEntry.objects.values("details")))


def test_a_forgotten_session_is_no_place_to_guess_the_password(mina: User) -> None:
    client = Client()
    client.force_login(mina)
    data = {"oldpassword": "wrong", "password1": "battery staple horse", "password2": "battery staple horse"}
    statuses = [client.post(reverse("account_change_password"), data).status_code for _number in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    mina.refresh_from_db()
    assert mina.check_password(PASSWORD)


class CountingHasher(MD5PasswordHasher):
    """Says how often it hashed."""

    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        CountingHasher.hashed += 1
        return super().encode(password, salt)


@pytest.mark.parametrize("name", ["mina", "mina@example.org", "nobody", "nobody@example.org"])
def test_the_time_of_an_answer_does_not_tell_which_names_exist(mina: User, settings: Any, name: str) -> None:
    settings.PASSWORD_HASHERS = ["tests.people.test_guessing.CountingHasher"]
    CountingHasher.hashed = 0
    guess(1, name)
    assert CountingHasher.hashed == 1


def test_more_requests_than_the_queue_holds_are_sent_away_at_once() -> None:
    sign_in_queue = middleware.SignInQueue(lambda request: HttpResponse(status=200))
    request = RequestFactory().post("/sign-in/")
    request.resolver_match = resolve("/sign-in/")
    refused = [sign_in_queue.process_view(request, None, (), {}) for _number in range(middleware.QUEUE_LENGTH + 1)]
    assert refused[:-1] == [None] * middleware.QUEUE_LENGTH
    assert refused[-1] is not None
    assert (refused[-1].status_code, refused[-1]["Retry-After"]) == (503, "3")
    assert "Too many people are signing in" in refused[-1].content.decode()


def test_the_counts_of_the_limits_outlive_many_addresses(settings: Any) -> None:
    """Django's cache forgets rows above MAX_ENTRIES: few enough, and somebody with many addresses starts anew."""
    assert cache._max_entries >= 10_000
    assert "DatabaseCache" in settings.CACHES["default"]["BACKEND"]
