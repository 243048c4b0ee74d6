"""Going live: the mappings of a staging connection are moved to a production connection together.

A badge of staging is a trial: its number means nothing in production, so each mapping needs a badge of production, most
often the one of the same name. Unless said otherwise a course goes live for completions from then on, and nothing is
mailed at once. Staging's test badges never count as issued: there is one issuance for each environment.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from moodle_sync.models import Completion
from navigatr_client import Badge, Provider

from . import audit
from .catalogue import Catalogue
from .mapping import NotMapped, save_mapping
from .meanings import Outcome
from .models import AuditEntry, CourseBadgeMapping, Environment, Issuance, NavigatrConnection
from .queueing import queue_completions

# How many badges one page of Navigatr's answer has, and how many of these pages are read for one page of ours.
PAGE_SIZE = 100
MOST_PAGES = 10
# How many completions are queued at once.
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
    """What one mapping becomes. With `with_past` those who have completed the course already get a real badge too."""

    mapping: CourseBadgeMapping
    offer: Offer
    with_past: bool


class Moved(NamedTuple):
    """What became of one mapping: how many badges were queued, or why it stays on staging."""

    mapping: CourseBadgeMapping
    queued: int = 0
    problem: str = ""


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

    These are the ones that counted for staging. Whoever has an issuance in production gets no second one.
    """
    rows = Issuance.objects.filter(course=mapping.course_id, learner=OuterRef("learner")).order_by()
    live = rows.filter(environment=Environment.PRODUCTION)
    by_hand = rows.filter(state=Issuance.State.CANCELLED, reason=Outcome.BY_HAND)
    found = Completion.objects.filter(
        course=mapping.course_id, undone_at=None, learner__erased_at=None, learner__deleted=False
    ).exclude(Exists(live) | Exists(by_hand))
    if not mapping.include_past:
        last_at = Coalesce("completed_again_at", "completed_at")
        found = found.alias(last_at=last_at).filter(last_at__gte=mapping.counts_from)
    if mapping.min_score is not None:
        found = found.filter(score__gte=mapping.min_score)
    return found.order_by("pk")


def go_live(
    moves: Sequence[Move], *, staging: NavigatrConnection, production: NavigatrConnection, actor: Any, now: datetime
) -> list[Moved]:
    """Move these mappings, each in a transaction of its own; returns what became of each.

    One that was changed meanwhile, or cannot be saved, stays as it is and says why. Doing it again moves the rest.
    """
    results = [_move(move, staging, production, actor, now) for move in moves]
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


def _move(move: Move, staging: NavigatrConnection, production: NavigatrConnection, actor: Any, now: datetime) -> Moved:
    """Move one mapping. The choice was for the badge that it had on the page."""
    try:
        with transaction.atomic():
            return Moved(move.mapping, _moved(move, staging, production, actor, now))
    except NotMapped as error:
        return Moved(move.mapping, problem=str(error))


def _moved(move: Move, staging: NavigatrConnection, production: NavigatrConnection, actor: Any, now: datetime) -> int:
    """Move one mapping, in a transaction; returns how many real badges are queued. Raises NotMapped."""
    connection = NavigatrConnection.objects.filter(pk=production.pk, state=NavigatrConnection.State.ACTIVE).first()
    if connection is None or connection.environment != Environment.PRODUCTION:
        raise NotMapped(_("“%(name)s” is no active connection to production any more.") % {"name": production.name})
    current = (
        CourseBadgeMapping.objects.select_for_update(no_key=True).filter(pk=move.mapping.pk).order_by("pk").first()
    )
    if current is None or not _is_same(current, move.mapping) or current.connection_id != staging.pk:
        raise NotMapped(_("Somebody has changed this mapping meanwhile. Look at it again."))
    owed = owed_at_once(current).values_list("pk", flat=True)
    chosen = list(owed) if move.with_past else []
    save_mapping(
        course=move.mapping.course,
        connection=connection,
        provider=move.offer.provider,
        badge=move.offer.badge,
        min_score=current.min_score,
        from_now=not move.with_past,
        actor=actor,
        now=now,
    )
    for part in _parts(chosen):
        rows = Completion.objects.filter(pk__in=part).select_related("learner", "course__site")
        queue_completions(list(rows), now=now)
    return len(chosen)


def _is_same(one: CourseBadgeMapping, other: CourseBadgeMapping) -> bool:
    """Whether both award the same badge with the same connection."""
    return all(getattr(one, name) == getattr(other, name) for name in ("connection_id", "provider_id", "badge_id"))


def _parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    return (keys[start : start + QUEUED_AT_ONCE] for start in range(0, len(keys), QUEUED_AT_ONCE))


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
