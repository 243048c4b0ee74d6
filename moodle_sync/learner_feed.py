"""Feed B: no report, so each enrolled learner is asked about, in batches, a bounded number of calls a round.

See WEB_SERVICES.md, section 5 B. Learners known to have completed are not asked again; learners whom Moodle does not
track (teachers, suspended enrolments) are left alone until the next daily sweep.
"""

from collections.abc import Callable
from datetime import datetime

from .client import MoodleClient
from .errors import MoodleError, MoodleLearnerGone, MoodleNotTracked, MoodleTokenRefused, MoodleUnavailable
from .models import Completion, Course, MoodleSite
from .records import EnrolledUser
from .storing import BATCH_FUNCTION, Seen, Storing, mark_deleted

PER_PAGE = 100
CATCH_UP = 500


def read(
    site: MoodleSite,
    client: MoodleClient,
    storing: Storing,
    *,
    now: datetime,
    most_calls: int,
    forget_untracked: bool,
    heartbeat: Callable[[], None],
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
        if forget_untracked:
            course.untracked = []
        try:
            done = _read_course(site, client, storing, course, now=now, most_calls=most_calls, heartbeat=heartbeat)
        except (MoodleUnavailable, MoodleTokenRefused):
            raise
        except MoodleError as error:
            course.error = error.advice
            course.read_at = now
            course.save(update_fields=["error", "read_at", "untracked"])
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
    heartbeat: Callable[[], None],
) -> bool:
    """Read one course from where the last round stopped; True when its end was reached."""
    first_look = course.history_read_at is None
    while client.calls < most_calls:
        users = client.enrolled_users(course.moodle_id, offset=course.next_offset, limit=PER_PAGE)
        seen = _completions(site, client, course, users, now=now, first_look=first_look)
        last = len(users) < PER_PAGE
        course.next_offset = 0 if last else course.next_offset + PER_PAGE

        def turn_the_page(last: bool = last) -> None:
            course.error = ""
            if last:
                course.read_at = now
                course.history_read_at = course.history_read_at or now
            course.save(update_fields=["error", "untracked", "next_offset", "read_at", "history_read_at"])

        storing.store(seen, now, and_then=turn_the_page)
        heartbeat()
        if last:
            if first_look:
                _catch_up(storing, course, now)
            return True
    return False


def _completions(
    site: MoodleSite,
    client: MoodleClient,
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
    answers = client.completion_statuses(course.moodle_id, ask, batch=BATCH_FUNCTION in site.functions)
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


def _catch_up(storing: Storing, course: Course, now: datetime) -> None:
    """After a full look at a course, pass on what is on file for learners who are no longer enrolled too."""
    last = 0
    while rows := list(
        Completion.objects.filter(course=course, pk__gt=last, learner__erased_at=None)
        .select_related("learner")
        .order_by("pk")[:CATCH_UP]
    ):
        last = rows[-1].pk
        storing.store(
            [Seen(course, row.learner.moodle_id, None, None, None, row.completed_at, row.time_source) for row in rows],
            now,
        )
