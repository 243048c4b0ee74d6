"""What is sent to Navigatr for an issuance."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from badging.models import Issuance
from moodle_sync.models import MoodleSite, MoodleSiteState
from sandbox import Sandbox
from tests.builders import (
    PROVIDER,
    connect,
    make_course,
    map_course,
    owe,
)
from tests.worker import send

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_the_payload_is_the_plugins_with_date_and_address(sandbox: Sandbox) -> None:
    person = {"email": "Ana@Example.org", "firstname": "Ana &amp; Sons", "lastname": "O'Brien\u00a0<3"}
    row = owe(map_course(sandbox, min_score=50), score=87, person=person)
    send(row)
    [put] = sandbox.navigatr.puts
    assert put.body == {
        "provider_id": PROVIDER,
        "recipient_email": "Ana@Example.org",
        "recipient_firstname": "Ana &amp; Sons",
        "recipient_lastname": "O'Brien\u00a0<3",
        "score": 87,
        "min_score": 50,
        "issue_date": row.completion.completed_at.isoformat(),
        "evidence_text": f"Recipient completed course {row.course.fullname}",
        "evidence_url": f"https://moodle.example/course/view.php?id={row.course.moodle_id}",
    }


@pytest.mark.parametrize(
    ("ahead", "dated"), [(timedelta(), True), (timedelta(days=-400), True), (timedelta(days=400), False)]
)
def test_a_completion_of_the_future_is_sent_without_its_date(sandbox: Sandbox, ahead: timedelta, dated: bool) -> None:
    row = owe(map_course(sandbox))
    row.completion.completed_at = timezone.now() + ahead
    row.completion.save()
    send(row)
    assert row.state == State.ISSUED
    assert ("issue_date" in sandbox.navigatr.puts[0].body) == dated


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ({"fullname": "Café & <b>Éthique</b>", "shortname": "ÉTH"}, "Café & <b>Éthique</b>"),
        ({"fullname": "", "shortname": "ÉTH"}, "ÉTH"),
        ({"fullname": "", "shortname": "", "moodle_id": 42}, "#42"),
    ],
)
def test_the_evidence_names_the_course_as_the_pages_do(sandbox: Sandbox, names: dict[str, Any], named: str) -> None:
    row = owe(map_course(sandbox, course=make_course(**names)))
    send(row)
    assert sandbox.navigatr.puts[0].body["evidence_text"] == f"Recipient completed course {named}"


def test_score_and_evidence_can_be_switched_off(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, send_score=False, send_evidence=False)))
    send(row)
    sent = sandbox.navigatr.puts[0].body
    assert not {"score", "min_score", "evidence_text", "evidence_url"} & set(sent)


def test_no_score_is_never_made_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), score=None)
    send(row)
    assert row.state == State.ISSUED
    assert "score" not in sandbox.navigatr.puts[0].body


@pytest.mark.parametrize(
    ("score", "sent"), [("60", 60), ("60.999999", 60), ("79.5", 79), ("0.999999", 0), ("100", 100)]
)
def test_what_is_sent_is_rounded_down(sandbox: Sandbox, score: str, sent: int) -> None:
    row = owe(map_course(sandbox), score=Decimal(score))
    send(row)
    assert (row.state, row.score_tried) == (State.ISSUED, Decimal(score))
    assert sandbox.navigatr.puts[0].body["score"] == sent


@pytest.mark.parametrize(
    "wwwroot", ["javascript:alert(1)//", "data:text/html,x", "//evil.example", "https://me:pw@x.org"]
)
def test_evidence_is_a_web_address_whatever_moodle_named(sandbox: Sandbox, wwwroot: str) -> None:
    row = owe(map_course(sandbox))
    MoodleSiteState.objects.filter(site=row.course.site).update(wwwroot=wwwroot)
    send(row)
    sent = sandbox.navigatr.puts[0].body["evidence_url"]
    assert sent == f"https://moodle.example/course/view.php?id={row.course.moodle_id}"


def test_a_site_without_any_web_address_sends_no_evidence_url(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    MoodleSite.objects.update(url="javascript:alert(1)")
    send(row)
    assert "evidence_url" not in sandbox.navigatr.puts[0].body
