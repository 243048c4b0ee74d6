"""Who may use which connection: what it is open to, and what that lets one user choose for one course.

A connection is open to nobody until somebody says so. Site admins may use every connection for every course. What is
sent is asked again when it is claimed: `open` of the mappings' queryset (models.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from moodle_sync.models import Course, MoodleSite

from . import audit
from .models import (
    NOTHING_OPEN,
    AuditEntry,
    ConnectionGrant,
    CourseBadgeMapping,
    CourseManager,
    Issuance,
    NavigatrConnection,
)
from .queueing import bring_forward

Kind = ConnectionGrant.Kind

# Who has this permission may change the badge of every course, and use every connection.
ALL_COURSES = "badging.change_coursebadgemapping"
# How many categories an error message names.
MOST_NAMED = 20


class NotOpened(Exception):
    """What a connection was to be opened to does not exist; the message says what does. Nothing was changed."""


def is_site_admin(user: User | AnonymousUser) -> bool:
    """Whether the user may manage every course and use every connection: a superuser, or who has the permission."""
    return user.has_perm(ALL_COURSES)


@dataclass(frozen=True, slots=True)
class Reach:
    """What one user may choose for one course: everything, or these connections and providers.

    A connection's providers are None where all of them are open.
    """

    everything: bool
    providers: dict[int, frozenset[int] | None]

    def connections(self) -> QuerySet[NavigatrConnection]:
        """The connections of which something may be used, whatever their state."""
        every = NavigatrConnection.objects.all()
        return every if self.everything else every.filter(pk__in=self.providers)

    def allows(self, connection: NavigatrConnection, provider_id: int) -> bool:
        """Whether badges of this provider may be issued with the connection."""
        if self.everything:
            return True
        providers = self.providers.get(connection.pk, frozenset())
        return providers is None or provider_id in providers

    def refusal(self, connection: NavigatrConnection, provider_id: int) -> str:
        """Why this may not be used, and what to do, or "". A connection that is closed is not named."""
        if self.allows(connection, provider_id):
            return ""
        if connection.pk in self.providers:
            return _("This provider is not open to this course. Choose another one, or ask a site admin to open it.")
        return _(
            "This Navigatr connection is not open to this course. Choose another one, or ask a site admin to open it."
        )


def reach_of(user: User | AnonymousUser | None, course: Course) -> Reach:
    """What the user may choose for the course: nothing if they do not manage it. None is a command, and may do all."""
    if user is None or is_site_admin(user):
        return Reach(True, {})
    if not (user.is_active and CourseManager.objects.filter(user=user.pk, course=course).exists()):
        return Reach(False, {})
    to_user = Q(kind=Kind.MANAGER, user=user.pk)
    grants = ConnectionGrant.objects.filter(to_user | ConnectionGrant.for_course(course.site_id, course.category_id))
    providers: dict[int, frozenset[int] | None] = {}
    for connection_id, provider_id in grants.order_by().values_list("connection", "provider_id"):
        known = providers.get(connection_id, frozenset())
        providers[connection_id] = None if known is None or provider_id is None else known | {provider_id}
    return Reach(False, providers)


# Opening and closing


def grant_from(text: str) -> ConnectionGrant | None:
    """The grant that a word of the shell stands for, without its connection; None for `nobody`.

    `all`, `site:NAME`, `category:ID:SITE` or `manager:USERNAME`. Raises NotOpened.
    """
    word, _colon, rest = text.partition(":")
    if word == "category":
        number, _colon, rest = rest.partition(":")
        category_id = int(number) if number.isascii() and number.isdecimal() and len(number) <= 18 else 0
        grant = ConnectionGrant(kind=Kind.CATEGORY, site=_site(rest), category_id=category_id)
        check_category(grant.site, category_id)
        return grant
    if word == "site":
        return ConnectionGrant(kind=Kind.SITE, site=_site(rest))
    if word == "manager":
        user = User.objects.filter(username=rest).first()
        if user is None:
            raise NotOpened(_("There is no user of this name to open the connection to."))
        return ConnectionGrant(kind=Kind.MANAGER, user=user)
    if text == "all":
        return ConnectionGrant(kind=Kind.ALL)
    if text == "nobody":
        return None
    raise NotOpened(_("--open-to takes all, nobody, site:NAME, category:ID:SITE or manager:USERNAME."))


def _site(name: str) -> MoodleSite:
    site = MoodleSite.objects.filter(name=name).first()
    if site is None:
        known = ", ".join(MoodleSite.objects.values_list("name", flat=True)) or _("none")
        raise NotOpened(_("There is no such Moodle site to open the connection to. Known: %s.") % known)
    return site


def check_category(site: MoodleSite | None, category_id: int) -> None:
    """Raise NotOpened, with the categories that there are, where no course of the site is in this one."""
    courses = Course.objects.filter(site=site, category_id__isnull=False).order_by()
    if courses.filter(category_id=category_id).exists():
        return
    named = courses.values_list("category_id", "category_name").distinct().order_by("category_id")[:MOST_NAMED]
    known = ", ".join(f"{number} ({name})" for number, name in named) or _("none")
    raise NotOpened(_("No course of this Moodle site is in that category. Ids of categories with courses: %s.") % known)


@transaction.atomic
def open_connection(grant: ConnectionGrant, *, actor: Any = None, now: datetime) -> ConnectionGrant:
    """Open a connection as the grant says, and let what waited for that go on. Opening it twice changes nothing."""
    same = ConnectionGrant.objects.filter(
        connection=grant.connection, provider_id=grant.provider_id, kind=grant.kind, site=grant.site,
        category_id=grant.category_id, user=grant.user,
    ).first()  # fmt: skip
    if same is not None:
        return same
    with _letting_go(grant.connection, now):
        grant.save()
    _record(AuditEntry.Action.CONNECTION_OPENED, grant, actor)
    return grant


@transaction.atomic
def close_connection(grant: ConnectionGrant, *, actor: Any = None) -> None:
    """Take the grant back. What waits under a mapping that is not open any more is held."""
    _record(AuditEntry.Action.CONNECTION_CLOSED, grant, actor)
    grant.delete()


def stopped_without(grants: Sequence[ConnectionGrant]) -> list[CourseBadgeMapping]:
    """The mappings that may use their connection now, and may not once these grants are taken back."""
    using = CourseBadgeMapping.objects.filter(connection__in={grant.connection_id for grant in grants})
    remaining = using.open(without=[grant.pk for grant in grants]).order_by().values("pk")
    stopped = using.open().exclude(pk__in=remaining)
    return list(stopped.select_related("course__site").order_by("course__fullname", "pk"))


@transaction.atomic
def open_only_to(
    connection: NavigatrConnection, grants: Sequence[ConnectionGrant], *, actor: Any = None, now: datetime
) -> None:
    """Open the connection to these, and to nobody else."""
    kept = set()
    for grant in grants:
        grant.connection = connection
        kept.add(open_connection(grant, actor=actor, now=now).pk)
    for other in connection.grants.exclude(pk__in=kept):
        close_connection(other, actor=actor)


@contextmanager
def _letting_go(connection: NavigatrConnection, now: datetime) -> Iterator[None]:
    """What waited for the connection to be opened, and need not any more after this, is due at once."""
    closed = set(connection.mappings.closed().values_list("pk", flat=True))
    yield
    opened = connection.mappings.open().filter(pk__in=closed).order_by("pk")
    # Locked before their issuances: see docs/architecture.md, "Lock order".
    courses = {row.pk: row.course_id for row in opened.select_for_update(no_key=True, of=["self"])}
    if courses:
        connection.mappings.filter(pk__in=courses).update(resumed_at=now)
        bring_forward(Issuance.objects.filter(NOTHING_OPEN, course__in=courses.values()), now=now)


def _record(action: AuditEntry.Action, grant: ConnectionGrant, actor: Any) -> None:
    """Keep what was opened to whom, or closed. Users are named by their number and user name."""
    details = {
        "to": grant.kind,
        "provider": grant.provider_id,
        "site": grant.site.name if grant.site else None,
        "category": grant.category_id,
        "user": grant.user_id,
        "manager": grant.user.get_username() if grant.user else None,
    }
    known = {name: value for name, value in details.items() if value is not None}
    audit.record(action, grant.connection, actor=actor, **known)
