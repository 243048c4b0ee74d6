"""How an issuance stands and what is wrong with a course, in words for course managers: without codes."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.translation import gettext as _

from badging.by_hand import MENDED_BY_MANAGERS, managers_can_send_again
from badging.meanings import MEANINGS, Outcome
from badging.models import Issuance, Unanswered
from badging.pages.standing import may_send_again, standing_of
from moodle_sync.client import errors
from moodle_sync.models import Course, MoodleSiteState
from tests.builders import (
    NOW,
    make_attempt,
    make_completion,
    make_connection,
    make_issuance,
    make_learner,
    make_mapping,
)

from .reading import text

pytestmark = pytest.mark.django_db

State = Issuance.State
# Names of functions, capabilities and fields; HTTP statuses; Moodle's error codes.
CODE = re.compile(r"\w+_\w+|\w+/\w+:\w+|\bHTTP\b|\b[45]\d\d\b|errorcode|exception")


def codes_on(web: Client, address: str) -> list[str]:
    """What a page shows that is a code."""
    return CODE.findall(text(web.get(address)))


def test_managers_are_told_no_codes_of_navigatr(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    for outcome in MEANINGS:
        completion = make_completion(course)
        row = make_issuance(mapping, completion, state=State.FAILED, reason=outcome)
        make_attempt(row, outcome=outcome, status=422, fields="recipient_email, provider_id, colour")
        assert codes_on(web, reverse("issuance", args=[course.pk, row.pk])) == [], outcome
        if may_send_again(row):
            assert codes_on(web, reverse("send-again", args=[course.pk, row.pk])) == [], outcome
    for address in ("", "?before=1", f"?before={row.pk - 20}"):
        assert codes_on(web, reverse("course", args=[course.pk]) + address) == []


def test_managers_are_told_no_codes_of_moodle(web: Client, course: Course) -> None:
    make_mapping(course)
    kinds = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.MoodleError)
    ]
    advice = {kind.advice for kind in kinds} | {text for _kind, text in errors.ERRORCODES.values() if text}
    advice |= set(errors.ADVICE.values()) | {str(errors.MoodleNotAllowed.no_feed().advice)}
    wrong = [errors.from_errorcode("core_user_get_users_by_field", code) for code in (*errors.ERRORCODES, "zz_new")]
    told = [_(text) for text in advice] + [f"{_(error.advice)} ({error})" for error in wrong]
    told.append("One line. (core_x_y: HTTP 503)\nAnother one. (mod_z_get_all: a PHP error in Moodle)")
    address = reverse("course", args=[course.pk])
    for words in told:
        Course.objects.filter(pk=course.pk).update(error=words)
        MoodleSiteState.objects.update(error=words, failures=1)
        assert codes_on(web, address) == [], words


@pytest.mark.parametrize("state", list(State))
def test_what_the_page_offers_to_send_again_is_what_can_be(course: Course, state: State) -> None:
    mapping, removed = make_mapping(course), make_mapping(connection=make_connection(name="Another"))
    erased = make_learner(course.site, erased_at=NOW)
    # What the database asks of a state, such as an issued badge's id.
    needed: dict[str, Any] = {
        State.SENDING: {"claim": uuid4(), "leased_until": NOW},
        State.ISSUED: {"assertion_id": "7", "issued_at": NOW},
    }.get(state, {})
    reasons = ["", *Outcome]
    rows = [
        make_issuance(mapping, make_completion(course), state=state, reason=reason, **needed, unanswered=unanswered)
        for reason in reasons
        for unanswered in Unanswered
    ]
    rows += [
        make_issuance(removed, state=state, reason=reason, recipient_key="", **needed) for reason in MENDED_BY_MANAGERS
    ]
    rows.append(make_issuance(mapping, make_completion(course, erased), state=state, reason=Outcome.GAVE_UP, **needed))
    removed.delete()
    can = set(Issuance.objects.filter(managers_can_send_again()).values_list("pk", flat=True))
    found = Issuance.objects.with_standing().filter(pk__in=[row.pk for row in rows])
    assert {row.pk for row in found if standing_of(row).may_send_again} == can
    assert len(can) == (len(MENDED_BY_MANAGERS) if state in (State.FAILED, State.NOT_MET) else 0)
