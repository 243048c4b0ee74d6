"""Filters beside the lists. Each of them is answered by an index, and its choices come from small tables."""

from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from moodle_sync.models import MoodleSite

from ..meanings import HELD_BY_MAPPING, Outcome
from ..models import CourseBadgeMapping, Environment, Issuance, IssuanceQuerySet, NavigatrConnection, held_by
from .search import is_key

# How many courses are offered as choices.
MOST_COURSES = 50
# The reasons of issued badges. The list of attempts filters by them.
ISSUED = (Outcome.ISSUED, Outcome.PERHAPS_TWICE, Outcome.FOUND)
# Facts of a connection or mapping, which no issuance keeps.
SWITCHED_OFF = (Outcome.CONNECTION_PAUSED, Outcome.CONNECTION_REMOVED, *HELD_BY_MAPPING)


class StandingFilter(admin.SimpleListFilter):
    """By state, as people know it: what a mapping or a connection holds is held."""

    title = _("state")
    # The name that Django gives a filter by the field, so that links keep working.
    parameter_name = "state__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """All states."""
        return list(Issuance.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The issuances in the state. A link may name several, as they stand in the database."""
        states = str(self.value() or "").split(",")
        if not set(states) <= set(Issuance.State.values):
            return queryset
        if len(states) > 1:
            return queryset.filter(state__in=states)
        return cast(IssuanceQuerySet, queryset).standing_as(Issuance.State(states[0]))


class CourseFilter(admin.SimpleListFilter):
    """By course. Offers the first MOST_COURSES mapped ones by name, and the chosen one."""

    title = _("course")
    parameter_name = "course"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Mapped courses only: the others have no issuances."""
        mappings = CourseBadgeMapping.objects.select_related("course__site").order_by("course__fullname", "pk")
        courses = {str(row.course_id): row.course.full_label for row in mappings[:MOST_COURSES]}
        chosen = self.value()
        if chosen and self.number is not None and chosen not in courses:
            courses[chosen] = str(_("Course number %(pk)s") % {"pk": chosen})
        return list(courses.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the course."""
        return queryset if self.number is None else queryset.filter(course=self.number)

    @property
    def number(self) -> int | None:
        """The chosen id, or None for anything that cannot be one."""
        chosen = self.value()
        return int(chosen) if chosen and is_key(chosen) else None


class SiteFilter(admin.SimpleListFilter):
    """By Moodle site, of which there are few."""

    title = _("Moodle site")
    parameter_name = "site"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The first MOST_COURSES sites by name."""
        sites = MoodleSite.objects.order_by("name").values_list("pk", "name")[:MOST_COURSES]
        return [(str(pk), name) for pk, name in sites]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the site's courses."""
        chosen = self.value()
        return queryset.filter(course__site=int(chosen)) if chosen and is_key(chosen) else queryset


class WhenFilter(admin.SimpleListFilter):
    """By the day of issuing or of completing the course. Both have an index."""

    title = _("date")
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Today, and the last days."""
        return [
            ("issued_1", _("issued today")),
            ("issued_7", _("issued in the last 7 days")),
            ("issued_30", _("issued in the last 30 days")),
            ("completed_1", _("completed today")),
            ("completed_7", _("completed in the last 7 days")),
            ("completed_30", _("completed in the last 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The issuances of these days, which begin at midnight."""
        if self.value() not in dict(self.lookup_choices):
            return queryset
        what, _underscore, days = str(self.value()).partition("_")
        midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - timedelta(days=int(days) - 1)
        if what == "completed":
            return queryset.filter(completion__completed_at__gte=since)
        # The index of issuing times begins with the environment.
        return queryset.filter(environment__in=Environment.values, issued_at__gte=since)


class DoubtfulFilter(admin.SimpleListFilter):
    """By why a completion does not count. Each choice has a partial index."""

    title = _("doubt")
    parameter_name = "odd"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """An implausible date, or undone in Moodle."""
        return [("implausible", _("implausible date")), ("undone", _("undone in Moodle"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The completions with this doubt."""
        if self.value() == "implausible":
            return queryset.filter(implausible=True)
        return queryset.filter(undone_at__isnull=False) if self.value() == "undone" else queryset


class CourseBadgeFilter(admin.SimpleListFilter):
    """Courses by whether they award a badge. Mappings are few, and deleted courses have a partial index."""

    title = _("badge")
    parameter_name = "badge"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """With a badge, without one, or deleted in Moodle."""
        return [("mapped", _("awards a badge")), ("unmapped", _("awards none")), ("gone", _("deleted in Moodle"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The courses of this kind."""
        if self.value() == "gone":
            return queryset.filter(gone_at__isnull=False)
        if self.value() in ("mapped", "unmapped"):
            return queryset.filter(gone_at=None, mapping__isnull=self.value() == "unmapped")
        return queryset


class EnvironmentFilter(admin.SimpleListFilter):
    """By environment, through its few connections, which have an index."""

    title = _("environment")
    parameter_name = "environment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Production and staging."""
        return list(Environment.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of that environment's connections."""
        if not self.value():
            return queryset
        connections = NavigatrConnection.objects.filter(environment=self.value())
        return queryset.filter(connection__in=list(connections.values_list("pk", flat=True)))


class ReasonFilter(admin.SimpleListFilter):
    """By reason. Excludes issued ones, so that the index of states can be used."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """All reasons but those of issued badges, and of a refused token, which pauses the connection."""
        return [choice for choice in Outcome.choices if choice[0] not in (*ISSUED, Outcome.TOKEN_REFUSED)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with this reason."""
        if not self.value():
            return queryset
        if (reason := self.value()) and reason in SWITCHED_OFF:
            return queryset.filter(held_by(Outcome(reason)), state=Issuance.State.QUEUED)
        unissued = [state for state in Issuance.State.values if state != Issuance.State.ISSUED]
        return queryset.filter(reason=self.value(), state__in=unissued)
