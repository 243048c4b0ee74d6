"""Rows for tests, with sensible defaults: a test names only what it is about. Nothing in them is random.

Each builder takes the fields of its model as keywords. Numbers that must differ are counted up from what is there.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from badging.models import CourseBadgeMapping, Environment, Issuance, NavigatrConnection, recipient_key
from moodle_sync.models import Completion, Course, Learner, MoodleSite, MoodleSiteState

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


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
    told = {"completed_at": NOW, "time_source": Completion.TimeSource.REPORT, "seen_at": NOW}
    told["confirmed_at"] = NOW + timedelta(days=3650)
    return Completion.objects.create(course=course, learner=learner, **told | fields)


def make_connection(**fields: Any) -> NavigatrConnection:
    """An active connection to the staging environment."""
    number = NavigatrConnection.objects.count() + 1
    values = {"name": f"Navigatr {number}", "environment": Environment.STAGING, "pat": "pat", "pat_hint": "…pat"}
    return NavigatrConnection.objects.create(**values | fields)


def make_mapping(
    course: Course | None = None, connection: NavigatrConnection | None = None, **fields: Any
) -> CourseBadgeMapping:
    """A mapping, active since NOW, to the badge 111 of the provider 11."""
    badge = {"provider_id": 11, "provider_name": "Northgate College", "badge_id": 111, "badge_name": "Safeguarding"}
    return CourseBadgeMapping.objects.create(
        course=course or make_course(),
        connection=connection or make_connection(),
        **badge | {"since": NOW} | fields,
    )


def make_issuance(
    mapping: CourseBadgeMapping | None = None, completion: Completion | None = None, **fields: Any
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
        "recipient_key": recipient_key(completion.learner.email) if completion.learner.profile_complete else "",
    }
    return Issuance.objects.create(
        course=completion.course,
        learner=completion.learner,
        completion=completion,
        connection=mapping.connection,
        **owed | fields,
    )
