"""Going live: the mappings of a staging connection are moved to a production connection together.

A badge of staging is a trial: its number means nothing in production, so each mapping needs a badge of production, most
often the one of the same name. Unless said otherwise a course goes live for completions from then on, and nothing is
mailed at once. Staging's test badges never count as issued: there is one issuance for each environment.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from moodle_sync.models import Completion
from navigatr_client import Badge, Provider

from . import audit, transitions
from .catalogue import Catalogue
from .mapping import NotMapped, locked_to_change, save_mapping, version_of
from .meanings import Outcome
from .models import (
    NOTHING_OPEN,
    UNSENT,
    AuditEntry,
    CourseBadgeMapping,
    Environment,
    Issuance,
    NavigatrConnection,
    Past,
)
from .queueing import CANCELLED_FOR_NOW, held_by_moodle, queue_completions, set_past_release

# How many badges one page of Navigatr's answer has, and how many of these pages are read for one page of ours.
PAGE_SIZE = 100
MOST_PAGES = 10
# How many past completions are queued in one request, and how many of them at once.
MOST_QUEUED = 2000
QUEUED_AT_ONCE = 500


class Offer(NamedTuple):
    """A badge of production that can be issued, with the provider that issues it."""

    provider: Provider
    badge: Badge

    @property
    def key(self) -> str:
        """Its value in a form: the numbers of provider and badge."""
        return f"{self.provider.id}-{self.badge.id}"


class Offers(NamedTuple):
    """The badges of a connection; `is_cut` where it has more than pages read."""

    offers: list[Offer]
    is_cut: bool

    def named(self, name: str) -> list[Offer]:
        """Those of this name."""
        return [offer for offer in self.offers if normalised(offer.badge.name) == normalised(name)]


class Move(NamedTuple):
    """What one mapping, as a person saw it, becomes.

    With `with_past` those who have completed the course already get a real badge too: no more than `agreed`, the number
    that the person has seen.
    """

    mapping: CourseBadgeMapping
    offer: Offer
    with_past: bool
    agreed: int = 0


class Moved(NamedTuple):
    """What became of one mapping: how many badges were queued, how many of them are held, or why it stays."""

    mapping: CourseBadgeMapping
    queued: int = 0
    held: int = 0
    problem: str = ""


class Owed(NamedTuple):
    """The completions that get a real badge at once, no more than may be queued."""

    completions: list[Completion]
    # Of these, how many wait all the same: the mapping is disabled, or Moodle speaks against it.
    held: int
    # There are more than may be queued.
    is_cut: bool


def normalised(name: str) -> str:
    """A badge's name for comparing: without differences of case, of blanks, and of how accents are written."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def offers_of(asking: Catalogue, connection: NavigatrConnection) -> Offers:
    """The badges that the connection may issue, by provider and name. Raises what the methods of Catalogue raise."""
    offers: list[Offer] = []
    pages = 0
    for provider in asking.providers(connection):
        number = of_provider = 1
        while number <= of_provider:
            if pages == MOST_PAGES:
                return Offers(offers, is_cut=True)
            page = asking.badge_page(connection, provider.id, page=number, size=PAGE_SIZE, words="")
            offers += [Offer(provider, badge) for badge in page.items if badge.issuable]
            number, of_provider, pages = number + 1, page.pages, pages + 1
    return Offers(offers, is_cut=False)


def suggested(mapping: CourseBadgeMapping, offers: Offers) -> Offer | None:
    """The badge of the same name; of several that of a provider of the same name, and else none."""
    same = offers.named(mapping.badge_name)
    if len(same) > 1:
        same = [offer for offer in same if normalised(offer.provider.name) == normalised(mapping.provider_name)]
    return same[0] if len(same) == 1 else None


def mappings_of(connection: NavigatrConnection) -> QuerySet[CourseBadgeMapping]:
    """The mappings that can go live, by course."""
    rows = connection.mappings.select_related("course__site__state", "connection")
    return rows.order_by("course__fullname", "pk")


def owed_at_once(mapping: CourseBadgeMapping) -> QuerySet[Completion]:
    """The completions that get a real badge at once if the mapping goes live with those who have completed already.

    These are the ones that counted for staging.
    """
    since = None if mapping.include_past else mapping.counts_from
    return owed_in(mapping.course_id, since=since, min_score=mapping.min_score)


def owed_in(course: int, *, since: datetime | None, min_score: int | None) -> QuerySet[Completion]:
    """The completions of a course on staging that get a real badge at once if they count from `since` (None: all).

    Whoever has an issuance in production gets no second one; one that was left there, and goes on with the mapping,
    counts.
    """
    rows = Issuance.objects.filter(course=course, learner=OuterRef("learner")).order_by()
    goes_on = Q(state__in=UNSENT) | Q(state=Issuance.State.CANCELLED, reason__in=CANCELLED_FOR_NOW)
    live = rows.filter(environment=Environment.PRODUCTION).exclude(NOTHING_OPEN & goes_on)
    by_hand = rows.filter(state=Issuance.State.CANCELLED, reason=Outcome.BY_HAND)
    found = Completion.objects.filter(
        course=course, undone_at=None, learner__erased_at=None, learner__deleted=False
    ).exclude(Exists(live) | Exists(by_hand))
    if since is not None:
        last_at = Coalesce("completed_again_at", "completed_at")
        found = found.alias(last_at=last_at).filter(last_at__gte=since)
    if min_score is not None:
        found = found.filter(score__gte=min_score)
    return found.order_by("pk")


def look_at_owed(mapping: CourseBadgeMapping, *, most: int) -> Owed:
    """Who gets a real badge at once, with their learners; no more than `most`."""
    rows = list(owed_at_once(mapping).select_related("learner")[: most + 1])
    completions, course = rows[:most], mapping.course
    held = [row for row in completions if not mapping.active or held_by_moodle(row, row.learner, course) is not None]
    return Owed(completions, len(held), is_cut=len(rows) > most)


def go_live(
    moves: Sequence[Move], *, staging: NavigatrConnection, production: NavigatrConnection, actor: Any, now: datetime
) -> list[Moved]:
    """Move these mappings, each in a transaction of its own; returns what became of each.

    One that was changed meanwhile, or cannot be saved, stays as it is and says why; so does one that would mail more
    people than was agreed to, or than MOST_QUEUED in all. Doing it again moves the rest.
    """
    results: list[Moved] = []
    for move in moves:
        most = MOST_QUEUED - sum(result.queued for result in results)
        results.append(_move(move, production, actor, most, now))
    moved = [result for result in results if not result.problem]
    if moved:
        audit.record(
            AuditEntry.Action.CONNECTION_WENT_LIVE,
            staging,
            actor=actor,
            to=production.name,
            courses=len(moved),
            queued=sum(result.queued for result in moved),
        )
    return results


def _move(move: Move, production: NavigatrConnection, actor: Any, most: int, now: datetime) -> Moved:
    """Move one mapping. The choice was for the mapping that the page showed."""
    try:
        with transaction.atomic():
            return _moved(move, production, actor, most, now)
    except NotMapped as error:
        return Moved(move.mapping, problem=str(error))


def _moved(move: Move, production: NavigatrConnection, actor: Any, most: int, now: datetime) -> Moved:
    """Move one mapping, in a transaction. Raises NotMapped."""
    connection = NavigatrConnection.objects.filter(pk=production.pk, state=NavigatrConnection.State.ACTIVE).first()
    if connection is None or connection.environment != Environment.PRODUCTION:
        raise NotMapped(_("“%(name)s” is no active connection to production any more.") % {"name": production.name})
    seen = version_of(move.mapping)
    current = locked_to_change(move.mapping.course, seen)
    chosen = _agreed(move, current, most) if move.with_past and current else []
    if move.with_past:
        _leave_behind(move.mapping, chosen)
    saved = save_mapping(
        course=move.mapping.course,
        connection=connection,
        provider=move.offer.provider,
        badge=move.offer.badge,
        min_score=move.mapping.min_score,
        from_now=not move.with_past,
        seen=seen,
        actor=actor,
        now=now,
    )
    if not move.with_past:
        return Moved(move.mapping)
    # Whoever it is was seen and agreed to: nobody needs to look at them first.
    set_past_release(saved, Past.FREE)
    for start in range(0, len(chosen), QUEUED_AT_ONCE):
        part = [row.pk for row in chosen[start : start + QUEUED_AT_ONCE]]
        rows = Completion.objects.filter(pk__in=part).select_related("learner", "course__site")
        queue_completions(list(rows), now=now)
    return Moved(move.mapping, len(chosen), held=len(chosen) - _sendable(saved))


def _agreed(move: Move, current: CourseBadgeMapping, most: int) -> list[Completion]:
    """The completions that get a real badge at once. Raises NotMapped where they are more than was agreed to."""
    owed = look_at_owed(current, most=most)
    if owed.is_cut:
        raise NotMapped(too_many())
    more = len(owed.completions) - move.agreed
    if more > 0:
        text = ngettext(
            "meanwhile %(count)d more badge would be mailed. Look at it again.",
            "meanwhile %(count)d more badges would be mailed. Look at it again.",
            more,
        )
        raise NotMapped(text % {"count": more})
    return owed.completions


def _leave_behind(mapping: CourseBadgeMapping, chosen: Sequence[Completion]) -> None:
    """Cancel what was not sent to staging for others than these: nobody agreed to mail them."""
    going_on = {row.pk for row in chosen}
    unsent = Issuance.objects.filter(course=mapping.course_id).unsent().order_by("pk")
    others = [pk for pk, completion in unsent.values_list("pk", "completion") if completion not in going_on]
    transitions.change(others, transitions.Event.CANCEL, where=NOTHING_OPEN, reason=Outcome.WENT_LIVE)


def _sendable(mapping: CourseBadgeMapping) -> int:
    """How many real badges of the course are queued, and held by nothing."""
    rows = Issuance.objects.filter(NOTHING_OPEN, course=mapping.course_id, environment=Environment.PRODUCTION)
    return rows.standing_as(Issuance.State.QUEUED).count()


def too_many() -> str:
    """Why past completions are not queued here, and what to do instead."""
    text = _(
        "with its past completions more than %(most)d badges would be queued at once. Move it “from now on”, without "
        "the tick; then use “Find past completions” on its mapping's page, which works in the background."
    )
    return text % {"most": MOST_QUEUED}


def by_provider(offers: Sequence[Offer]) -> list[tuple[str, list[Offer]]]:
    """The offers under the names of their providers, for a drop-down."""
    groups: dict[int, list[Offer]] = defaultdict(list)
    for offer in offers:
        groups[offer.provider.id].append(offer)
    return [(found[0].provider.name or f"#{number}", found) for number, found in groups.items()]


def likeliest(mapping: CourseBadgeMapping, offers: Offers, *, most: int) -> list[Offer]:
    """The offers for one mapping, in their order; of more than `most` those whose names share most words with its."""
    if len(offers.offers) <= most:
        return offers.offers
    words = set(normalised(mapping.badge_name).split())
    shared = [(-len(words.intersection(normalised(offer.badge.name).split())), offer) for offer in offers.offers]
    chosen = {offer.key for _count, offer in sorted(shared, key=lambda pair: pair[0])[:most]}
    return [offer for offer in offers.offers if offer.key in chosen]
