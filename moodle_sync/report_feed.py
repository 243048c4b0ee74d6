"""Feed A: the agreed report "Navigatr badge feed". Two calls when nothing is new, whatever the size of the site.

See WEB_SERVICES.md, section 4: times are when a criterion was met and not when the row appeared, so every poll reads
48 hours of overlap again, and once a day everything is read.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from .client import MoodleClient
from .client.errors import ReportLayoutChanged
from .client.report_cells import AGREED_NAME, parse_page
from .models import Completion, MoodleSite
from .storing import Seen, Storing

OVERLAP = timedelta(hours=48)
# Rows in a page: as many as the last poll met and some more, so that a poll that finds nothing new is one page, but
# never so many that Moodle would take long (20,000 rows were 2.7 s and 3 MB).
LEAST_PER_PAGE = 500
MOST_PER_PAGE = 10_000
# Rows stored in one transaction.
ROWS_AT_ONCE = 500
# Longer lists of courses are filtered here instead of in the report (PHP's max_input_vars, and URLs of proxies).
MOST_COURSES_IN_FILTER = 200


def read(
    site: MoodleSite,
    client: MoodleClient,
    storing: Storing,
    *,
    since: datetime | None,
    course_ids: Sequence[int],
    now: datetime,
    at_the_end: Callable[[], None],
) -> None:
    """Read the report from `since` (None: everything) for these Moodle course ids, and store it page by page.

    `at_the_end` runs in the transaction of the last page. Raises MoodleError, and ReportLayoutChanged with the reason
    when the report is no longer the agreed one; what was stored until then stays.
    """
    if site.report_id is None:
        raise ReportLayoutChanged("the report was not found")
    courses = {row.course.moodle_id: row.course for row in storing.wanted.values()}
    client.set_report_filters(
        site.report_id, since=since, course_ids=course_ids if len(course_ids) <= MOST_COURSES_IN_FILTER else ()
    )
    per_page = min(max(LEAST_PER_PAGE, 2 * site.report_rows), MOST_PER_PAGE)
    number = 0
    while True:
        page = client.report_page(site.report_id, number, per_page)
        if len(page.rows) < min(per_page, page.total - number * per_page) and per_page > LEAST_PER_PAGE:
            # Something on the way cuts large pages short: begin again with small ones.
            per_page, number = LEAST_PER_PAGE, 0
            continue
        rows, problems = parse_page(page, site_urls=site.site_urls)
        for problem in problems:
            storing.note(f"{AGREED_NAME}: {problem}")
        last = not page.rows or (number + 1) * per_page >= page.total
        if last and number == 0 and since is None and not page.rows and len(course_ids) == len(courses):
            _refuse_sudden_emptiness(course_ids, site)
        seen = [
            Seen(
                course=courses[row.course_id],
                user_id=row.user_id,
                firstname=row.firstname,
                lastname=row.lastname,
                email=row.email,
                completed_at=row.completed_at,
                source=Completion.TimeSource.REPORT,
            )
            for row in rows
            if row.course_id in courses
        ]
        for first in range(0, max(len(seen), 1), ROWS_AT_ONCE):
            end = last and first + ROWS_AT_ONCE >= len(seen)
            storing.store(
                seen[first : first + ROWS_AT_ONCE], now, whole=since is None, and_then=at_the_end if end else None
            )
            storing.heartbeat()
        if last:
            site.report_rows = page.total
            site.save(update_fields=["report_rows"])
            return
        number += 1


def _refuse_sudden_emptiness(course_ids: Sequence[int], site: MoodleSite) -> None:
    """A full read that finds nothing although completions are known says that the report was changed."""
    if Completion.objects.filter(course__site=site, course__moodle_id__in=course_ids).exists():
        raise ReportLayoutChanged("it is empty, although completions of these courses are known")
