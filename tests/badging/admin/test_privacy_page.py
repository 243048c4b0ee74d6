"""The page *Privacy*."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from badging import privacy
from tests.builders import make_learner

pytestmark = pytest.mark.django_db


def test_it_tells_what_is_stored_until_when_and_what_was_done(
    officer: Client, settings: Any, django_assert_max_num_queries: Any
) -> None:
    settings.WORDS_KEPT = timedelta(days=41)
    learner = make_learner(firstname="Zoë", moodle_id=4711)
    privacy.export_learners([learner], actor=User.objects.get(username="officer"))
    privacy.erase_learner(learner, actor=User.objects.get(username="officer"), now=timezone.now())
    # Session, user, two for permissions, the entries.
    with django_assert_max_num_queries(5):
        page = officer.get(reverse("admin:privacy")).content.decode()
    for words in (
        "erased, or 41 days old",
        "officer erased the data of a learner (learner",
        "officer exported the data of a learner (learner",
        "Moodle user id: 4711.",
        reverse("admin:moodle_sync_learner_changelist"),
    ):
        assert words in page
    assert "Zoë" not in page


def test_others_are_refused(client: Client) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(reverse("admin:privacy")).status_code == 403
