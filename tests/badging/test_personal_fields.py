"""Of every column that holds text somebody has said whether it can hold a learner's data, and erasure clears those.

A column that is missing in these tables fails the first test. Whoever adds one decides: can what a poll, an answer of
Navigatr or a person puts there name a learner? Then PERSONAL_RELATIONS in badging/privacy.py must erase it.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import models
from django.test import Client
from django.urls import reverse

from badging import privacy
from badging.models import AttemptWords, Issuance, IssuanceAttempt
from moodle_sync.models import Completion, Course, Learner, MoodleSiteState
from tests.builders import NOW, digest_of, make_attempt, make_completion, make_issuance, make_mapping

pytestmark = pytest.mark.django_db

OUR_APPS = ("vault", "moodle_sync", "badging", "people")
TEXT = (models.CharField, models.TextField, models.JSONField, models.BinaryField, models.FileField)

# Can hold a learner's data. The value is what the test below puts there, and looks for after the erasure.
LEARNERS: dict[str, Any] = {
    "moodle_sync.Learner.firstname": "Zoë",
    "moodle_sync.Learner.lastname": "Öz-Lee",
    "moodle_sync.Learner.search_name": "zoe oz-lee",
    "moodle_sync.Learner.email": "zoe@example.org",
    "moodle_sync.Learner.email_key": "zoe@example.org",
    "moodle_sync.Course.untracked": [7, 4711, 47110],
    "moodle_sync.MoodleSiteState.error": "Course 2, learner 4711: no grade.\nCourse 2: 14711 rows.",
    "badging.Issuance.recipient_key": digest_of("zoe@example.org"),
    "badging.Issuance.assertion_id": "a-900900",
    "badging.Issuance.assertion_url": "https://navigatr.example/assertion/900900",
    "badging.AttemptWords.detail": "Zoë Öz-Lee has it",
    "badging.AttemptWords.looked_up": "found a-900900",
}
# The portal's own codes and texts, and digests of keys.
OURS = {
    "vault.DigestKey.name", "badging.Heartbeat.name", "badging.DayCount.environment",
    "moodle_sync.MoodleSiteState.findings", "moodle_sync.MoodleSiteState.functions", "moodle_sync.MoodleSiteState.feed",
    "moodle_sync.MoodleSiteState.zone", "moodle_sync.MoodleSiteState.doubt", "moodle_sync.MoodleSiteState.trouble",
    "moodle_sync.MoodleSiteState.looked_back_at", "moodle_sync.Course.error", "moodle_sync.Completion.time_source",
    "badging.NavigatrConnection.environment", "badging.NavigatrConnection.pat_hint", "badging.NavigatrConnection.state",
    "badging.NavigatrConnection.last_outcome", "badging.CourseBadgeMapping.badge_problem",
    "badging.Issuance.environment", "badging.Issuance.state", "badging.Issuance.reason", "badging.Issuance.unanswered",
    "badging.IssuanceAttempt.kind", "badging.IssuanceAttempt.outcome", "badging.IssuanceAttempt.environment",
    "badging.IssuanceAttempt.fields", "badging.AuditEntry.action", "badging.CourseBadgeMapping.past_release",
    "badging.ConnectionGrant.kind", "people.Session.session_key",
    "moodle_sync.HistoricalMoodleSite.history_type", "badging.HistoricalNavigatrConnection.history_type",
    "badging.HistoricalNavigatrConnection.environment", "badging.HistoricalNavigatrConnection.state",
    "badging.HistoricalCourseBadgeMapping.history_type",
    # A background action names issuances by their ids.
    "badging.BulkRun.kind", "badging.BulkRun.reason", "badging.BulkRun.state", "badging.BulkRun.chosen",
}  # fmt: skip
# What an organisation calls its sites, courses and badges, its tokens, and its staff.
ORGANISATIONS = {
    "moodle_sync.MoodleSite.name", "moodle_sync.MoodleSite.url", "moodle_sync.MoodleSite.token",
    "moodle_sync.MoodleSiteState.wwwroot",
    "moodle_sync.Course.shortname", "moodle_sync.Course.fullname", "moodle_sync.Course.report_name",
    "moodle_sync.Course.search_text",
    "badging.NavigatrConnection.name", "badging.NavigatrConnection.pat", "badging.NavigatrConnection.account",
    "badging.NavigatrConnection.test_message",
    "badging.CourseBadgeMapping.provider_name", "badging.CourseBadgeMapping.badge_name",
    "badging.CourseBadgeMapping.badge_image_url", "badging.CourseBadgeMapping.badge_url", "badging.Issuance.badge_name",
    "moodle_sync.Course.category_name", "badging.NavigatrConnection.providers",
    # The portal's users. What a session holds of learners is encrypted: the words of the last searches.
    "badging.AuditEntry.actor_name", "people.SignInLock.account", "people.SignInLock.place",
    "people.Session.session_data",
    "moodle_sync.HistoricalMoodleSite.actor_name", "badging.HistoricalNavigatrConnection.actor_name",
    "badging.HistoricalCourseBadgeMapping.actor_name",
    # Versions of what stands above.
    "moodle_sync.HistoricalMoodleSite.name", "moodle_sync.HistoricalMoodleSite.url",
    "badging.HistoricalNavigatrConnection.name", "badging.HistoricalCourseBadgeMapping.provider_name",
    "badging.HistoricalCourseBadgeMapping.badge_name", "badging.HistoricalCourseBadgeMapping.badge_image_url",
    "badging.HistoricalCourseBadgeMapping.badge_url",
    # Learners are named by their number only.
    "badging.AuditEntry.subject", "badging.AuditEntry.details",
}  # fmt: skip


def text_columns() -> set[str]:
    """Every column of the portal's own tables that can hold text, by its name."""
    return {
        f"{model._meta.app_label}.{model.__name__}.{field.name}"
        for label in OUR_APPS
        for model in apps.get_app_config(label).get_models()
        for field in model._meta.concrete_fields
        # A proxy has the columns of another app's table.
        if isinstance(field, TEXT) and not model._meta.proxy
    }


def test_every_column_with_text_is_classified() -> None:
    assert not (LEARNERS.keys() & OURS | OURS & ORGANISATIONS | LEARNERS.keys() & ORGANISATIONS)
    classified = LEARNERS.keys() | OURS | ORGANISATIONS
    assert (text_columns() - classified, classified - text_columns()) == (set(), set())


def plant() -> Issuance:
    """An issued badge of a person of whom every column holds something."""
    course = make_mapping().course
    learner = Learner(site=course.site, moodle_id=4711, suspended=True, names_hidden=True, deleted=True)
    put(learner)
    completion = make_completion(
        course, learner, score=Decimal(83), score_read_at=NOW, completed_again_at=NOW, undone_at=NOW, implausible=True
    )
    sent = {"state": "issued", "assertion_id": "1", "score_tried": Decimal(83), "issued_at": NOW}
    row = make_issuance(course.mapping, completion, **sent)
    put(row)
    put(Course.objects.get(pk=course.pk))
    put(MoodleSiteState.objects.get(pk=course.site_id))
    put(AttemptWords(attempt=make_attempt(row), at=NOW))
    return row


def put(row: models.Model) -> None:
    """Fill the row's columns with what LEARNERS has for them."""
    prefix = f"{row._meta.app_label}.{type(row).__name__}."
    for name, value in LEARNERS.items():
        if name.startswith(prefix):
            setattr(row, name.removeprefix(prefix), value)
    row.save()


def held() -> str:
    """The values of every column of the portal's own tables."""
    rows = [
        str(values)
        for label in OUR_APPS
        for model in apps.get_app_config(label).get_models()
        for values in model._base_manager.values_list()
    ]
    return "\n".join([*rows, *map(str, LogEntry.objects.values_list())])


def planted() -> list[str]:
    """What was planted, as `held` shows it."""
    texts = [value for value in LEARNERS.values() if isinstance(value, str)]
    return [*texts, "[7, 4711, 47110]", "learner 4711:", "Decimal('83"]


def erase_by_the_admin(row: Issuance, web: Client) -> None:
    """As an officer does it."""
    choice = {"action": "erase", "_selected_action": [row.learner_id], "confirmed": "yes"}
    assert web.post(reverse("admin:moodle_sync_learner_changelist"), choice).status_code == 302


def test_erasure_clears_every_column_that_can_hold_a_learners_data(admin_client: Client) -> None:
    row = plant()
    before = held()
    lines = "\\n".join(LEARNERS["moodle_sync.MoodleSiteState.error"].splitlines())
    assert [value for value in planted() if value not in before and "\n" not in value] == []
    assert lines in before
    erase_by_the_admin(row, admin_client)
    after = held()
    assert [value for value in planted() if value in after] == []
    # Others who were named beside her stay.
    assert Course.objects.get(pk=row.course_id).untracked == [7, 47110]
    assert MoodleSiteState.objects.get(pk=row.course.site_id).error == "Course 2: 14711 rows."
    learner = Learner.objects.get(pk=row.learner_id)
    assert (learner.moodle_id, learner.suspended, learner.deleted, learner.names_hidden) == (4711, False, False, False)
    # That there was a completion, and a badge, is all that is left.
    completion = Completion.objects.get()
    values = (completion.completed_at, completion.score, completion.completed_again_at, completion.undone_at)
    assert (values, completion.time_source, completion.implausible) == ((None,) * 4, "unknown", False)
    row.refresh_from_db()
    assert (row.state, row.reason, row.score_tried) == ("issued", "erased", None)
    assert LogEntry.objects.count() == 0


def test_the_export_holds_all_that_erasure_clears() -> None:
    row = plant()
    exported = str(privacy.export_learners([row.learner]))
    columns = {name: value for name, value in LEARNERS.items() if isinstance(value, str)}
    assert [name for name, value in columns.items() if value.splitlines()[0] not in exported] == []
    assert f"'not_tracked_in': [{{'course': '{row.course}'}}]" in exported


def test_old_words_go_by_night_and_the_attempt_stays(settings: Any) -> None:
    settings.WORDS_KEPT = timedelta(days=30)
    row = make_issuance()
    old, young = (make_attempt(row, at=NOW - timedelta(days=days), detail="Zoë") for days in (30, 29))
    assert privacy.remove_old_words(now=NOW) == 1
    assert [words.attempt_id for words in AttemptWords.objects.all()] == [young.pk]
    assert IssuanceAttempt.objects.get(pk=old.pk).detail == ""


def test_old_words_are_deleted_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "DELETED_AT_ONCE", 2)
    row = make_issuance()
    for _ in range(5):
        make_attempt(row, at=NOW - timedelta(days=365), detail="Zoë")
    assert privacy.remove_old_words(now=NOW) == 5
    assert not AttemptWords.objects.exists()
