"""A mapped course with learners who are owed its badge, due now, against the sandbox."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from badging import mapping as mappings
from badging.models import CourseBadgeMapping, Issuance, IssuanceAttempt, NavigatrConnection
from badging.sending import claiming, rounds, tally
from moodle_sync.models import Course, Learner
from navigatr_client import Badge, Provider
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, Sandbox
from tests.builders import make_completion, make_connection, make_course, make_issuance, make_learner, make_mapping

PROVIDER, BADGE = DEMO_PROVIDER_ID, DEMO_BADGE_ID
OTHER_BADGE = BADGE + 1


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


def send(row: Issuance) -> tally.Tally:
    """One round for the row's connection as it stands in the database; the row is read again afterwards."""
    tally = rounds.send_due(NavigatrConnection.objects.get(pk=row.connection_id))
    row.refresh_from_db()
    return tally


def bring_forward(*rows: Issuance) -> None:
    """The wait for the next try is over, and so is the connection's rest."""
    NavigatrConnection.objects.update(not_before=None)
    for row in rows:
        Issuance.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now())


def kill_while_sending(row: Issuance) -> None:
    """What a killed worker leaves: the row is taken, its lease has run out, and nothing is written down."""
    connection = NavigatrConnection.objects.get(pk=row.connection_id)
    taken = claiming.claim(connection, uuid.uuid4(), limit=500, now=timezone.now())
    assert [sent.pk for sent in taken.send] == [row.pk]
    Issuance.objects.filter(pk=row.pk).update(leased_until=timezone.now() - timedelta(seconds=1))


def attempts(row: Issuance) -> list[IssuanceAttempt]:
    """The row's audit rows, oldest first."""
    return list(row.attempts.order_by("pk"))


def told(row: Issuance) -> list[tuple[str, str]]:
    """The row's audit trail in short: kind and outcome, oldest first."""
    return [(attempt.kind, attempt.outcome) for attempt in attempts(row)]


def map_anew(row: Issuance, badge_id: int) -> CourseBadgeMapping:
    """Map the row's course to a badge, from now on."""
    return mappings.save_mapping(
        course=row.course,
        connection=row.connection,
        provider=Provider(PROVIDER, "P"),
        badge=Badge(badge_id, "B", "", "Published", "Internal", "Badge", "", "", (PROVIDER,)),
        now=timezone.now(),
    )
