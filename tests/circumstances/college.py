"""A college: a pretend Moodle that is polled, a pretend Navigatr that is sent to, and a clock that tests move."""

from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from django.utils import timezone

from badging.models import CourseBadgeMapping, Issuance, NavigatrConnection
from badging.polling import site_poll
from badging.sending import rounds
from moodle_sync.models import Completion, Course, Learner, MoodleSite
from moodle_sync.polling import PollResult
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, Sandbox
from sandbox.navigatr import Assertion
from tests.builders import make_connection, make_course, make_mapping, make_site

START = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
REPORT = 2  # the id of the agreed report, which the sandbox makes first


class College:
    """One Moodle site with one mapped course, one Navigatr connection, and what is done in them."""

    def __init__(self, sandbox: Sandbox, clock: time_machine.Traveller, *, with_report: bool) -> None:
        self.sandbox, self.moodle, self.clock = sandbox, sandbox.moodle, clock
        if not with_report:
            self.moodle.set_report(REPORT, shared=False)
        self.site = make_site(name="College", url=sandbox.moodle_url, token=sandbox.moodle_token)
        self.connection = make_connection(pat=sandbox.pat)
        self.mapping = self.map(self.course("SAFE101", "Safeguarding Essentials"))
        self.poll()

    def course(self, shortname: str, fullname: str) -> Course:
        """A new course in Moodle, known to the portal."""
        number = self.moodle.add_course(shortname, fullname)
        return make_course(self.site, moodle_id=number, shortname=shortname, fullname=fullname)

    def map(self, course: Course, **fields: Any) -> CourseBadgeMapping:
        """The course awards the sandbox's first badge from now on."""
        badge = {"provider_id": DEMO_PROVIDER_ID, "badge_id": DEMO_BADGE_ID, "since": timezone.now()}
        return make_mapping(course, self.connection, **badge | fields)

    def learner(
        self, firstname: str = "Ana", lastname: str = "Lee", email: str = "ana@example.org", **more: Any
    ) -> int:
        """A new account, enrolled in the mapped course."""
        return self.moodle.add_learner(firstname, lastname, email, course_id=self.mapping.course.moodle_id, **more)

    def complete(self, user_id: int, *, ago: timedelta = timedelta(0), **how: Any) -> None:
        """The learner completes the mapped course in Moodle."""
        at = (timezone.now() - ago).timestamp()
        self.moodle.complete(self.mapping.course.moodle_id, user_id, at, **how)

    def poll(self, after: timedelta = MINUTE) -> PollResult:
        """Let time pass, and poll once."""
        self.clock.shift(after)
        self.moodle.ledger.clear()
        site = MoodleSite.objects.select_related("state").get(pk=self.site.pk)
        result = site_poll.poll_and_queue(site, now=timezone.now())
        self.site = MoodleSite.objects.select_related("state").get(pk=self.site.pk)
        return result

    def send(self) -> None:
        """Send all that is due."""
        rounds.send_all_due()

    def poll_and_send(self, after: timedelta = MINUTE) -> PollResult:
        """One minute of a portal at work."""
        result = self.poll(after)
        self.send()
        return result

    def badges(self, email: str = "") -> list[Assertion]:
        """What has been issued, to one address or to all."""
        issued = list(self.sandbox.navigatr.assertions.values())
        return [one for one in issued if email in ("", one.recipient_email)]

    def row(self, user_id: int) -> Issuance:
        """The learner's only issuance."""
        return Issuance.objects.get(learner__moodle_id=user_id, course__site=self.site)

    def completion(self, user_id: int) -> Completion:
        """The learner's only completion."""
        return Completion.objects.get(learner__moodle_id=user_id)

    def person(self, user_id: int) -> Learner:
        """The learner's row."""
        return Learner.objects.get(moodle_id=user_id)

    def navigatr_is_down(self) -> None:
        """Nothing can be sent until `navigatr_is_back`."""
        self.sandbox.faults.on("503")

    def navigatr_is_back(self) -> None:
        """Faults are over, and what waits is due."""
        self.sandbox.faults.clear()
        NavigatrConnection.objects.update(not_before=None, failures=0)
        Issuance.objects.filter(state="queued").update(next_attempt_at=timezone.now())

    @property
    def calls(self) -> list[str]:
        """The functions that the last poll called, in order."""
        return [call.function for call in self.moodle.ledger]
