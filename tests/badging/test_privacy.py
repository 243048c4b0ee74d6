"""Everything held about a person: shown, and erased for good."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model

from badging import privacy, queueing
from badging.admin.search import learners_matching
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, IssuanceAttempt
from moodle_sync.models import Completion, Course, Learner, MoodleSiteState
from tests.builders import NOW, digest_of, make_attempt, make_completion, make_issuance, make_learner, make_mapping

pytestmark = pytest.mark.django_db
State = Issuance.State


def test_every_relation_to_a_learner_is_exported_and_erased() -> None:
    """A model that gains a pointer to Learner, also by way of others, must be added to PERSONAL_RELATIONS."""
    pointing: set[type[Model]] = set()
    found: set[type[Model]] = {Learner}
    while found:
        found = {relation.related_model for model in found for relation in model._meta.related_objects} - pointing
        pointing |= found
    listed = [model for relation in privacy.PERSONAL_RELATIONS.values() for model in relation.models]
    assert len(listed) == len(set(listed))
    # Two more hold lists and texts that name learners by their Moodle user id.
    assert pointing == set(listed) - {Course, MoodleSiteState}


def test_names_and_addresses_are_kept_in_one_table_only() -> None:
    personal = {"firstname", "lastname", "email", "email_key"}
    holders = {
        model
        for label in ("moodle_sync", "badging")
        for model in apps.get_app_config(label).get_models()
        if personal & {field.name for field in model._meta.get_fields()}
    }
    assert holders == {Learner}


def test_a_person_is_found_by_any_spelling_of_their_address() -> None:
    learner = make_learner(email="ana@BÜCHER.example")
    for spelling in ("Ana@bücher.example", "ana@xn--bcher-kva.example", " ana@bu\u0308cher.example "):
        assert privacy.find_learners(spelling) == [learner]


def test_a_person_is_found_by_the_address_that_a_badge_was_sent_to() -> None:
    learner = make_learner(email="new@example.org")
    row = make_issuance(
        completion=make_completion(learner=learner),
        state="issued",
        assertion_id="1",
        recipient_key=digest_of("old@example.org"),
    )
    for spelling in ("old@example.org", " OLD@Example.org"):
        assert privacy.find_learners(spelling) == [learner]
        assert learners_matching(spelling) == [learner.pk]
    privacy.erase_learner(row.learner, now=NOW)
    with pytest.raises(privacy.NobodyFound):
        privacy.find_learners("old@example.org")


def test_the_export_holds_everything_and_is_json() -> None:
    row = make_issuance(
        completion=make_completion(score=Decimal("59.5"), completed_again_at=NOW),
        state="issued",
        assertion_id="42",
        recipient_key="abc",
    )
    IssuanceAttempt.objects.create(
        issuance=row,
        kind="send",
        at=NOW,
        outcome="issued",
        status=201,
        environment="staging",
        provider_id=1,
        badge_id=2,
    )
    # The same address in another site, written differently, is the same person's.
    make_learner(email=row.learner.email.upper())
    people = privacy.find_learners(f" {row.learner.email} ")
    told = json.loads(json.dumps(privacy.export_learners(people)))
    first, second = told["learners"]
    assert (first["firstname"], first["email"]) == ("Ana", row.learner.email)
    assert first["moodle_site"] == row.learner.site.name
    [completion] = first["completions"]
    assert (completion["course"], completion["completed_at"]) == (str(row.course), NOW.isoformat())
    assert (completion["score"], completion["score_hidden"]) == (59.5, False)
    assert completion["completed_again_at"] == NOW.isoformat()
    [issuance] = first["issuances"]
    assert issuance["assertion_id"] == "42"
    assert [attempt["status"] for attempt in issuance["attempts"]] == [201]
    assert (second["completions"], second["issuances"]) == ([], [])
    entries = AuditEntry.objects.filter(action="learner_exported")
    assert {entry.subject for entry in entries} == {f"learner {person.pk}" for person in people}


def test_the_export_holds_what_moodle_said_of_the_person_and_the_completion() -> None:
    learner = make_learner(names_hidden=True, suspended=True)
    make_completion(learner=learner, score=Decimal("66.666666"), undone_at=NOW, implausible=True, score_hidden=True)
    [person] = json.loads(json.dumps(privacy.export_learners([learner])))["learners"]
    assert (person["names_hidden"], person["suspended"], person["deleted"]) == (True, True, False)
    [completion] = person["completions"]
    assert completion["score"] == 66.666666
    assert (completion["undone_at"], completion["implausible"]) == (NOW.isoformat(), True)
    assert completion["confirmed_at"] is not None


@pytest.mark.parametrize("email", ["nobody@example.org", "", "  "])
def test_nobody_is_found_under_an_unknown_or_empty_address(email: str) -> None:
    make_learner(email="")
    with pytest.raises(privacy.NobodyFound):
        privacy.find_learners(email)


def test_erasing_blanks_the_person_cancels_what_waits_and_keeps_the_audit_rows() -> None:
    mapping = make_mapping()
    learner = make_learner(mapping.course.site)
    row = make_issuance(mapping, make_completion(mapping.course, learner))
    make_attempt(row)
    email = learner.email
    assert privacy.erase_learner(learner, now=NOW) == 1
    learner.refresh_from_db()
    row.refresh_from_db()
    assert (learner.firstname, learner.lastname, learner.email, learner.email_key) == ("", "", "", "")
    assert learner.erased_at == NOW
    assert (row.state, row.reason, row.recipient_key) == (State.CANCELLED, Outcome.ERASED, "")
    assert row.attempts.count() == 1
    entry = AuditEntry.objects.get()
    assert (entry.subject, entry.details) == (f"learner {learner.pk}", {"moodle_id": learner.moodle_id, "cancelled": 1})
    with pytest.raises(privacy.NobodyFound):
        privacy.find_learners(email)
    # Again changes nothing, and the first time is kept.
    assert privacy.erase_learner(learner, now=NOW.replace(year=2027)) == 0
    learner.refresh_from_db()
    assert learner.erased_at == NOW


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ({"state": "held"}, "cancelled", "erased"),
        ({"state": "failed", "reason": "gave_up", "unanswered": "unknown"}, "cancelled", "erased"),
        ({"state": "not_met"}, "cancelled", "erased"),
        ({"state": "issued", "reason": "issued", "assertion_id": "1"}, "issued", "erased"),
        ({"state": "cancelled", "reason": "by_hand"}, "cancelled", "by_hand"),
    ],
)
def test_what_is_not_sent_is_cancelled_and_what_is_issued_stays_without_the_address(
    fields: dict[str, Any], state: str, reason: str
) -> None:
    row = make_issuance(**fields)
    privacy.erase_learner(row.learner, now=NOW)
    row.refresh_from_db()
    assert (row.state, row.reason, row.recipient_key, row.is_unknown) == (state, reason, "", False)


def test_what_is_on_its_way_is_left_to_the_worker() -> None:
    row = make_issuance(state="sending", claim="0" * 32, leased_until=NOW)
    assert privacy.erase_learner(row.learner, now=NOW) == 0
    row.refresh_from_db()
    assert row.state == State.SENDING
    assert row.recipient_key


def test_nobody_else_is_touched() -> None:
    mapping = make_mapping()
    rows = [make_issuance(mapping) for _ in range(2)]
    privacy.erase_learner(rows[0].learner, now=NOW)
    rows[1].refresh_from_db()
    assert rows[1].state == State.QUEUED
    assert rows[1].learner.email


def test_an_erased_learner_is_never_queued_again() -> None:
    row = make_issuance(state="failed", reason="profile_incomplete")
    privacy.erase_learner(row.learner, now=NOW)
    assert queueing.requeue(Issuance.objects.all(), now=NOW) == 0
    assert queueing.requeue_changed_learners([row.learner_id], now=NOW) == 0
    assert queueing.queue_completions(list(Completion.objects.select_related("learner")), now=NOW) == 0
    row.refresh_from_db()
    assert row.state == State.CANCELLED
