"""manage.py map_course: what the wizard does, from a shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.client.errors import MoodleError
from moodle_sync.models import Course, MoodleSite
from moodle_sync.site_check import moodle_client_for, store_courses

from ... import mapping
from ...models import CourseBadgeMapping, Issuance, NavigatrConnection
from ..base import PortalCommand, connection_named, percent, poll_when_free, shortened, site_named

# Prefixes that say which of both is meant.
ID, SHORTNAME = "id:", "shortname:"
# Longer numbers are too large for the database.
LONGEST_ID = 18


class Command(PortalCommand):
    """Map a course to a badge, or change its mapping."""

    help = "Map a Moodle course to a Navigatr badge."

    def add_arguments(self, parser: CommandParser) -> None:
        """Site, course, connection, provider and badge."""
        super().add_arguments(parser)
        parser.add_argument("--site", required=True, help="name of the Moodle site")
        parser.add_argument(
            "--course",
            required=True,
            help="the course's Moodle id or short name; id:NUMBER or shortname:NAME says which of both is meant",
        )
        parser.add_argument("--connection", required=True, help="name of the Navigatr connection")
        parser.add_argument("--provider", required=True, type=int, help="provider id")
        parser.add_argument("--badge", required=True, type=int, help="badge id")
        score = parser.add_mutually_exclusive_group()
        score.add_argument(
            "--min-score", type=percent, metavar="P", help="minimum score in percent; a known mapping keeps its own"
        )
        score.add_argument("--no-min-score", action="store_true", help="no minimum score any more")
        parser.add_argument("--include-past", action="store_true", help="also those who have already completed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the badge in Navigatr, save, and with --include-past read the whole course now."""
        site = site_named(options["site"])
        connection = connection_named(options["connection"])
        if connection.hold_reason:
            raise CommandError(_("“%s” is not active. Reconnect it first.") % connection.name)
        course = find_course(site, options["course"])
        try:
            provider, badge = mapping.find_badge(connection, provider_id=options["provider"], badge_id=options["badge"])
            saved = mapping.save_mapping(
                course=course,
                connection=connection,
                provider=provider,
                badge=badge,
                min_score=_min_score(course, options),
                include_past=options["include_past"],
                from_now=self._goes_live(course, connection) and not options["include_past"],
                now=timezone.now(),
            )
        except mapping.NotMapped as error:
            raise CommandError(str(error)) from error
        lines = [_("“%(course)s” awards “%(badge)s”.") % {"course": course, "badge": badge.name}]
        queued = 0
        if options["include_past"]:
            queued = self._read_past(site, course)
            lines.append(_("%d earlier completion(s) are queued.") % queued)
        self.say(options, {"mapping": saved.pk, "queued": queued}, *lines)

    def _goes_live(self, course: Course, connection: NavigatrConnection) -> bool:
        """Whether the course was tried in staging until now."""
        known = CourseBadgeMapping.objects.select_related("connection").filter(course=course).first()
        return mapping.goes_live(known, connection)

    def _read_past(self, site: MoodleSite, course: Course) -> int:
        """Poll the site now; returns how many issuances of the course this queued."""
        before = Issuance.objects.filter(course=course).count()
        if error := poll_when_free(site).error:
            self.stderr.write(_("Moodle could not be read now; the next poll does it. %s") % error)
        return Issuance.objects.filter(course=course).count() - before


def _min_score(course: Course, options: dict[str, Any]) -> int | None:
    """The minimum score that was asked for; without a word about it, the one that the course's mapping has."""
    if options["min_score"] is not None or options["no_min_score"]:
        asked: int | None = options["min_score"]
        return asked
    return CourseBadgeMapping.objects.filter(course=course).values_list("min_score", flat=True).first()


def find_course(site: MoodleSite, wanted: str) -> Course:
    """The course with this Moodle id or short name, as Moodle has it now.

    `id:3` and `shortname:3` say which of both is meant. When Moodle cannot be reached, a stored course is still found
    by its id. Raises CommandError when no course matches, or more than one.
    """
    number, name = _id_and_name(wanted)
    try:
        found = _ask_moodle(site, number, name)
    except MoodleError as error:
        found = _stored(site, number, name)
        if not found:
            raise CommandError(f"{error}. {error.advice}") from error
    if len(found) > 1:
        raise CommandError(
            _("“%(wanted)s” fits more than one course: %(courses)s. Say which one, as in --course %(example)s.")
            % {
                "wanted": shortened(wanted),
                "courses": "; ".join(map(_label, found)),
                "example": f"id:{found[0].moodle_id}",
            }
        )
    if not found:
        raise CommandError(
            _("“%(site)s” has no course “%(course)s” that the portal's account may see.")
            % {"site": site.name, "course": shortened(wanted)}
        )
    return found[0]


def _id_and_name(wanted: str) -> tuple[int | None, str | None]:
    """The id and the short name that may be meant; None for one that is not."""
    if wanted.startswith(SHORTNAME):
        return None, wanted.removeprefix(SHORTNAME)
    if wanted.startswith(ID) and _is_number(number := wanted.removeprefix(ID)):
        return int(number), None
    return (int(wanted) if _is_number(wanted) else None), wanted


def _ask_moodle(site: MoodleSite, number: int | None, name: str | None) -> list[Course]:
    """The courses in Moodle with this id or this short name, after storing them. Raises MoodleError."""
    with moodle_client_for(site) as client:
        found = client.courses(ids=[number]) if number is not None else []
        if name is not None:
            named = client.courses(shortname=name)
            if not named:
                # Moodle compares case-sensitively. Stored courses tell which ids to ask for.
                stored = site.courses.filter(shortname__iexact=name).values_list("moodle_id", flat=True)
                candidates = client.courses(ids=list(stored)) if stored else []
                named = [course for course in candidates if course.shortname.casefold() == name.casefold()]
            # An exact match comes before those that differ in case.
            found += [course for course in named if course.shortname == name] or named
        # Mapped courses are updated by polls only, which check whether this is still the same Moodle.
        mapped = set(site.courses.filter(mapping__isnull=False).values_list("moodle_id", flat=True))
        store_courses(site, [course for course in found if course.id not in mapped])
    return list(site.courses.filter(moodle_id__in={course.id for course in found}).order_by("moodle_id"))


def _stored(site: MoodleSite, number: int | None, name: str | None) -> list[Course]:
    """The stored course with this id, and those that have it as their short name; none without the first."""
    if number is None or not site.courses.filter(moodle_id=number).exists():
        return []
    wanted = Q(moodle_id=number) if name is None else Q(moodle_id=number) | Q(shortname__iexact=name)
    return list(site.courses.filter(wanted).order_by("moodle_id"))


def _label(course: Course) -> str:
    """The course, with the values for --course that name it."""
    values = {"course": course, "id": course.moodle_id, "name": course.shortname}
    return _("“%(course)s” (id:%(id)d, shortname:%(name)s)") % values


def _is_number(text: str) -> bool:
    """Whether the text can be a course's id."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
