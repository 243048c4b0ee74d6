"""Rows for tests, with sensible defaults: a test names only what it is about. Nothing in them is random.

Each builder takes the fields of its model as keywords. Numbers that must differ are counted up from what is there.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from badging import mapping as mappings
from badging import schedule
from badging.meanings import Outcome
from badging.models import (
    AttemptWords,
    ConnectionGrant,
    CourseBadgeMapping,
    Environment,
    Issuance,
    IssuanceAttempt,
    NavigatrConnection,
    recipient_key,
)
from moodle_sync import history
from moodle_sync.models import Completion, Course, Learner, MoodleSite, MoodleSiteState
from navigatr_client import Badge, Provider
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, Sandbox
from vault import digests

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)

# The sandbox's first provider, and two of its badges.
PROVIDER, BADGE = DEMO_PROVIDER_ID, DEMO_BADGE_ID
OTHER_BADGE = BADGE + 1


def make_site(**fields: Any) -> MoodleSite:
    """A Moodle site that is due, has a token and was never checked. Fields of its state may be named as well."""
    number = MoodleSite.objects.count() + 1
    fields = {"name": f"Moodle {number}", "url": "https://moodle.example", "token": "moodle-token"} | fields
    of_state = {field.name for field in MoodleSiteState._meta.get_fields()}
    state = {name: fields.pop(name) for name in fields.keys() & of_state}
    site = MoodleSite.objects.create(**fields)
    MoodleSiteState.objects.filter(site=site).update(**state)
    return MoodleSite.objects.select_related("state").get(pk=site.pk)


def make_course(site: MoodleSite | None = None, **fields: Any) -> Course:
    """A course of a site, of a new one by default."""
    site = site or make_site()
    number = Course.objects.filter(site=site).count() + 2
    named = {"moodle_id": number, "shortname": f"C{number}", "fullname": f"Course {number}"}
    return Course.objects.create(site=site, **named | fields)


def make_learner(site: MoodleSite | None = None, **fields: Any) -> Learner:
    """A learner whose profile is complete. `email_key` follows the e-mail address."""
    site = site or make_site()
    number = Learner.objects.filter(site=site).count() + 101
    values: dict[str, Any] = {"moodle_id": number, "firstname": "Ana", "lastname": "Lee"}
    values |= {"email": f"learner{number}@example.org"} | fields
    values.setdefault("email_key", Learner.key_of(values["email"]))
    return Learner.objects.create(site=site, **values)


def make_completion(course: Course | None = None, learner: Learner | None = None, **fields: Any) -> Completion:
    """A completion of this minute; course and learner are of the same site.

    Moodle has confirmed it for years, so that tests which let days pass need no Moodle to ask again.
    """
    course = course or make_course(learner.site if learner else None)
    learner = learner or make_learner(course.site)
    values = {"completed_at": NOW, "time_source": Completion.TimeSource.REPORT, "seen_at": NOW}
    values["confirmed_at"] = NOW + timedelta(days=3650)
    return Completion.objects.create(course=course, learner=learner, **values | fields)


def make_connection(**fields: Any) -> NavigatrConnection:
    """An active connection to the staging environment, open to everybody unless `open_to_all` is False."""
    open_to_all = fields.pop("open_to_all", True)
    number = NavigatrConnection.objects.count() + 1
    values = {"name": f"Navigatr {number}", "environment": Environment.STAGING, "pat": "pat", "pat_hint": "…pat"}
    connection = NavigatrConnection.objects.create(**values | fields)
    if open_to_all:
        ConnectionGrant.objects.create(connection=connection, kind=ConnectionGrant.Kind.ALL)
    return connection


def make_mapping(
    course: Course | None = None, connection: NavigatrConnection | None = None, **fields: Any
) -> CourseBadgeMapping:
    """A mapping, active since NOW, to the badge 111 of the provider 11."""
    badge = {"provider_id": 11, "provider_name": "Northgate College", "badge_id": 111, "badge_name": "Safeguarding"}
    values = badge | {"since": NOW} | fields
    row = CourseBadgeMapping(course=course or make_course(), connection=connection or make_connection(), **values)
    history.by(row, None, at=row.since)
    row.save()
    return row


def digest_of(email: str) -> str:
    """The `recipient_key` of an address, with the keys of the settings."""
    return recipient_key(email, digests.newest())


def make_issuance(
    mapping: CourseBadgeMapping | None = None,
    completion: Completion | None = None,
    *,
    unanswered: str = "",
    **fields: Any,
) -> Issuance:
    """A queued issuance that is due at NOW, of a completion of the mapping's course."""
    if mapping is None:
        mapping = make_mapping(completion.course if completion else None)
    completion = completion or make_completion(mapping.course)
    owed = {
        "environment": mapping.connection.environment,
        "provider_id": mapping.provider_id,
        "badge_id": mapping.badge_id,
        "badge_name": mapping.badge_name,
        "queued_at": NOW,
        "next_attempt_at": NOW,
        "recipient_key": digest_of(completion.learner.email) if completion.learner.profile_complete else "",
    }
    return Issuance.objects.create(
        course=completion.course,
        learner=completion.learner,
        completion=completion,
        connection=mapping.connection,
        unanswered=unanswered,
        **owed | fields,
    )


# What tests set and ask of an issuance without naming its fields


def make_attempt(issuance: Issuance | None = None, **fields: Any) -> IssuanceAttempt:
    """An attempt to issue the issuance's badge at NOW, which met a Navigatr that was away.

    `detail` and `looked_up` are its words.
    """
    issuance = issuance or make_issuance()
    words = {name: fields.pop(name) for name in fields.keys() & {"detail", "looked_up"}}
    values = {"kind": "send", "at": NOW, "status": 503, "outcome": Outcome.UNAVAILABLE}
    values |= {name: getattr(issuance, name) for name in ("environment", "provider_id", "badge_id")}
    attempt = IssuanceAttempt.objects.create(issuance=issuance, **values | fields)
    if words:
        AttemptWords.objects.create(attempt=attempt, at=attempt.at, **words)
    return attempt


def mapping_of(row: Issuance) -> CourseBadgeMapping:
    """The mapping of the issuance's course, which must have one."""
    assert row.mapping is not None
    return row.mapping


def let_everything_run(now: datetime | None = None) -> None:
    """Beat and the tasks of the schedule gave a sign of life now."""
    for name in [schedule.BEAT, *schedule.BY_TASK]:
        schedule.note(name, now or timezone.now())


# Against the sandbox


def connect(sandbox: Sandbox, **fields: Any) -> NavigatrConnection:
    """A connection whose token the sandbox takes, with the shortest time-out."""
    return make_connection(**{"pat": sandbox.pat, "timeout": 1} | fields)


def map_course(
    sandbox: Sandbox, connection: NavigatrConnection | None = None, course: Course | None = None, **fields: Any
) -> CourseBadgeMapping:
    """A course mapped to the sandbox's first badge."""
    badge = {"provider_id": PROVIDER, "badge_id": BADGE}
    return make_mapping(course or make_course(), connection or connect(sandbox), **badge | fields)


def owe(
    mapping: CourseBadgeMapping,
    learner: Learner | None = None,
    *,
    score: Decimal | int | None = 80,
    person: dict[str, Any] | None = None,
    **fields: Any,
) -> Issuance:
    """The mapping's badge is owed to the learner (a new one by default), and due."""
    now = timezone.now() - timedelta(seconds=1)
    learner = learner or make_learner(mapping.course.site, **person or {})
    completion = make_completion(mapping.course, learner, score=score)
    return make_issuance(mapping, completion, **{"queued_at": now, "next_attempt_at": now} | fields)


def navigatr_badge(badge_id: int, provider_id: int = PROVIDER) -> Badge:
    """A badge that can be issued, as Navigatr tells it."""
    return Badge(badge_id, f"Badge {badge_id}", "", "Published", "Internal", "Badge", "", "", (provider_id,))


def map_anew(row: Issuance, badge_id: int = OTHER_BADGE) -> CourseBadgeMapping:
    """Map the issuance's course to a badge, from now on."""
    return mappings.save_mapping(
        course=row.course,
        connection=row.connection,
        provider=Provider(PROVIDER, "College"),
        badge=navigatr_badge(badge_id),
        now=timezone.now(),
    )
