"""How long sessions last, and how they are ended."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging import tasks
from badging.setup import SITE_ADMINS
from people.models import Session
from tests.badging.admin.browsing import said
from tests.builders import NOW

from .users import browser_of, make_user, recorded, signed_in_by_form

pytestmark = pytest.mark.django_db

IDLE = timedelta(minutes=120)


def is_in(client: Client) -> bool:
    return client.get(reverse("courses")).status_code == 200


def writes(client: Client, address: str) -> int:
    with CaptureQueriesContext(database) as seen:
        client.get(address)
    return sum(row["sql"].startswith(("INSERT", "UPDATE", "DELETE")) for row in seen)


@pytest.mark.parametrize("groups", [(), (SITE_ADMINS,)])
def test_a_session_lasts_while_it_is_used_and_ends_when_it_is_not(groups: tuple[str, ...]) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser_of(make_user("mina", *groups))
        for _step in range(3):
            clock.shift(IDLE - timedelta(minutes=1))
            assert is_in(client)
        clock.shift(IDLE + timedelta(seconds=1))
        assert not is_in(client)


def test_a_request_writes_the_session_at_most_once_a_minute() -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser_of(make_user("mina"))
        address = reverse("courses")
        assert [writes(client, address) for _n in range(3)] == [0, 0, 0]
        clock.shift(61)
        assert [writes(client, address) for _n in range(3)] == [1, 0, 0]


def test_sessions_of_staff_end_with_the_browser_and_others_after_the_idle_limit() -> None:
    make_user("sara", SITE_ADMINS)
    make_user("mina")
    assert signed_in_by_form("sara").cookies["sessionid"]["max-age"] == ""
    assert signed_in_by_form("mina").cookies["sessionid"]["max-age"] == IDLE.total_seconds()


def test_who_becomes_staff_while_signed_in_loses_the_lasting_cookie() -> None:
    user = make_user("mina")
    client = signed_in_by_form("mina")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert is_in(client)
    assert client.cookies["sessionid"]["max-age"] == ""


def test_signing_out_everywhere_asks_first_and_ends_all_ones_own_sessions() -> None:
    user, other = make_user("mina"), make_user("otto")
    here, there, others = browser_of(user), browser_of(user), browser_of(other)
    address = reverse("sign-out-everywhere")
    assert "all browsers" in here.get(address).content.decode()
    assert is_in(there)
    done = here.post(address, follow=True)
    assert "signed out in all browsers" in said(done)
    assert (is_in(here), is_in(there), is_in(others)) == (False, False, True)
    assert recorded("signed_out_all") == [("mina", "mina", {"sessions": 2})]
    assert address in others.get(reverse("account")).content.decode()


def test_signing_out_everywhere_needs_a_session_and_a_token() -> None:
    assert Client().post(reverse("sign-out-everywhere")).status_code == 302
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(make_user("mina"))
    assert careful.post(reverse("sign-out-everywhere")).status_code == 403
    assert is_in(careful)


def test_a_session_that_was_ended_meanwhile_is_not_brought_back() -> None:
    user = make_user("mina")
    client = browser_of(user)
    # As in a request that has read its session and writes it at its end.
    session: Any = client.session
    assert session["_auth_user_id"] == str(user.pk)
    Session.objects.all().delete()
    with pytest.raises(UpdateError):
        session.save()
    assert not Session.objects.exists()


def test_expired_sessions_are_cleared_by_the_daily_task() -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        browser_of(make_user("mina"))
        clock.shift(IDLE + timedelta(minutes=1))
        current: Any = browser_of(make_user("otto")).session
        tasks.daily_checks()
    assert [row.session_key for row in Session.objects.all()] == [current.session_key]


def test_a_session_row_names_its_user_and_an_anonymous_one_nobody() -> None:
    user = make_user("mina")
    assert Session.objects.get(pk=browser_of(user).session.session_key).user_id == user.pk
    anonymous = Client().session
    anonymous.save()
    row = Session.objects.get(pk=anonymous.session_key)
    assert row.user_id is None
    assert row.get_decoded() == {}
