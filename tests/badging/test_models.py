"""What the database itself keeps true."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, IntegrityError, transaction
from django.db import connection as database
from django.db.models import Model, QuerySet

from badging import audit
from badging.models import AppendOnly, AuditEntry, CourseManager, IssuanceAttempt, NavigatrConnection
from moodle_sync.models import Completion, Learner
from tests.builders import (
    NOW,
    digest_of,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    mapping_of,
)

pytestmark = pytest.mark.django_db


def test_one_issuance_for_each_course_learner_and_environment() -> None:
    mapping = make_mapping()
    completion = make_completion(mapping.course)
    make_issuance(mapping, completion)
    make_issuance(mapping, completion, environment="production")
    with pytest.raises(IntegrityError):
        make_issuance(mapping, completion, badge_id=112)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "issued"},
        {"state": "sending"},
        {"state": "sending", "leased_until": NOW},
        {"state": "queued", "next_attempt_at": None},
    ],
)
def test_a_state_without_what_belongs_to_it_is_refused(fields: dict[str, Any]) -> None:
    mapping = make_mapping()
    completion = make_completion(mapping.course)
    with pytest.raises(IntegrityError):
        make_issuance(mapping, completion, **fields)


def test_one_badge_for_each_course() -> None:
    mapping = make_mapping()
    with pytest.raises(IntegrityError):
        make_mapping(mapping.course)


def test_a_least_score_is_in_percent() -> None:
    course = make_course()
    with pytest.raises(IntegrityError):
        make_mapping(course, min_score=101)


@pytest.mark.parametrize("make", [make_attempt, lambda: AuditEntry.objects.create(action="cancelled", subject="x")])
def test_audit_rows_are_never_changed_or_deleted_by_the_models(make: Any) -> None:
    row = make()
    with pytest.raises(AppendOnly):
        row.save()
    with pytest.raises(AppendOnly):
        row.delete()
    rows = type(row).objects.all()
    with pytest.raises(AppendOnly):
        rows.update(id=7)
    with pytest.raises(AppendOnly):
        rows.delete()


def unguarded(table: type[Model]) -> QuerySet[Any]:
    """The table's rows as Django itself sees them, past the models' own refusal."""
    return table._base_manager.all()


def refused(change: Any) -> bool:
    """Whether the database refuses; what was done before stays."""
    try:
        with transaction.atomic():
            change()
    except DatabaseError as error:
        return "never changed or deleted" in str(error)
    return False


def test_the_database_refuses_to_change_audit_rows_too() -> None:
    make_attempt(outcome="issued")
    user = get_user_model().objects.create_user("mina")
    audit.record(AuditEntry.Action.CANCELLED, "3 issuances", actor=user, count=3)
    assert refused(lambda: unguarded(IssuanceAttempt).update(outcome="unavailable"))
    assert refused(lambda: unguarded(AuditEntry).update(subject="nothing"))
    assert refused(lambda: unguarded(AuditEntry).update(actor=None, subject="nothing"))
    other = get_user_model().objects.create_user("omar")
    assert refused(lambda: unguarded(AuditEntry).update(actor=other))
    assert AuditEntry.objects.get().subject == "3 issuances"


def test_postgresql_refuses_to_delete_audit_rows_and_sqlite_leaves_that_to_the_models() -> None:
    make_attempt(outcome="issued")
    audit.record(AuditEntry.Action.CANCELLED, "3 issuances")
    for table in (IssuanceAttempt, AuditEntry):
        assert refused(unguarded(table).delete) == (database.vendor == "postgresql")


def test_deleting_a_user_keeps_what_they_did() -> None:
    user = get_user_model().objects.create_user("mina")
    audit.record(AuditEntry.Action.CANCELLED, "3 issuances", actor=user)
    user.delete()
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.subject) == (None, "3 issuances")


def test_what_the_portal_did_itself_has_no_actor() -> None:
    audit.record(AuditEntry.Action.CANCELLED, "x" * 300, actor=AnonymousUser())
    entry = AuditEntry.objects.get()
    assert (entry.actor, len(entry.subject)) == (None, 255)


def test_an_address_is_the_same_however_it_is_written() -> None:
    assert digest_of(" Ana@Example.ORG ") == digest_of("ana@example.org") != digest_of("ana@example.com")
    assert digest_of("ana@BÜCHER.example") == digest_of("Ana@xn--bcher-kva.example")
    assert "ana" not in digest_of("ana@example.org")
    # JSON can carry half a character.
    assert digest_of("ana\ud83d@example.org") != digest_of("ana@example.org")


def test_a_connection_is_sendable_when_active_and_rested() -> None:
    ready = make_connection()
    rested = make_connection(not_before=NOW)
    make_connection(not_before=NOW + timedelta(seconds=1))
    make_connection(state="paused")
    make_connection(state="removed")
    assert list(NavigatrConnection.objects.sendable(NOW)) == [ready, rested]


def test_every_row_has_a_name_for_lists() -> None:
    attempt = make_attempt(outcome="issued")
    row = attempt.issuance
    user = get_user_model().objects.create_user("mina")
    assert str(row) == "Safeguarding – Ana Lee"
    assert str(mapping_of(row)) == f"{row.course} → Safeguarding"
    assert str(row.connection) == "Navigatr 1 (Staging)"
    assert str(attempt) == "23 Nov 2026, 12:30 p.m. UTC Issued"
    assert str(CourseManager(user=user, course=row.course)) == f"mina – {row.course} (C2 · id 2 · Moodle 1)"
    assert row.learner.full_label == "Ana Lee (id 101)"
    assert Learner(moodle_id=7).full_label == "learner 7"
    assert Learner(moodle_id=7, firstname="Ana", erased_at=NOW).full_label == "erased learner 7"
    audit.record(AuditEntry.Action.CANCELLED, "3 issuances")
    assert str(AuditEntry.objects.get()) == "Cancelled by hand: 3 issuances"


@pytest.mark.parametrize(
    ("at", "is_past"),
    [(None, True), (NOW - timedelta(minutes=1), True), (NOW, False), (NOW + timedelta(days=1), False)],
    ids=["unknown", "before", "in the same minute", "after"],
)
def test_a_completion_from_before_the_mapping_is_past(at: datetime | None, is_past: bool) -> None:
    mapping = make_mapping(since=NOW + timedelta(seconds=30))
    source = Completion.TimeSource.REPORT if at else Completion.TimeSource.UNKNOWN
    assert mapping.is_past(make_completion(mapping.course, completed_at=at, time_source=source)) is is_past


@pytest.mark.parametrize(
    ("least", "score", "enough"),
    [
        (None, None, True), (None, Decimal(0), True), (Decimal(70), None, False),
        (Decimal(70), Decimal("69.99"), False), (Decimal(70), Decimal(70), True),
    ],
)  # fmt: skip
def test_a_score_is_enough_from_the_minimum_on(least: Decimal | None, score: Decimal | None, enough: bool) -> None:
    assert make_mapping(min_score=least).accepts_score(score) is enough
