"""manage.py map_course: what the wizard does, from a shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from badging import mapping
from badging.management.base import PortalCommand, percent, poll_when_free, site_named
from badging.models import Issuance, NavigatrConnection
from moodle_sync.client.errors import MoodleError
from moodle_sync.models import Course, MoodleSite
from moodle_sync.site_check import moodle_client_for, store_courses


class Command(PortalCommand):
    """Map a course to a badge, or change its mapping."""

    help = "Map a Moodle course to a Navigatr badge."

    def add_arguments(self, parser: CommandParser) -> None:
        """Site, course, connection, provider and badge."""
        super().add_arguments(parser)
        parser.add_argument("--site", required=True, help="name of the Moodle site")
        parser.add_argument("--course", required=True, help="the course's Moodle id or short name")
        parser.add_argument("--connection", required=True, help="name of the Navigatr connection")
        parser.add_argument("--provider", required=True, type=int, help="provider id")
        parser.add_argument("--badge", required=True, type=int, help="badge id")
        parser.add_argument("--min-score", type=percent, metavar="P", help="least score in percent")
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
        except mapping.NotMapped as error:
            raise CommandError(str(error)) from error
        saved = mapping.save_mapping(
            course=course,
            connection=connection,
            provider=provider,
            badge=badge,
            min_score=options["min_score"],
            include_past=options["include_past"],
            now=timezone.now(),
        )
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
    """The course with that Moodle id or short name, asked of Moodle when it is not on file yet."""
    known = _find_known(site, wanted)
    if known is not None:
        return known
    try:
        with moodle_client_for(site) as client:
            found = client.courses(ids=[int(wanted)]) if wanted.isdecimal() else []
            store_courses(site, found or client.courses(shortname=wanted))
    except MoodleError as error:
        raise CommandError(f"{error}. {error.advice}") from error
    course = _find_known(site, wanted)
    if course is None:
        raise CommandError(
            _("“%(site)s” has no course “%(course)s” that the portal's account may see.")
            % {"site": site.name, "course": wanted}
        )
    return course


def _find_known(site: MoodleSite, wanted: str) -> Course | None:
    by_id = site.courses.filter(moodle_id=int(wanted)).first() if wanted.isdecimal() else None
    return (
        by_id or site.courses.filter(shortname=wanted).first() or site.courses.filter(shortname__iexact=wanted).first()
    )
