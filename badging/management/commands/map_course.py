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
from ...models import Issuance, NavigatrConnection
from ..base import PortalCommand, percent, poll_when_free, site_named

ID, SHORTNAME = "id:", "shortname:"
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
        parser.add_argument("--min-score", type=percent, metavar="P", help="minimum score in percent")
        parser.add_argument("--include-past", action="store_true", help="also those who have already completed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the badge in Navigatr, save, and with --include-past read the whole course now."""
        site = site_named(options["site"])
        connection = NavigatrConnection.objects.filter(name=options["connection"]).first()
        if connection is None:
            known = ", ".join(NavigatrConnection.objects.values_list("name", flat=True)) or _("none")
            raise CommandError(
                _("There is no Navigatr connection “%(name)s”. Known: %(known)s.")
                % {"name": options["connection"], "known": known}
            )
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
                min_score=options["min_score"],
                include_past=options["include_past"],
                now=timezone.now(),
            )
        except mapping.NotMapped as error:
            raise CommandError(str(error)) from error
        queued, trouble = 0, ""
        if options["include_past"]:
            before = Issuance.objects.filter(course=course).count()
            trouble = poll_when_free(site).error
            queued = Issuance.objects.filter(course=course).count() - before
        lines = [_("“%(course)s” awards “%(badge)s”.") % {"course": course, "badge": badge.name}]
        if options["include_past"]:
            lines.append(_("%d earlier completion(s) are queued.") % queued)
        if trouble:
            self.stderr.write(_("Moodle could not be read now; the next poll does it. %s") % trouble)
        self.say(options, {"mapping": saved.pk, "queued": queued}, *lines)


def find_course(site: MoodleSite, wanted: str) -> Course:
    """The course that is meant by a Moodle id or a short name, as Moodle has it now.

    `id:3` and `shortname:3` say which of both is meant. Where Moodle cannot be asked, a course on file is still known
    by its id. Raises CommandError where no course fits, or more than one.
    """
    number, name = _meant(wanted)
    try:
        found = _ask_moodle(site, number, name)
    except MoodleError as error:
        known = _on_file(site, number, name)
        if not known:
            raise CommandError(f"{error}. {error.advice}") from error
        found = known
    if len(found) > 1:
        raise CommandError(
            _("“%(wanted)s” fits more than one course: %(courses)s. Say which one, as in --course %(example)s.")
            % {
                "wanted": wanted,
                "courses": "; ".join(_told(course) for course in found),
                "example": f"id:{found[0].moodle_id}",
            }
        )
    if not found:
        raise CommandError(
            _("“%(site)s” has no course “%(course)s” that the portal's account may see.")
            % {"site": site.name, "course": wanted}
        )
    return found[0]


def _meant(wanted: str) -> tuple[int | None, str | None]:
    """The id and the short name that may be meant."""
    if wanted.startswith(SHORTNAME):
        return None, wanted.removeprefix(SHORTNAME)
    if wanted.startswith(ID) and _is_number(number := wanted.removeprefix(ID)):
        return int(number), None
    return (int(wanted) if _is_number(wanted) else None), wanted


def _ask_moodle(site: MoodleSite, number: int | None, name: str | None) -> list[Course]:
    """The courses in Moodle with this id or this short name, now on file as well. Raises MoodleError."""
    with moodle_client_for(site) as client:
        found = client.courses(ids=[number]) if number is not None else []
        if name is not None:
            named = client.courses(shortname=name)
            if not named:
                # Moodle compares letter by letter; people do not. What is on file only tells what to ask for.
                alike = site.courses.filter(shortname__iexact=name).values_list("moodle_id", flat=True)
                asked = client.courses(ids=list(alike)) if alike else []
                named = [course for course in asked if course.shortname.casefold() == name.casefold()]
            # One that is spelt exactly so comes before those that differ in case.
            found += [course for course in named if course.shortname == name] or named
        # The names of mapped ones are for polls to change, which see whether this is still the same Moodle.
        mapped = set(site.courses.filter(mapping__isnull=False).values_list("moodle_id", flat=True))
        store_courses(site, [course for course in found if course.id not in mapped])
    return list(site.courses.filter(moodle_id__in={course.id for course in found}).order_by("moodle_id"))


def _on_file(site: MoodleSite, number: int | None, name: str | None) -> list[Course]:
    """The courses on file with this id, and with it those that have the same short name."""
    if number is None or not site.courses.filter(moodle_id=number).exists():
        return []
    fits = Q(moodle_id=number) if name is None else Q(moodle_id=number) | Q(shortname__iexact=name)
    return list(site.courses.filter(fits).order_by("moodle_id"))


def _told(course: Course) -> str:
    """A course told apart from others, with how to name it."""
    names = {"course": course, "id": course.moodle_id, "name": course.shortname}
    return _("“%(course)s” (id:%(id)d, shortname:%(name)s)") % names


def _is_number(text: str) -> bool:
    """Whether it can be a course's id; what is longer, databases choke on."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
