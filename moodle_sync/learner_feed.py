"""Feed B: no report, so each enrolled learner is asked about, in batches, a bounded number of calls a round.

See WEB_SERVICES.md, section 5 B. Learners known to have completed are not asked again; learners whom Moodle does not
track (teachers, suspended enrolments) are left alone until the next daily sweep.
"""

from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from .client import BATCH, MoodleClient
from .client.errors import MoodleError, MoodleLearnerGone, MoodleNotTracked, MoodleTokenRefused, MoodleUnavailable
from .client.records import CompletionStatus, EnrolledUser
from .models import Completion, Course, MoodleSite
from .storing import BATCH_FUNCTION, Seen, Storing, mark_deleted

PER_PAGE = 100
SWEEP_EVERY = timedelta(days=1)


def read(
    site: MoodleSite,
    client: MoodleClient,
    storing: Storing,
    *,
    now: datetime,
    most_calls: int,
) -> bool:
    """Read the courses, longest unread first, until `most_calls`; True when all of them were read to their end.

    One bad course is noted on its row and never stops the others. Raises MoodleError for what concerns the whole site.
    """
    courses = sorted(
        (row.course for row in storing.wanted.values()), key=lambda course: (course.read_at is not None, course.read_at)
    )
    for course in courses:
        if client.calls >= most_calls:
            return False
        try:
            done = _read_course(site, client, storing, course, now=now, most_calls=most_calls)
        except (MoodleUnavailable, MoodleTokenRefused):
            raise
        except MoodleError as error:
            course.error = _(error.advice)
            course.read_at = now
            course.next_offset = 0
            course.save(update_fields=["error", "read_at", "untracked", "next_offset"])
            storing.problem(course, error)
            continue
        if not done:
            return False
    return True


def _read_course(
    site: MoodleSite,
    client: MoodleClient,
    storing: Storing,
    course: Course,
    *,
    now: datetime,
    most_calls: int,
) -> bool:
    """Read one course from where the last round stopped; True when its end was reached.

    Each course has its own daily sweep, as not every round reaches every course.
    """
    first_look = course.history_read_at is None
    sweep = course.history_read_at is None or course.history_read_at <= now - SWEEP_EVERY
    if sweep and course.next_offset == 0:
        course.untracked = []
    while client.calls < most_calls:
        users = client.enrolled_users(course.moodle_id, offset=course.next_offset, limit=PER_PAGE)
        seen = _completions(site, client, storing, course, users, now=now, first_look=first_look)
        last = len(users) < PER_PAGE
        if last and first_look:
            storing.catch_up(course, now)
        course.next_offset = 0 if last else course.next_offset + PER_PAGE

        def turn_the_page(last: bool = last) -> None:
            course.error = ""
            if last:
                course.read_at = now
                course.history_read_at = now if sweep else course.history_read_at
            course.save(update_fields=["error", "untracked", "next_offset", "read_at", "history_read_at"])

        storing.store(seen, now, whole=sweep, and_then=turn_the_page)
        storing.heartbeat()
        if last:
            return True
    return False


def _completions(
    site: MoodleSite,
    client: MoodleClient,
    storing: Storing,
    course: Course,
    users: list[EnrolledUser],
    *,
    now: datetime,
    first_look: bool,
) -> list[Seen]:
    """Those of the page who completed: known ones from our rows (their profile may have changed), others by asking."""
    known = {
        user_id: (completed_at, source)
        for user_id, completed_at, source in Completion.objects.filter(
            course=course, learner__moodle_id__in=[user.id for user in users]
        ).values_list("learner__moodle_id", "completed_at", "time_source")
    }
    ask = [user.id for user in users if user.id not in known and user.id not in set(course.untracked)]
    answers: dict[int, CompletionStatus | MoodleError] = {}
    for start in range(0, len(ask), BATCH):
        asked = ask[start : start + BATCH]
        answers |= client.completion_statuses(course.moodle_id, asked, batch=BATCH_FUNCTION in site.functions)
        storing.heartbeat()
    for failure in answers.values():
        if isinstance(failure, MoodleError) and not isinstance(failure, MoodleNotTracked | MoodleLearnerGone):
            storing.problem(course, failure)
    untracked = {user_id for user_id, answer in answers.items() if isinstance(answer, MoodleNotTracked)}
    gone = {user_id for user_id, answer in answers.items() if isinstance(answer, MoodleLearnerGone)}
    course.untracked = sorted({*course.untracked, *untracked})
    mark_deleted(site, gone)
    found = []
    for user in users:
        answer = answers.get(user.id)
        if user.id in known:
            completed_at, source = known[user.id]
        elif answer is not None and not isinstance(answer, MoodleError) and answer.completed:
            completed_at, source = answer.completed_at, Completion.TimeSource.CRITERIA.value
            if completed_at is None:
                # Imported or set directly: Moodle has no time (trap 5). What is there at the first look is old.
                completed_at, source = (None, "unknown") if first_look else (now, "seen")
        else:
            continue
        found.append(
            Seen(
                course=course,
                user_id=user.id,
                firstname=user.firstname,
                lastname=user.lastname,
                email=user.email,
                completed_at=completed_at,
                source=source,
            )
        )
    return found
