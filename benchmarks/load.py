"""The time of the portal's operations on PostgreSQL with a million issuances.

    python -m benchmarks.load [--issuances 1000000] [--rounds 5] [--plans]

Fills a fresh database with issuances, completions, and two attempts for each issuance. Then it measures `status`, the
sweep, a claim, the database's part of a poll, each list of the admin with each filter, one row of each, and the course
managers' pages. Prints the median of the rounds in milliseconds, and explains the queries of big tables. If a time is
over the limit, or a sequential scan reads a big table, the exit code is 1. `--plans` prints the plans of these queries.
"""

import argparse
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from psycopg.sql import SQL, Identifier

from . import stage

LIMIT_MS = 200
# What the engine asks all the time, and what is asked while 100,000 badges wait for something else.
ENGINE_LIMIT_MS = 60
BACKLOG_LIMIT_MS = 50
# A sequential scan may read this many rows, because a list may stop after its first page.
SCANNED_ROWS = 5000
# The tables that must not be scanned.
BIG = ("badging_issuance", "badging_issuanceattempt", "moodle_sync_completion", "moodle_sync_learner")
COURSES = 101

# Each learner has completed some courses ({block} courses for each of them). Half of the learners have completed course
# 1; the others are spread evenly.
# Of 1,000 issuances 930 are issued and 20 queued, half of these from a back-fill. The second connection has one of the
# courses.
FILL = """
SET session_replication_role = replica;
INSERT INTO moodle_sync_course (site_id, moodle_id, shortname, fullname, report_name, visible, past_read_at,
        next_offset, asks_everybody, untracked, error, category_id, category_name)
    SELECT {site}, i, 'C' || i, 'Course ' || i, 'Course ' || i, true, now(), 0, false, '[]', '', 1, 'Category 1'
    FROM generate_series(1, {courses}) i;
INSERT INTO badging_coursebadgemapping (course_id, connection_id, provider_id, provider_name, badge_id, badge_name,
        badge_image_url, badge_url, badge_problem, active, since, past_wanted_at,
        created_at, by_admin, past_release)
    SELECT id, CASE WHEN moodle_id = 2 THEN {second} ELSE {first} END, 11, 'Provider', 1000 + moodle_id,
        'Badge ' || moodle_id, '', '', '', true, now() - interval '300 days', now(), now(), false, 'within'
    FROM moodle_sync_course;
INSERT INTO moodle_sync_learner (site_id, moodle_id, firstname, lastname, email, email_key, names_hidden, deleted,
        suspended)
    SELECT {site}, i, 'First' || i % 5000, 'Last' || i, 'Learner' || i || '@example.org',
        'learner' || i || '@example.org', false, false, false
    FROM generate_series(1, {learners}) i;
INSERT INTO moodle_sync_completion (course_id, learner_id, completed_at, time_source, score, score_hidden,
        score_read_at, seen_at, confirmed_at, implausible)
    SELECT c.id, l.id, now() - ({count} - n) * interval '1 minute' / 4, 'report', n % 101, false, now(), now(),
        now() + interval '1 day', false
    FROM (SELECT n, n % {learners} + 1 AS learner,
            CASE WHEN n < {learners} AND n % 2 = 0 THEN 1 ELSE 2 + n / {learners} * {block} + n % {block} END AS course
          FROM generate_series(0, {count} - 1) n) pairs
    JOIN moodle_sync_learner l ON l.moodle_id = learner JOIN moodle_sync_course c ON c.moodle_id = course
    ORDER BY n;
INSERT INTO badging_issuance (course_id, learner_id, completion_id, connection_id, environment, provider_id, badge_id,
        badge_name, state, reason, past, queued_at, next_attempt_at, failures, first_attempt_at, claim,
        leased_until, unanswered, date_accepted, score_tried, recipient_key, assertion_id,
        assertion_url, issued_at)
    SELECT m.course_id, learner_id, completion, connection_id, 'staging', provider_id, badge_id, badge_name,
        state,
        CASE state WHEN 'not_met' THEN 'below_min_score' WHEN 'held' THEN 'learner_suspended'
            WHEN 'issued' THEN 'issued'
            WHEN 'failed' THEN (ARRAY['profile_incomplete', 'learner_deleted', 'rejected'])[1 + completion % 3]
            WHEN 'cancelled' THEN 'by_hand' ELSE '' END,
        completion % 2 = 0, completed_at, CASE state WHEN 'queued' THEN now() END, 0, completed_at,
        CASE state WHEN 'sending' THEN gen_random_uuid() END,
        CASE state WHEN 'sending' THEN now() + interval '1 hour' END,
        '', false, score, encode(sha256(email_key::bytea), 'hex'),
        CASE state WHEN 'issued' THEN completion::text ELSE '' END,
        '', CASE state WHEN 'issued' THEN completed_at END
    FROM (SELECT k.id AS completion, k.course_id, k.learner_id, k.completed_at, k.score, l.email_key,
            CASE WHEN k.id % 1000 < 930 THEN 'issued' WHEN k.id % 1000 < 950 THEN 'queued'
                WHEN k.id % 1000 < 970 THEN 'not_met' WHEN k.id % 1000 < 980 THEN 'failed'
                WHEN k.id % 1000 < 990 THEN 'held' WHEN k.id % 10000 = 9999 THEN 'sending' ELSE 'cancelled' END AS state
          FROM moodle_sync_completion k JOIN moodle_sync_learner l ON l.id = k.learner_id) owed
    JOIN badging_coursebadgemapping m ON m.course_id = owed.course_id
    ORDER BY completion;
INSERT INTO badging_issuanceattempt (issuance_id, kind, at, duration, status, outcome, fields, environment,
        provider_id, badge_id)
    SELECT i.id, 'send', queued_at + round * interval '1 second', interval '50 ms',
        CASE WHEN round = 1 AND state = 'issued' THEN 200 ELSE 503 END,
        CASE WHEN round = 0 THEN 'unavailable' WHEN state = 'issued' THEN 'issued' ELSE 'unclear' END,
        '', environment, provider_id, badge_id
    FROM badging_issuance i, generate_series(0, 1) round
    ORDER BY i.id, round;
SET session_replication_role = DEFAULT;
"""

# Half of all learners wait for the badge of course 1, and have waited longer than all others.
BACKLOG = """
UPDATE badging_issuance SET state = 'queued', reason = '', claim = NULL, leased_until = NULL, assertion_id = '',
        past = false, next_attempt_at = now() - interval '1 day'
    WHERE course_id = (SELECT id FROM moodle_sync_course WHERE moodle_id = 1);
VACUUM ANALYZE badging_issuance;
"""


@dataclass
class Measured:
    """An operation: its median time, its queries of big tables with their plans, and the sequential scans."""

    name: str
    milliseconds: float
    limit: float
    plans: list[tuple[str, str]] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it is within its limit and scans no big table."""
        return self.milliseconds < self.limit and not self.scans


def main() -> None:
    """Fill a database, measure all operations, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--issuances", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", action="store_true", help="leave out the pages")
    parser.add_argument("--plans", action="store_true", help="print the plan of each query of a big table")
    options = parser.parse_args()
    with stage.environment("postgres", {"navigatr_url": "http://127.0.0.1:9"}) as variables:
        os.environ.update(variables)
        stage.run([sys.executable, "manage.py", "collectstatic", "--no-input", "-v", "0"], variables)
        import django

        django.setup()
        fill(options.issuances)
        measured = []
        operations = [(_engine(), ENGINE_LIMIT_MS), (_with_a_backlog(), BACKLOG_LIMIT_MS)]
        for named, limit in operations if options.engine else [(_pages(), LIMIT_MS), *operations]:
            for name, operation in named:
                measured.append(_measure(name, operation, options.rounds, limit))
                _print(measured[-1], plans=options.plans)
    slowest = max(measured, key=lambda row: row.milliseconds)
    print(f"{len(measured)} operations; the slowest takes {slowest.milliseconds:.0f} ms: {slowest.name}")
    sys.exit(0 if all(row.ok for row in measured) else 1)


def fill(count: int, *, learners: int = 0, courses: int = COURSES) -> None:
    """Create connections, a site, users and all the rows, and analyse the tables as autovacuum does.

    Without a number of learners each has five issuances.
    """
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.utils import timezone

    from badging.models import ConnectionGrant, CourseManager, NavigatrConnection
    from moodle_sync.models import Course, MoodleSite, MoodleSiteState

    started = time.monotonic()
    now = timezone.now()
    first = NavigatrConnection.objects.create(name="N", environment="staging", pat="token")
    second = NavigatrConnection.objects.create(name="Other", environment="production", pat="token")
    site = MoodleSite.objects.create(send_suspended=False, name="M", url="https://moodle.example", token="token")
    ConnectionGrant.objects.create(connection=first, kind="site", site=site)
    ConnectionGrant.objects.create(connection=second, kind="category", site=site, category_id=1)
    # As if another worker polled it, so that a poll ends before it calls Moodle.
    MoodleSiteState.objects.filter(site=site).update(read_whole_at=now, polling_until=now + timedelta(days=1))
    with connection.cursor() as cursor:
        _set_defaults(cursor)
        learners = learners or count // 5
        block = (courses - 1) // (count // learners)
        numbers = {"courses": courses, "learners": learners, "count": count, "block": block}
        cursor.execute(FILL.format(site=site.pk, first=first.pk, second=second.pk, **numbers))
        cursor.execute("UPDATE badging_issuance SET environment = 'production' WHERE connection_id = %s", [second.pk])
        cursor.execute("VACUUM ANALYZE")
    users = get_user_model().objects
    users.create_superuser("admin", "", "password")
    manager = users.create_user("manager", "", "password")
    for course in Course.objects.order_by("moodle_id")[:50]:
        CourseManager.objects.create(user=manager, course=course)
    print(f"{count} issuances filled in after {time.monotonic() - started:.0f} s", flush=True)


def _set_defaults(cursor: Any) -> None:
    """Let the database fill in the defaults of columns that FILL does not name."""
    from django.db import connection

    from badging.models import CourseBadgeMapping, Issuance, IssuanceAttempt
    from moodle_sync.models import Completion, Course, Learner

    for model in (Course, CourseBadgeMapping, Learner, Completion, Issuance, IssuanceAttempt):
        for column in model._meta.local_concrete_fields:
            default = column.get_db_prep_save(column.get_default(), connection)
            if not (column.primary_key or column.null or default is None):
                statement = SQL("ALTER TABLE {} ALTER {} SET DEFAULT {}")
                names = Identifier(model._meta.db_table), Identifier(str(column.column))
                cursor.execute(statement.format(*names, default))


def _pages() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every page of the portal."""
    yield from _admin_pages()
    yield from _manager_pages()


def _engine() -> Iterator[tuple[str, Callable[[], Any]]]:
    """What the engine does all the time."""
    from django.utils import timezone

    from badging import queueing
    from badging.models import NavigatrConnection
    from badging.polling import site_poll
    from badging.sending import claiming, rounds, sweeping
    from badging.status import status
    from moodle_sync.models import Completion, MoodleSite

    now = timezone.now()
    connection, site = NavigatrConnection.objects.get(name="N"), MoodleSite.objects.get()
    newest = list(Completion.objects.select_related("learner", "course__site").order_by("-pk")[:500])
    yield "status", lambda: status(now)
    yield "sweep", lambda: sweeping.sweep(now=now)
    yield "due connections", lambda: rounds.due_connections(now)
    yield "claim of 500", lambda: claiming.claim(connection, uuid.uuid4(), limit=500, now=now)
    yield "poll, before Moodle is called", lambda: site_poll.poll_and_queue(site, now=now)
    yield "poll, 500 known completions", lambda: queueing.queue_completions(newest, now=now)


def _with_a_backlog() -> Iterator[tuple[str, Callable[[], Any]]]:
    """A claim past a tenth of all rows, which wait for a mapping or a connection that is off; and the switches."""
    from django.db import connection as database
    from django.utils import timezone

    from badging import connections, mapping
    from badging.models import CourseBadgeMapping, NavigatrConnection
    from badging.sending import claiming, rounds

    with database.cursor() as cursor:
        for statement in BACKLOG.strip().split(";\n"):
            cursor.execute(statement)
    now = timezone.now()
    first, second = NavigatrConnection.objects.get(name="N"), NavigatrConnection.objects.get(name="Other")
    big = CourseBadgeMapping.objects.get(course__moodle_id=1)
    waiting = connections.count_waiting(first)

    def claim() -> Any:
        claimed = claiming.claim(first, uuid.uuid4(), limit=500, now=now)
        assert len(claimed.rows) > 100, claimed

    yield f"disable a mapping under which {waiting} wait", lambda: mapping.disable_mapping(big)
    mapping.disable_mapping(big)
    yield "claim of 500 behind a disabled mapping", claim
    yield "due connections behind a disabled mapping", lambda: rounds.due_connections(now)
    yield "enable it", lambda: mapping.enable_mapping(big, now=now)
    CourseBadgeMapping.objects.filter(pk=big.pk).update(active=True, connection=second)
    NavigatrConnection.objects.filter(pk=second.pk).update(state="paused")
    yield "claim of 500 behind a paused connection", claim
    second.refresh_from_db()
    tested = connections.ConnectionTest(True, "", "", [], [])
    yield "resume it", lambda: connections.save_tested(second, tested, actor=None, now=now)
    NavigatrConnection.objects.filter(pk=second.pk).update(state="active")
    second.refresh_from_db()
    yield "pause it", lambda: connections.pause(second, asked_at=now, now=now)


def _admin_pages() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each list of the admin: its first page, a later one, each choice of each filter, searches; and one row."""
    from django.contrib import admin
    from django.urls import reverse
    from django.utils import timezone

    from badging import dashboard

    client = client_of("admin")
    yield "admin, first page", partial(_get, client, reverse("admin:index"))
    yield "admin, first page, read anew", partial(dashboard.build, now=timezone.now())
    for query in ("state__exact=failed&course=1", "state__exact=held&connection__id__exact=2"):
        at = f"{reverse('admin:badging_issuance_changelist')}?{query}"
        yield f"list issuances ?{query}", partial(_get, client, at)
    for model in admin.site._registry:
        if model._meta.app_label not in ("badging", "moodle_sync"):
            continue
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        url = reverse(f"admin:{name}_changelist")
        page = _get(client, url)
        yield f"list {model._meta.verbose_name_plural}", partial(_get, client, url)
        if model._meta.db_table in BIG:
            yield f"list {model._meta.verbose_name_plural} ?p=10", partial(_get, client, f"{url}?p=10")
        listing = page.context_data["cl"]
        for spec in listing.filter_specs:
            for query in [choice["query_string"] for choice in spec.choices(listing) if not choice["selected"]]:
                yield f"list {model._meta.verbose_name_plural} {query}", partial(_get, client, url + query)
        if listing.search_fields:
            for words in ("learner4711@example.org", "learner47", "First47", "First47 Last47", "4711", "Course 1"):
                at = client.post(url, {"_search": "1", "q": words})["Location"]
                yield f"list {model._meta.verbose_name_plural}, search for {words}", partial(_get, client, at)
        row = model._default_manager.order_by("pk").last()
        if row is not None:
            change = reverse(f"admin:{name}_change", args=[row.pk])
            yield f"page of one of {model._meta.verbose_name_plural}", partial(_get, client, change)


def _manager_pages() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The course managers' pages, for the biggest course."""
    from badging.models import Issuance
    from moodle_sync.models import Course

    client = client_of("manager")
    big = Course.objects.get(moodle_id=1)
    middle = Issuance.objects.filter(course=big).order_by("pk")[100].pk
    pages = ["/courses/", "/courses/?q=course+1", "/courses/?badge=yes", "/courses/?badge=no"]
    pages += [f"/courses/{big.pk}/", f"/courses/{big.pk}/?before={middle}", f"/courses/{big.pk}/badge/remove/"]
    pages += [f"/courses/{big.pk}/?state={state}" for state in Issuance.State.values]
    pages += [f"/courses/{big.pk}/issuances/{middle}/"]
    for page in pages:
        yield page, partial(_get, client, page)


def client_of(username: str) -> Any:
    """A browser of a user who is signed in."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.get(username=username))
    return client


def _get(client: Any, url: str) -> Any:
    response = client.get(url)
    assert response.status_code == 200, f"{url}: {response.status_code}"
    return response


def _measure(name: str, operation: Callable[[], Any], rounds: int, limit: float) -> Measured:
    """Run an operation several times in transactions that are rolled back, and explain its queries."""
    from django.db import connection, transaction

    times = []
    queries: list[tuple[str, Any]] = []

    def collect(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not many and any(f'"{table}"' in sql for table in BIG) and sql.startswith(("SELECT", "UPDATE")):
            queries.append((sql, params))
        return execute(sql, params, many, context)

    for _round in range(rounds):
        with transaction.atomic():
            started = time.perf_counter()
            operation()
            times.append((time.perf_counter() - started) * 1000)
            transaction.set_rollback(True)
    with transaction.atomic():
        with connection.execute_wrapper(collect):
            operation()
        transaction.set_rollback(True)
    measured = Measured(name, statistics.median(times), limit)
    for sql, params in queries:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            [plan] = cursor.fetchone()[0]
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", params)
            measured.plans.append((sql, "\n".join(line for (line,) in cursor.fetchall())))
            measured.scans += _scans(plan["Plan"])
            transaction.set_rollback(True)
    return measured


def _scans(plan: dict[str, Any]) -> list[str]:
    """The big tables that a plan scans, with the number of rows read."""
    rows = plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    is_scan = plan["Node Type"] == "Seq Scan" and plan["Relation Name"] in BIG and rows > SCANNED_ROWS
    found = [f"{plan['Relation Name']} ({rows:.0f} rows)"] if is_scan else []
    return found + [scan for inner in plan.get("Plans", []) for scan in _scans(inner)]


def _print(row: Measured, *, plans: bool) -> None:
    slow = "  OVER THE LIMIT" if row.milliseconds >= row.limit else ""
    scans = f"  SEQUENTIAL SCAN of {', '.join(row.scans)}" if row.scans else ""
    print(f"{row.milliseconds:8.1f} ms  {row.name}{slow}{scans}", flush=True)
    if plans or not row.ok:
        for sql, plan in row.plans:
            if plans or slow or "Seq Scan" in plan:
                print(f"\n    {sql[:2000]}\n" + "".join(f"      {line}\n" for line in plan.splitlines()), flush=True)


if __name__ == "__main__":
    main()
