"""What people changed of connections, Moodle sites and mappings: told as sentences, and as it was at a time.

The versions are kept by `moodle_sync.history`, which says when one is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from moodle_sync.history import VERSIONS, versions_of

from .models import CourseBadgeMapping, NavigatrConnection
from .moments import moment

# How many changes of a row are told.
MOST_CHANGES = 100
# Columns that are told by the name that is kept beside them.
NAMED_BESIDE = {"badge_id": "badge_name", "provider_id": "provider_name"}


@dataclass(frozen=True, slots=True)
class Change:
    """What one person changed at once. Nobody's name is a change made by the portal itself, or by a command."""

    at: datetime
    who: str
    sentences: Sequence[SafeString]


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """Which badge a course awarded at some time, and on what terms."""

    connection_id: int
    connection_name: str
    environment: str
    provider_id: int
    provider_name: str
    badge_id: int
    badge_name: str
    badge_image_url: str
    badge_url: str
    min_score: int | None
    active: bool
    since: datetime
    past_wanted_at: datetime | None
    # From when on it was so, and who made it so: "" for a command.
    changed_at: datetime
    changed_by: str


def award_as_of(course_id: int, at: datetime) -> MappingVersion | None:
    """What the course awarded at that time, by its mapping of then; None where nothing was, or is known of it."""
    versions = versions_of(CourseBadgeMapping).filter(course_id=course_id, history_date__lte=at)
    row = versions.order_by("-history_date", "-history_id").first()
    if row is None or row.history_type == "-":
        return None
    # A connection that mappings used is never deleted, nor moved to another environment.
    connection = NavigatrConnection.objects.only("name", "environment").get(pk=row.connection_id)
    kept = {name: getattr(row, name) for name in MappingVersion.__slots__ if hasattr(row, name)}
    return MappingVersion(
        **kept,
        connection_name=connection.name,
        environment=connection.environment,
        changed_at=row.history_date,
        changed_by=row.actor_name,
    )


def last_removal(course_id: int) -> Any:
    """The version that says who last removed the course's mapping, and when; None where none was removed."""
    removals = versions_of(CourseBadgeMapping).filter(course_id=course_id, history_type="-")
    return removals.select_related("history_user").order_by("-history_id").first()


def history_of(row: models.Model) -> list[Change]:
    """The last MOST_CHANGES changes of a connection, a Moodle site or a mapping, newest first.

    Those of a mapping are those of its course: an earlier mapping's, which was removed, as well.
    """
    wanted = {"course_id": row.course_id} if isinstance(row, CourseBadgeMapping) else {"id": row.pk}
    versions = list(versions_of(type(row)).filter(**wanted).order_by("-history_id")[: MOST_CHANGES + 1])
    words = _Words(type(row))
    changes = []
    for number, version in enumerate(versions[:MOST_CHANGES]):
        before = versions[number + 1] if number + 1 < len(versions) else None
        changes.append(Change(version.history_date, version.actor_name, _sentences(version, before, words)))
    return changes


def _sentences(version: Any, before: Any, words: "_Words") -> list[SafeString]:
    """What a version says that the one before it did not."""
    who = version.actor_name or _("The portal")
    what = str(words.model._meta.verbose_name)
    if version.history_type == "+":
        beginning = ", ".join(f"{words.label(name)}: {words.of(version, name)}" for name in words.told)
        return [format_html(_("{who} added this {what}, with {beginning}."), who=who, what=what, beginning=beginning)]
    if version.history_type == "-":
        return [format_html(_("{who} removed this {what}."), who=who, what=what)]
    if before is None:
        return [format_html(_("The history of this {what} begins here."), what=what)]
    sentences = [
        format_html(
            _("{who} changed <em>{label}</em> from {before} to {after}."),
            who=who, label=words.label(name), before=words.of(before, name), after=words.of(version, name),
        )
        for name in words.told
        if words.of(before, name) != words.of(version, name)
    ]  # fmt: skip
    if version.token_changed:
        sentences.append(format_html(_("{who} entered another <em>token</em>."), who=who))
    return sentences


class _Words:
    """Says the values of a model's columns in words. Asks for the connections once."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        # The course of a mapping never changes, and the page names it.
        self.told = [name for name in VERSIONS[model].settings if name != "course"]
        self.connections = {row.pk: str(row) for row in NavigatrConnection.objects.only("name", "environment")}

    def label(self, name: str) -> str:
        """What pages call the column."""
        return str(self._column(NAMED_BESIDE.get(name, name)).verbose_name)

    def of(self, version: Any, name: str) -> str:
        """The value of a version's column."""
        value = getattr(version, self._column(name).attname)
        if name in NAMED_BESIDE:
            return f"{getattr(version, NAMED_BESIDE[name])} ({value})".strip()
        if name == "connection":
            return self.connections.get(value, f"#{value}")
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        if isinstance(value, datetime):
            return moment(value)
        label = dict(self._column(name).flatchoices).get(value, value)
        return _("nothing") if label in (None, "") else str(label)

    def _column(self, name: str) -> Any:
        return self.model._meta.get_field(name)
