"""The page "Where is this learner's badge?"."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from badging.admin import learner_badge
from badging.models import Issuance
from tests.badging.admin.browsing import page_of
from tests.builders import make_completion, make_course, make_issuance, make_learner, make_mapping

pytestmark = pytest.mark.django_db


def look_for(client: Client, words: str) -> Any:
    return client.post(reverse("admin:learner_badge"), {"q": words}, follow=True)


def test_one_learner_is_told_at_once_and_no_address_holds_the_words(officer: Client) -> None:
    mapping = make_mapping(badge_name="First Aid")
    ana = make_learner(mapping.course.site, firstname="Ana", lastname="Lee", email="ana@example.org")
    row = make_issuance(mapping, make_completion(mapping.course, ana), state=Issuance.State.FAILED, reason="forbidden")
    for words in ("ana lee", "Lee Ana", "ana@example.org", str(ana.moodle_id)):
        page = look_for(officer, words)
        text = page.content.decode()
        assert "First Aid" in text
        assert "Your badge could not be sent yet." in text
        assert f"/admin/badging/issuance/{row.pk}/change/" in text
        assert not any(word in page.request["QUERY_STRING"].lower() for word in ("ana", "lee"))


def test_of_several_one_is_chosen_and_nobody_is_said(officer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [make_learner(firstname="Ana", lastname=name) for name in ("Lee", "Öz", "Li")]
    page = look_for(officer, "ana")
    assert page.context["people"] == [people[0], people[2], people[1]]
    query = page.request["QUERY_STRING"]
    chosen = officer.get(f"{reverse('admin:learner_badge')}?{query}&learner={people[1].pk}").content.decode()
    assert f"Ana Öz (id {people[1].moodle_id})" in chosen
    assert "Nobody was found" in look_for(officer, "zoe").content.decode()
    assert "This search is over" in officer.get(reverse("admin:learner_badge"), {"q": "123456789"}).content.decode()
    assert officer.get(reverse("admin:learner_badge"), {"learner": "999999"}).status_code == 404
    monkeypatch.setattr(learner_badge, "MOST_PEOPLE", 2)
    assert "There are more" in look_for(officer, "ana").content.decode()


def test_only_who_may_open_a_course_is_led_there(officer: Client, site_admin: Client) -> None:
    mapping = make_mapping()
    ana = make_learner(mapping.course.site, firstname="Ana", lastname="Lee")
    make_issuance(mapping, make_completion(mapping.course, ana))
    page = reverse("course", args=[mapping.course_id])
    unmapped = make_course(mapping.course.site)
    followed = reverse("admin:verification", query={"course": unmapped.pk, "learner": ana.pk})
    rows = [
        page_of("badging_coursebadgemapping", mapping.pk),
        page_of("moodle_sync_course", mapping.course_id),
        reverse("admin:moodle_sync_course_changelist"),
    ]
    for client, led in ((officer, False), (site_admin, True)):
        for row in rows:
            assert (f'href="{page}"' in client.get(row).content.decode()) == led, row
        assert client.get(page).status_code == (200 if led else 404)
        assert (f'href="{page}"' in look_for(client, "ana").content.decode()) == led
        shown = client.get(followed)
        assert shown.status_code == 200
        assert (f'href="{reverse("course", args=[unmapped.pk])}"' in shown.content.decode()) == led


def test_staff_who_may_not_view_learners_are_refused(client: Client) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(reverse("admin:learner_badge")).status_code == 403
