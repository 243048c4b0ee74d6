"""Each person gets a badge once, however many courses, accounts and addresses lead to it."""

from datetime import timedelta

import pytest
from django.db import IntegrityError

from badging.meanings import Outcome
from badging.models import Issuance
from moodle_sync.models import Learner
from sandbox import Sandbox
from tests.builders import (
    connect,
    digest_of,
    make_course,
    make_learner,
    make_site,
    map_course,
    owe,
)
from tests.worker import attempts, bring_forward, send

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("shared@example.org", "Shared@Example.org"),
        ("shared@bücher.example", "shared@xn--bcher-kva.example"),
        ("josé@example.org", "jose\u0301@example.org"),
    ],
)
def test_two_learners_with_one_address_get_one_badge_and_the_second_waits_for_a_person(
    sandbox: Sandbox, one: str, other: str
) -> None:
    connection = connect(sandbox)
    first = owe(map_course(sandbox, connection), person={"email": one})
    second = owe(map_course(sandbox, connection), person={"email": other})
    send(first)
    second.refresh_from_db()
    assert first.state == State.ISSUED
    # While the first was on its way, the second stepped aside.
    assert (second.state, second.reason) == (State.QUEUED, Outcome.DUPLICATE_RECIPIENT)
    assert attempts(second) == []
    bring_forward(second)
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.DUPLICATE_RECIPIENT)
    assert len(sandbox.navigatr.assertions) == 1


def test_a_learner_whose_other_course_may_have_sent_the_badge_waits_for_a_person(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    first = owe(mapping, state="failed", reason="gave_up", unanswered="unknown")
    second = owe(map_course(sandbox, mapping.connection, make_course(mapping.course.site)), first.learner)
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.MAY_HOLD)
    assert sandbox.navigatr.puts == []


def test_a_second_learner_waits_for_a_person_where_nobody_knows_if_the_first_has_it(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    owe(mapping, person={"email": "shared@example.org"}, state="failed", reason="lookup_refused", unanswered="unknown")
    second = owe(mapping, person={"email": "shared@example.org"})
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.DUPLICATE_RECIPIENT)
    assert sandbox.navigatr.puts == []


@pytest.mark.parametrize("email", ["learner101@example.org", "changed@example.org"])
def test_a_learner_gets_a_badge_once_through_two_courses_even_with_a_new_address(sandbox: Sandbox, email: str) -> None:
    connection, site = connect(sandbox), make_site()
    first = owe(map_course(sandbox, connection, make_course(site)))
    send(first)
    Learner.objects.update(email=email, email_key=email)
    learner = Learner.objects.get()
    second = owe(map_course(sandbox, connection, make_course(site)), learner)
    send(second)
    assert (second.state, second.reason) == (State.CANCELLED, Outcome.ALREADY_HOLDS)
    assert len(sandbox.navigatr.assertions) == 1


def test_the_database_has_the_last_word_on_one_badge_for_one_address(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    key = digest_of("shared@example.org")
    owe(mapping, state="issued", assertion_id="1", recipient_key=key)
    with pytest.raises(IntegrityError):
        owe(mapping, unanswered="unknown", recipient_key=key)


def test_a_changed_address_is_used_for_what_was_never_sent_and_the_old_one_for_the_look_up(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    unsent, unknown = owe(mapping), owe(mapping)
    sandbox.faults.plan(unknown.learner.email, "500_after")
    Learner.objects.filter(pk=unsent.learner_id).update(email="new@example.org")
    send(unknown)
    Learner.objects.filter(pk=unknown.learner_id).update(email="other@example.org")
    bring_forward(unknown)
    send(unknown)
    assert (unknown.state, unknown.reason) == (State.ISSUED, Outcome.FOUND)
    assert len(sandbox.navigatr.assertions_for("new@example.org")) == 1
    assert sandbox.navigatr.assertions_for("other@example.org") == []


def test_a_learner_of_another_site_is_another_person(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    rows = [
        owe(map_course(sandbox, connection), make_learner(site, moodle_id=7, email=f"{site.pk}@example.org"))
        for site in (make_site(), make_site())
    ]
    send(rows[0])
    assert Issuance.objects.filter(state=State.ISSUED).count() == 2
