"""Which badge a course awards: made, changed, switched off and on, removed."""

from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync import history
from moodle_sync.models import Course, MoodleSite
from moodle_sync.reading import WantedCourse
from navigatr_client import Badge, NavigatrClient, NavigatrError, Provider
from outbound_http import web_address

from . import audit, connections, past, reach, transitions
from .meanings import Outcome
from .models import (
    NOTHING_OPEN,
    UNSENT,
    AuditEntry,
    CourseBadgeMapping,
    Environment,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    NavigatrConnection,
    Past,
    update_by_pk,
)
from .queueing import bring_forward, cancel_unmapped, lock_mappings, pks_of, requeue

State = Issuance.State
Action = AuditEntry.Action

# Failures to retry once the badge can be issued: after a noted problem, and without one.
MENDED_BY_BADGE = [Outcome.UNPUBLISHED, Outcome.NOT_FOUND, Outcome.FORBIDDEN]
MENDED_UNSEEN = [Outcome.UNPUBLISHED]

# How many badges of a connection are asked for in one go. The rest is looked at the next time.
MOST_ASKED = 500


class NotMapped(Exception):
    """The choice cannot be saved; the message says why and what to do. Nothing was changed."""


class ChangedMeanwhile(NotMapped):
    """The course's badge is not any more as the person saw it who wants to change it. Nothing was changed."""


def version_of(mapping: CourseBadgeMapping | None) -> str:
    """What a page shows of a course's badge that somebody may change, to tell later whether somebody did."""
    if mapping is None:
        return "none"
    score = "" if mapping.min_score is None else mapping.min_score
    past_wanted = int(mapping.include_past)
    since = mapping.since.timestamp()
    return f"{mapping.connection_id}-{mapping.provider_id}-{mapping.badge_id}-{score}-{past_wanted}-{since}"


def goes_live(mapping: CourseBadgeMapping | None, connection: NavigatrConnection) -> bool:
    """Whether choosing this connection moves a course from staging to production, where badges are real."""
    before = mapping.connection.environment if mapping else None
    return (before, connection.environment) == (Environment.STAGING, Environment.PRODUCTION)


def find_badge(
    connection: NavigatrConnection, *, provider_id: int, badge_id: int, most_seconds: float | None = None
) -> tuple[Provider, Badge]:
    """Ask Navigatr for the chosen provider and badge. Raises NotMapped when they cannot be issued together.

    Each call takes as long as the connection says, but no longer than `most_seconds`. A badge that can be issued again
    is noted for all courses that award it, and what had failed for them is queued.
    """
    try:
        with connections.navigatr_client_for(connection, most_seconds=most_seconds) as client:
            provider, badge = choose(client.providers, client.badge, provider_id=provider_id, badge_id=badge_id)
    except NavigatrError as error:
        raise NotMapped(connections.explain(error)) from error
    failed = Issuance.objects.filter(course=OuterRef("course"), state=State.FAILED, reason__in=MENDED_UNSEEN)
    awarding = connection.mappings.filter(provider_id=provider_id, badge_id=badge_id)
    for mapping in awarding.filter(~Q(badge_problem="") | Exists(failed)):
        see_badge(mapping, badge)
        note_badge(mapping, now=timezone.now())
    return provider, badge


def choose(
    providers: Callable[[], list[Provider]], badge_of: Callable[[int], Badge], *, provider_id: int, badge_id: int
) -> tuple[Provider, Badge]:
    """The chosen provider and badge, from wherever they are asked. Raises NotMapped when they cannot be issued.

    Other errors of the two functions are passed on.
    """
    provider = next((row for row in providers() if row.id == provider_id), None)
    if provider is None:
        raise NotMapped(_("This connection's account may not issue for provider %d.") % provider_id)
    try:
        badge = badge_of(badge_id)
    except NavigatrError as error:
        if error.status != 404:
            raise
        raise NotMapped(_("Navigatr has no badge with the number %d.") % badge_id) from error
    if badge.provider_ids and provider_id not in badge.provider_ids:
        raise NotMapped(_("The badge “%s” does not belong to this provider.") % badge.name)
    if not badge.for_learners:
        raise NotMapped(
            _("The badge “%s” is for organisations, so no learner can get it. Choose another one.") % badge.name
        )
    if not badge.issuable:
        raise NotMapped(
            _(
                "The badge “%(name)s” cannot be issued through Navigatr's API: its status is %(status)s and its source "
                "%(source)s. Choose a published badge made in Navigatr."
            )
            % {"name": badge.name, "status": badge.status, "source": badge.source or "Internal"}
        )
    return provider, badge


@transaction.atomic
def save_mapping(
    *,
    course: Course,
    connection: NavigatrConnection,
    provider: Provider,
    badge: Badge,
    min_score: int | None = None,
    include_past: bool = False,
    from_now: bool = False,
    seen: str = "",
    actor: Any = None,
    now: datetime,
) -> CourseBadgeMapping:
    """Map the course to the badge, or change its mapping.

    `seen` is the `version_of` the mapping that the actor saw: if it is another one now, ChangedMeanwhile is raised.

    `actor` is who chose it; None is a command, which may do what a site admin may. Raises NotMapped while the site may
    be another Moodle, and where connection or provider are not open to the actor for this course.

    A disabled mapping stays disabled. Learners who have the course's old badge keep it. What waits, and what failed
    under the old badge, is sent as the new one. With `include_past` the next poll reads the whole course and queues
    whoever has completed it; how many of them a course manager's choice sends is limited (past.py). With `from_now`
    only completions from now on count, and what was not sent is cancelled: a course goes live after a trial in staging.
    """
    may_use = _check_choice(course, connection, provider, actor)
    mapping = locked_to_change(course, seen) or CourseBadgeMapping(course=course, since=now, created_by=actor)
    action = Action.MAPPING_SAVED if mapping.pk is None else Action.MAPPING_CHANGED
    before = (mapping.connection_id, mapping.provider_id, mapping.badge_id)
    all_past_before = mapping.include_past and mapping.past_release == Past.FREE
    mapping.connection, mapping.provider_id, mapping.provider_name = connection, provider.id, provider.name[:255]
    see_badge(mapping, badge)
    mapping.badge_problem_since, mapping.badge_checked_at = None, now
    mapping.min_score, score_changed = min_score, mapping.min_score != min_score
    mapping.chosen_by, mapping.by_admin = actor, may_use.everything
    mapping.past_wanted_at = now if include_past else mapping.past_wanted_at
    kept = _begin_anew(mapping, now) if from_now else {}
    history.by(mapping, actor, at=now)
    mapping.save()
    kept["moved"] = _requeue_for(mapping, is_new=action is Action.MAPPING_SAVED, score_changed=score_changed, now=now)
    was_free = all_past_before and before == (connection.pk, provider.id, badge.id)
    past.limit_at_save(mapping, free=mapping.by_admin or was_free, asked=include_past)
    audit.record(
        action, course, actor=actor, connection=connection.name, environment=connection.environment,
        provider=provider.id, provider_name=provider.name[:255], badge=badge.id, badge_name=badge.name[:255],
        min_score=min_score, include_past=include_past, **kept,
    )  # fmt: skip
    return mapping


def _begin_anew(mapping: CourseBadgeMapping, now: datetime) -> dict[str, Any]:
    """Let only completions from now on count (not saved), and cancel what was not sent; returns what the audit keeps.

    What is on its way, or may have been sent, is decided when that is known: see `claiming.decide`.
    """
    mapping.since, mapping.past_wanted_at, mapping.past_release = now, None, Past.WITHIN
    unsent = pks_of(Issuance.objects.filter(course=mapping.course_id).unsent())
    change = transitions.Event.CANCEL
    cancelled = transitions.change(unsent, change, where=NOTHING_OPEN, reason=Outcome.WENT_LIVE)
    return {"from_now": True, "cancelled": cancelled}


def _check_choice(course: Course, connection: NavigatrConnection, provider: Provider, actor: Any) -> reach.Reach:
    """What the actor may choose. Raises NotMapped where this is not in it, or nothing may be chosen now."""
    if course.site.state.doubt:
        raise NotMapped(
            _("This Moodle site looks like another one than before. A site admin must first say if it is the same.")
        )
    may_use = reach.reach_of(actor, course)
    if refusal := may_use.refusal(connection, provider.id):
        raise NotMapped(refusal)
    return may_use


def _requeue_for(mapping: CourseBadgeMapping, *, is_new: bool, score_changed: bool, now: datetime) -> int:
    """Queue what goes on under a mapping that was made or changed; returns how many."""
    rows = Issuance.objects.filter(course=mapping.course_id)
    goes_on = Q(state__in=[State.QUEUED, State.FAILED])
    if is_new:
        # What was sent under a mapping that has been removed since goes on. What was only queued, or decided without a
        # call, stays cancelled.
        sent = IssuanceAttempt.objects.filter(issuance=OuterRef("pk"), kind=IssuanceAttempt.Kind.SEND)
        tried = Exists(sent)
        cancelled = Q(tried, state=State.CANCELLED, reason=Outcome.MAPPING_REMOVED)
        update_by_pk(pks_of(rows.filter(cancelled)), Q(state=State.CANCELLED), past=True)
        goes_on |= cancelled
    same_badge = Q(connection=mapping.connection, provider_id=mapping.provider_id, badge_id=mapping.badge_id)
    goes_on |= Q(state=State.NOT_MET) if score_changed else Q(~same_badge, state=State.NOT_MET)
    moved = requeue(rows.filter(goes_on), now=now)
    _note_award(mapping, rows)
    return moved


def _note_award(mapping: CourseBadgeMapping, rows: IssuanceQuerySet) -> None:
    """Let lists and filters find what was not sent under what it will be sent as. A claim asks the mapping itself."""
    environment = mapping.connection.environment
    others = rows.filter(environment=environment).order_by()
    unsent = rows.unsent().exclude(~Q(environment=environment) & Q(learner__in=others.values("learner")))
    update_by_pk(
        pks_of(unsent), Q(NOTHING_OPEN, state__in=UNSENT), connection=mapping.connection, environment=environment,
        provider_id=mapping.provider_id, badge_id=mapping.badge_id, badge_name=mapping.badge_name,
    )  # fmt: skip


def locked_to_change(course: Course, seen: str) -> CourseBadgeMapping | None:
    """The course's mapping, locked; where it has none, the course is, so that only one is made.

    Raises ChangedMeanwhile where it is not `seen` any more: see `save_mapping`.
    """
    mapping = lock_mappings([course.pk]).get(course.pk)
    if mapping is None:
        # Two people who map it at the same time come one after the other.
        Course.objects.select_for_update().get(pk=course.pk)
        mapping = lock_mappings([course.pk]).get(course.pk)
    _see_that_it_is_as(seen, mapping)
    return mapping


def _see_that_it_is_as(seen: str, mapping: CourseBadgeMapping | None) -> None:
    """Raises ChangedMeanwhile where somebody saw another mapping than there is now. "" stands for anything."""
    if seen and seen != version_of(mapping):
        raise ChangedMeanwhile(_("Somebody has changed this course's badge meanwhile. Look at it again."))


def see_badge(mapping: CourseBadgeMapping, badge: Badge) -> None:
    """Keep the badge's name, picture and page as last seen, and whether it can still be issued (not saved)."""
    mapping.badge_id, mapping.badge_name = badge.id, badge.name[:255]
    mapping.badge_image_url, mapping.badge_url = web_address(badge.image_url), web_address(badge.url)
    mapping.badge_problem = "" if badge.issuable else _problem_of(badge)


def _problem_of(badge: Badge) -> str:
    """Why a mapped badge cannot be issued any more, and what to do."""
    if not badge.for_learners:
        return _("The badge is for organisations in Navigatr, so no learner can get it. Choose another one.")
    text = _("The badge is %(status)s in Navigatr and cannot be issued. Publish it again, or choose another one.")
    return text % {"status": badge.status}


@transaction.atomic
def remove_mapping(mapping: CourseBadgeMapping, *, seen: str = "", actor: Any = None) -> int:
    """Remove the mapping and cancel what was not sent under it; returns how many were cancelled.

    What may have been sent stays in the queue until Navigatr has been asked; issued badges stay as they are. `seen` is
    the `version_of` the mapping that the actor saw: if it is another one now, ChangedMeanwhile is raised.
    """
    mapping = CourseBadgeMapping.objects.select_for_update().get(pk=mapping.pk)
    _see_that_it_is_as(seen, mapping)
    rows = Issuance.objects.filter(course=mapping.course_id)
    course, connection, badge = mapping.course, mapping.connection, mapping.badge_id
    history.by(mapping, actor)
    mapping.delete()
    cancelled = cancel_unmapped(rows)
    environment = connection.environment
    audit.record(Action.MAPPING_REMOVED, course, actor=actor, badge=badge, environment=environment, cancelled=cancelled)
    return cancelled


@transaction.atomic
def disable_mapping(mapping: CourseBadgeMapping, *, actor: Any = None) -> int:
    """Hold what waits under the mapping; completions go on being read and wait too. Returns how many are held."""
    mapping.active = False
    history.by(mapping, actor)
    mapping.save(update_fields=["active"])
    audit.record(Action.MAPPING_DISABLED, mapping.course, actor=actor)
    return _waiting(mapping)


@transaction.atomic
def enable_mapping(mapping: CourseBadgeMapping, *, actor: Any = None, now: datetime) -> int:
    """Let what waited under the mapping go on; returns how many do, none where its connection is off."""
    mapping.active, mapping.resumed_at = True, now
    history.by(mapping, actor, at=now)
    mapping.save(update_fields=["active", "resumed_at"])
    audit.record(Action.MAPPING_ENABLED, mapping.course, actor=actor)
    if mapping.hold_reason is not None:
        return 0
    bring_forward(Issuance.objects.filter(NOTHING_OPEN, course=mapping.course_id), now=now)
    return _waiting(mapping)


def _waiting(mapping: CourseBadgeMapping) -> int:
    """How many badges wait to be sent under the mapping."""
    rows = Issuance.objects.filter(NOTHING_OPEN, course=mapping.course_id, state=State.QUEUED)
    return rows.count()


def refresh_badges(connection: NavigatrConnection, *, now: datetime) -> int:
    """Look at the mapped badges of a connection again, and note those that can no longer be issued; returns how many.

    Each badge is asked for once, however many courses award it; those seen longest ago come first, and at most
    MOST_ASKED at a time. What had failed for a badge that can be issued now is queued. Raises NavigatrError when
    Navigatr cannot be asked; what was seen until then is kept.
    """
    by_badge: dict[int, list[CourseBadgeMapping]] = defaultdict(list)
    for mapping in connection.mappings.order_by(F("badge_checked_at").asc(nulls_first=True), "pk"):
        by_badge[mapping.badge_id].append(mapping)
    trouble = 0
    with connections.navigatr_client_for(connection) as client:
        providers = {provider.id for provider in client.providers()} if by_badge else set()
        for badge_id, mappings in islice(by_badge.items(), MOST_ASKED):
            badge, problem = _ask_for(client, badge_id)
            for mapping in mappings:
                _see(mapping, badge, problem, providers)
                trouble += bool(mapping.badge_problem)
                note_badge(mapping, now=now)
    return trouble


def _ask_for(client: NavigatrClient, badge_id: int) -> tuple[Badge | None, str]:
    """The badge, or why there is none. Raises NavigatrError."""
    try:
        return client.badge(badge_id), ""
    except NavigatrError as error:
        if error.status == 404:
            return None, _("Navigatr does not know this badge any more. Choose another one.")
        if error.status == 403:
            return None, _(
                "The connection's account may not see this badge any more. Make it an administrator of the provider in "
                "Navigatr, or choose another badge."
            )
        raise


def _see(mapping: CourseBadgeMapping, badge: Badge | None, problem: str, providers: Collection[int]) -> None:
    """Keep in memory what was seen of a mapping's badge and provider."""
    if badge is not None:
        see_badge(mapping, badge)
    mapping.badge_problem = problem or mapping.badge_problem
    if not mapping.badge_problem and mapping.provider_id not in providers:
        mapping.badge_problem = _(
            "The connection's account may not issue for this provider any more. Make it an administrator of "
            "the provider in Navigatr, or choose another badge."
        )


@transaction.atomic
def note_badge(mapping: CourseBadgeMapping, *, now: datetime) -> int:
    """Keep what was seen of a mapping's badge; where it can be issued, queue what had failed for it. Returns how many.

    Only while it is still this badge: somebody may have changed the mapping while Navigatr answered.
    """
    current = CourseBadgeMapping.objects.select_for_update(no_key=True).filter(pk=mapping.pk).order_by("pk").first()
    seen = (mapping.connection_id, mapping.provider_id, mapping.badge_id)
    if current is None or (current.connection_id, current.provider_id, current.badge_id) != seen:
        return 0
    had_problem = bool(current.badge_problem)
    CourseBadgeMapping.objects.filter(pk=mapping.pk).update(
        badge_name=mapping.badge_name,
        badge_image_url=mapping.badge_image_url,
        badge_url=mapping.badge_url,
        badge_problem=mapping.badge_problem,
        badge_problem_since=(current.badge_problem_since or now) if mapping.badge_problem else None,
        badge_checked_at=now,
    )
    if mapping.badge_problem:
        return 0
    failed = Issuance.objects.filter(
        course=current.course_id,
        state=State.FAILED,
        reason__in=MENDED_BY_BADGE if had_problem else MENDED_UNSEEN,
    )
    count = requeue(failed, now=now)
    if count:
        audit.record(
            Action.BADGE_BACK,
            current.course,
            badge=current.badge_id,
            environment=current.connection.environment,
            queued=count,
        )
    return count


def wanted_courses(site: MoodleSite) -> list[WantedCourse]:
    """The mapped courses. A disabled one is read too: what is completed meanwhile waits as held, and is not lost."""
    mappings = CourseBadgeMapping.objects.filter(course__site=site).select_related("course")
    for mapping in mappings:
        mapping.course.site = site
    early = min(site.state.clock_skew, timedelta())
    return [
        WantedCourse(
            mapping.course,
            since=None if mapping.include_past else mapping.since + early,
            past_wanted_at=mapping.past_wanted_at,
        )
        for mapping in mappings
    ]
