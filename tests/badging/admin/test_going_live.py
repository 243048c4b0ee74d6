"""The page that moves a staging connection's courses to production."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from badging.admin import going_live
from badging.models import AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection
from moodle_sync.models import Completion, MoodleSite
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    connect,
    make_completion,
    make_connection,
    make_course,
    make_learner,
    make_site,
    map_course,
)

from .browsing import page_of, said

pytestmark = pytest.mark.django_db
State = Issuance.State
HOUR = timedelta(hours=1)


@pytest.fixture
def staging(sandbox: Sandbox) -> NavigatrConnection:
    """A connection to staging with two courses; five learners have completed the first."""
    staging = connect(sandbox, name="Trial")
    site = make_site(name="Hub")
    since = timezone.now() - HOUR
    for number in range(2):
        badge = sandbox.navigatr.badges[BADGE + number]
        course = make_course(site, fullname=f"Course {number}")
        map_course(sandbox, staging, course, badge_id=badge.id, badge_name=badge.name, since=since)
    first = CourseBadgeMapping.objects.order_by("pk")[0]
    for number in range(5):
        learner = make_learner(site, lastname=f"Lee {number}")
        make_completion(first.course, learner, completed_at=timezone.now() - HOUR / 2)
    return staging


@pytest.fixture
def production(sandbox: Sandbox, staging: NavigatrConnection) -> NavigatrConnection:
    """A connection to production."""
    return connect(sandbox, name="Live", environment="production", pat=sandbox.production_pat)


def page(staging: NavigatrConnection) -> str:
    return reverse("admin:going_live", args=[staging.pk])


def chosen(response: Any, *, past: bool = False) -> dict[str, str]:
    """What the form of the table sends as it stands, with every tick or none."""
    data = {}
    for line in response.context["lines"]:
        pk = line.mapping.pk
        data |= {f"badge-{pk}": line.chosen, f"seen-{pk}": line.seen} | ({f"past-{pk}": "on"} if past else {})
    return data


def confirmed(response: Any) -> dict[str, str]:
    """What the form below "what will happen" sends."""
    fields = re.findall(r'<input type="hidden" name="([a-z]+-\d+)" value="([^"]*)"', response.content.decode())
    return dict(fields) | {"step": "go"}


def test_the_table_has_the_badges_of_the_same_name_and_how_many_completed_already(
    site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection, sandbox: Sandbox
) -> None:
    shown = site_admin.get(page(staging))
    lines = shown.context["lines"]
    names = [sandbox.production.badges[int(line.chosen.split("-")[1])].name for line in lines]
    assert names == [line.mapping.badge_name for line in lines]
    assert [line.already for line in lines] == ["5", "0"]
    assert "mail these 5 a real badge now" in shown.content.decode()
    connection_page = site_admin.get(page_of("badging_navigatrconnection", staging.pk)).content.decode()
    assert f'href="{page(staging)}"' in connection_page
    assert not sandbox.production.puts


def test_nothing_is_mailed_unless_it_is_ticked_seen_and_confirmed(
    site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection
) -> None:
    data = chosen(site_admin.get(page(staging)), past=True)
    asked = site_admin.post(page(staging), data | {"step": "review"})
    text = " ".join(asked.content.decode().split())
    assert "Up to 5 real badges are mailed now." in text
    assert "Yes, go live and mail 5 real badges" in text
    assert "<summary>To whom</summary>" in text
    assert "Ana Lee 3" in text
    assert not Issuance.objects.exists()
    assert set(CourseBadgeMapping.objects.values_list("connection", flat=True)) == {staging.pk}
    # What was not seen is refused.
    first = CourseBadgeMapping.objects.order_by("pk")[0].pk
    unseen = {key: value for key, value in data.items() if key.endswith(f"-{first}")} | {"step": "go"}
    refused = said(site_admin.post(page(staging), unseen, follow=True))
    assert "stays on staging: meanwhile 5 more badges would be mailed." in refused
    assert not Issuance.objects.exists()
    done = site_admin.post(page(staging), confirmed(asked), follow=True)
    assert done.redirect_chain[-1][0] == page_of("badging_navigatrconnection", staging.pk)
    assert "2 courses award real badges of Live now." in said(done)
    assert "5 real badges are mailed now." in said(done)
    assert set(CourseBadgeMapping.objects.values_list("connection", flat=True)) == {production.pk}
    assert set(Issuance.objects.values_list("environment", "state")) == {("production", "queued")}
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "mapping_changed", "mapping_changed", "went_live",
    ]  # fmt: skip


def test_from_now_on_is_the_default_and_the_rest_can_follow_later(
    site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection
) -> None:
    data = chosen(site_admin.get(page(staging)))
    first, second = CourseBadgeMapping.objects.order_by("pk")
    data[f"badge-{second.pk}"] = ""
    asked = site_admin.post(page(staging), data | {"step": "review"}).content.decode()
    assert "No badge is mailed now." in asked
    assert second.course.full_label not in asked
    done = site_admin.post(page(staging), data | {"step": "go"}, follow=True)
    assert "1 course awards real badges of Live now." in said(done)
    assert [line.mapping for line in done.context["lines"]] == [second]
    assert not Issuance.objects.exists()
    # The same sent twice changes nothing more.
    again = site_admin.post(page(staging), data | {"step": "go"})
    assert "No course has a badge of production chosen. Nothing was changed." in again.content.decode()
    assert AuditEntry.objects.filter(action="went_live").count() == 1
    first.refresh_from_db()
    assert (first.connection, first.include_past) == (production, False)


def test_what_somebody_changed_meanwhile_is_shown_again_and_stays(
    site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection
) -> None:
    data = chosen(site_admin.get(page(staging)))
    CourseBadgeMapping.objects.filter(course__fullname="Course 0").update(min_score=50)
    asked = site_admin.post(page(staging), data | {"step": "review"}).content.decode()
    assert "Somebody has changed these courses meanwhile" in asked
    done = site_admin.post(page(staging), data | {"step": "go"}, follow=True)
    assert "Course 0 (" in said(done)
    assert "stays on staging: somebody has changed it meanwhile." in said(done)
    assert CourseBadgeMapping.objects.get(connection=staging).course.fullname == "Course 0"


def test_who_is_held_is_told_and_too_many_are_refused(
    site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CourseBadgeMapping.objects.order_by("pk")[0]
    suspended = first.course.completions.order_by("pk")[0].learner
    suspended.suspended = True
    suspended.save()
    MoodleSite.objects.update(send_suspended=False)
    data = chosen(site_admin.get(page(staging)), past=True)
    with monkeypatch.context() as few:
        few.setattr("badging.going_live.MOST_QUEUED", 4)
        refused = " ".join(site_admin.post(page(staging), data | {"step": "review"}).content.decode().split())
    assert f"{first.course.full_label}: with its past completions more than 4 badges" in refused
    assert "use “Find past completions”" in refused
    asked = site_admin.post(page(staging), data | {"step": "review"})
    told = asked.content.decode()
    assert "Up to 4 real badges are mailed now." in told
    assert "1 is held for now" in told
    assert "Yes, go live and mail 5 real badges" in told
    make_completion(first.course, completed_at=timezone.now())
    late = site_admin.post(page(staging), confirmed(asked), follow=True)
    assert "meanwhile 1 more badge would be mailed" in said(late)
    asked = site_admin.post(page(staging), data | {"step": "review"})
    done = site_admin.post(page(staging), confirmed(asked), follow=True)
    assert "1 real badge is held for now" in said(done)
    assert "5 real badges are mailed now." in said(done)


@pytest.mark.parametrize("fault", ["401", "403", "429", "503", "html_before", "drop_before"])
def test_a_navigatr_in_trouble_is_a_message_and_changes_nothing(
    fault: str, site_admin: Client, staging: NavigatrConnection, production: NavigatrConnection, sandbox: Sandbox
) -> None:
    sandbox.faults.on(fault, call="all", side="navigatr-production")
    for answer in (site_admin.get(page(staging)), site_admin.post(page(staging), {"step": "go"})):
        assert answer.status_code == 200
        assert "The badges of “Live” cannot be shown. Nothing was changed." in answer.content.decode()
    assert not CourseBadgeMapping.objects.exclude(connection=staging).exists()


def test_without_production_the_page_says_how_to_connect_it(site_admin: Client, staging: NavigatrConnection) -> None:
    answer = site_admin.get(page(staging)).content.decode()
    assert "There is no active connection to production yet." in answer
    assert reverse("admin:badging_navigatrconnection_add") in answer
    live = connect_two()
    assert 'name="to"' in site_admin.get(page(staging)).content.decode()
    assert site_admin.get(page(live)).status_code == 404


def connect_two() -> NavigatrConnection:
    """Two connections to production; returns one."""
    make_connection(name="Live 1", environment="production")
    return make_connection(name="Live 2", environment="production")


def test_only_who_may_change_connections_and_every_course_may_go_live(
    officer: Client, staging: NavigatrConnection, production: NavigatrConnection
) -> None:
    for answer in (officer.get(page(staging)), officer.post(page(staging), {"step": "go"})):
        assert answer.status_code == 403
    assert page(staging) not in officer.get(page_of("badging_navigatrconnection", staging.pk)).content.decode()


def test_the_names_are_few_and_the_courses_are_shown_in_parts(
    site_admin: Client,
    staging: NavigatrConnection,
    production: NavigatrConnection,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(going_live, "MOST_NAMED", 2)
    data = chosen(site_admin.get(page(staging)), past=True)
    asked = site_admin.post(page(staging), data | {"step": "review"}).content.decode()
    assert len(re.findall("<li>Ana Lee", asked)) == 2
    assert "and 3 more" in asked
    monkeypatch.setattr(going_live, "MOST_COURSES", 1)
    with CaptureQueriesContext(database) as one:
        first = site_admin.get(page(staging))
    assert len(first.context["lines"]) == 1
    assert "&amp;page=1" in first.content.decode()
    second = site_admin.get(page(staging), {"to": production.pk, "page": 1})
    assert {line.mapping.pk for shown in (first, second) for line in shown.context["lines"]} == set(
        staging.mappings.values_list("pk", flat=True)
    )
    monkeypatch.setattr(going_live, "MOST_COURSES", 2)
    with CaptureQueriesContext(database) as both:
        site_admin.get(page(staging))
    # A count for each course.
    assert len(both) - len(one) == 1
    assert Completion.objects.count() == 5
