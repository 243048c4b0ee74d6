"""What a page says when it cannot be made."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError
from django.db import connection as database
from django.test import Client
from django.urls import reverse

from tests.badging.admin.browsing import search
from tests.builders import digest_of, make_issuance

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OperationalError, 503, "The database is not available"),
        (InterfaceError, 503, "The database is not available"),
        (ZeroDivisionError, 500, "Something went wrong"),
    ],
)
@pytest.mark.parametrize("page", ["admin:badging_issuance_changelist", "home"])
def test_a_database_that_is_away_is_told_as_that_on_a_page_that_asks_it_nothing(
    page: str, error: type[Exception], status: int, says: str
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(get_user_model().objects.create_superuser("admin"))

    def away(*_arguments: Any) -> Any:
        raise error

    with database.execute_wrapper(away):
        answer = client.get(reverse(page))
    assert answer.status_code == status
    assert says in answer.content.decode()
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_keys_that_do_not_fit_the_database_are_told_with_what_to_do(settings: Any) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(get_user_model().objects.create_superuser("admin"))
    make_issuance(recipient_key=digest_of("zoe@example.org"))
    settings.DIGEST_KEYS = ["x" * 50]
    answer = search(client, "moodle_sync_learner", "zoe@example.org")
    assert answer.status_code == 503
    assert "Put all keys back, newest first." in answer.content.decode()
