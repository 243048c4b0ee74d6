"""How long a person waits for the pages of the admin, with a million issuances on PostgreSQL.

    python -m benchmarks.admin [--issuances 1000000] [--rounds 20] [--only issuance]

Fills a fresh database, starts the web server, and asks it over HTTP as a signed-in superuser: every page of the admin
whose address takes no value (the dashboard and every list among them, whoever adds one), each list's second page, some
choices of each of its filters, and each search by POST with the page that it leads to. Then the course managers' pages,
of which the size counts too. Nothing is listed here: addresses come from the URL configuration, filters from the lists,
and searches from the forms of the pages.

For each page: the 50th and 95th percentile in milliseconds, how often as long as the sign-in page, the processor time
of the web server and of the database, which other work on the machine changes little, and kilobytes. Over a limit the
exit code is 1, and the slowest queries of such a page are printed.
"""

import argparse
import http.client
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from . import load, running, stage

LIMIT_MS = 200
# Of the course managers' pages.
LIMIT_KB = 60
COURSES, LEARNERS = 2_000, 100_000
AUDIT_ENTRIES = 500_000
# Of each filter: the first choices and the last one.
CHOICES = 6
# Somebody, all who have a first name, a number, nobody, a course.
WORDS = ("learner4711@example.org", "First47", "First47 Last47", "4711", "nobody at all", "Course 1")
SIGN_IN = "/sign-in/"
# A token of one's own making: form and cookie must only be the same.
TOKEN = "x" * 32


@dataclass(frozen=True)
class Question:
    """An address, and what is posted to it."""

    path: str
    words: str = ""
    posted: dict[str, str] = field(default_factory=dict)
    # Of the course managers' pages, which must be small as well.
    courses: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return f"{self.path} for {self.words}" if self.words else self.path


@dataclass(frozen=True)
class Measured:
    """A question and what it took."""

    question: Question
    times: list[float]
    web: float
    database: float
    kilobytes: float
    status: int

    @property
    def p95(self) -> float:
        """Nearly the longest, in milliseconds."""
        return statistics.quantiles(self.times, n=20, method="inclusive")[18]

    @property
    def ok(self) -> bool:
        """Whether it is within the limits."""
        too_big = self.question.courses and self.kilobytes >= LIMIT_KB
        return self.status == 200 and self.p95 < LIMIT_MS and not too_big


class SearchForms(HTMLParser):
    """The forms of a page that search by POST: where they lead, and what they send besides the words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._form: tuple[str, dict[str, str]] | None = None
        self._searches = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A form begins, or a field of it."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._searches = False
            self._form = (values.get("action", ""), {}) if values.get("method", "").lower() == "post" else None
        elif tag == "input" and self._form is not None:
            self._searches |= values.get("name") == "q"
            if values.get("type") == "hidden":
                self._form[1][values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """A form ends."""
        if tag == "form" and self._form is not None and self._searches:
            self.found.append(self._form)
        if tag == "form":
            self._form = None


class Browser:
    """One connection to the web server, signed in."""

    def __init__(self, port: int, session: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Cookie": f"sessionid={session}; csrftoken={TOKEN}"}

    def ask(self, question: Question) -> tuple[int, str]:
        """The status and the page, after at most one redirect of a search."""
        if not question.words:
            return self._send("GET", question.path, None)[:2]
        body = urlencode(question.posted | {"q": question.words, "csrfmiddlewaretoken": TOKEN})
        status, page, location = self._send("POST", question.path, body)
        return self._send("GET", urljoin(question.path, location), None)[:2] if location else (status, page)

    def _send(self, method: str, path: str, body: str | None) -> tuple[int, str, str]:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        self._connection.request(method, path, body, self._headers | form)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Location", "")


def main() -> None:
    """Fill a database, ask for every page, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--issuances", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="ask only for addresses with this text")
    options = parser.parse_args()
    with stage.environment("postgres", {"navigatr_url": "http://127.0.0.1:9"}) as variables:
        os.environ.update(variables)
        stage.run([sys.executable, "manage.py", "collectstatic", "--no-input", "-v", "0"], variables)
        stage.run([sys.executable, "manage.py", "createcachetable"], variables)
        import django

        django.setup()
        scale = options.issuances / 1_000_000
        load.fill(options.issuances, learners=max(10, round(LEARNERS * scale)), courses=max(12, round(COURSES * scale)))
        _fill_audit(round(AUDIT_ENTRIES * scale))
        with running.web(variables) as (port, pid):
            server = Server(port, pid, _postmaster())
            measured = list(_measure_all(server, options.rounds, options.only))
        code = _tell(measured)
    sys.exit(code)


def _fill_audit(count: int) -> None:
    """Audit entries of several kinds, most of them sign-ins."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO badging_auditentry (at, actor_id, actor_name, action, subject, details)"
            " SELECT now() - n * interval '1 minute', u.id, u.username,"
            " (ARRAY['signed_in', 'signed_out', 'sign_in_failed', 'mapping_changed', 'sent_again'])[1 + n %% 5],"
            " 'C' || n %% 2000, '{}' FROM generate_series(1, %s) n JOIN auth_user u ON u.username = 'admin'",
            [count],
        )
        cursor.execute("VACUUM ANALYZE badging_auditentry")


def _postmaster() -> int:
    """The process id of PostgreSQL, which all its other processes come from."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    return running.parent(backend)


@dataclass(frozen=True)
class Server:
    """The processes that answer: the web server's, and PostgreSQL's first one."""

    port: int
    web: int
    database: int

    def browser(self, username: str) -> Browser:
        """Of that user; of nobody without a name."""
        return Browser(self.port, str(load.client_of(username).cookies["sessionid"].value) if username else "nobody")

    def processor(self) -> tuple[float, float]:
        """The processor time of both so far, in milliseconds."""
        return running.cpu_seconds(self.web) * 1000, running.family_cpu_seconds(self.database) * 1000


def _measure_all(server: Server, rounds: int, only: str) -> Iterator[Measured]:
    nobody, admin, manager = (server.browser(name) for name in ("", "admin", "manager"))
    first = _measure(server, nobody, Question(SIGN_IN), rounds, 0)
    yield first
    base = statistics.median(first.times)
    for browser, questions in ((admin, _of_admin(admin)), (manager, _of_managers(manager))):
        # All are found first, because measuring must not change what there is.
        for question in [question for question in questions if only in question.path]:
            yield _measure(server, browser, question, rounds, base)
    # The server has closed the first one's connection meanwhile.
    yield _measure(server, server.browser(""), Question(SIGN_IN), rounds, base)


def _measure(server: Server, browser: Browser, question: Question, rounds: int, base: float) -> Measured:
    # The first time code and templates are loaded.
    status, page = browser.ask(question)
    times = []
    web, database = server.processor()
    for _round in range(rounds):
        started = time.perf_counter()
        browser.ask(question)
        times.append((time.perf_counter() - started) * 1000)
    web_after, database_after = server.processor()
    took = (web_after - web) / rounds, (database_after - database) / rounds
    row = Measured(question, times, *took, len(page.encode()) / 1000, status)
    _print(row, base)
    return row


def _print(row: Measured, base: float) -> None:
    p50 = statistics.median(row.times)
    ratio = f"{p50 / base:6.1f}x" if base else " " * 7
    mark = "" if row.ok else f"  ANSWERS {row.status}" if row.status != 200 else "  OVER THE LIMIT"
    print(
        f"{p50:8.1f} {row.p95:8.1f} ms {ratio}  {row.web:5.0f} + {row.database:4.0f} ms {row.kilobytes:7.1f} kB"
        f"  {row.question.name}{mark}",
        flush=True,
    )


def _of_admin(browser: Browser) -> Iterator[Question]:
    """Every page of the admin that takes no value, and what its filters and search forms lead to."""
    lists = _filters()
    for path in _addresses("/admin/"):
        status, page = browser.ask(Question(path))
        if status != 200:
            print(f"{path} answers {status}: not measured", flush=True)
            continue
        yield Question(path)
        for query in lists.get(path, ()):
            yield Question(path + query)
        forms = SearchForms()
        forms.feed(page)
        for action, posted in forms.found:
            yield from (Question(urlsplit(urljoin(path, action)).path, words, posted) for words in WORDS)


def _of_managers(browser: Browser) -> Iterator[Question]:
    """The pages of courses that take no value, and those of the biggest course, with their choices."""
    from badging.models import Issuance
    from moodle_sync.models import Course

    big = Course.objects.get(moodle_id=1)
    middle = Issuance.objects.filter(course=big).order_by("pk")[100].pk
    paths = [path for path in _addresses("/") if not path.startswith("/admin/") and path.count("/") == 2]
    paths += ["/courses/?q=course+1", "/courses/?badge=yes", "/courses/?badge=no", f"/courses/{big.pk}/"]
    paths += [f"/courses/{big.pk}/?before={middle}", f"/courses/{big.pk}/badge/remove/"]
    paths += [f"/courses/{big.pk}/?state={state}" for state in Issuance.State.values]
    paths += [f"/courses/{big.pk}/issuances/{middle}/"]
    for path in paths:
        status, page = browser.ask(Question(path))
        if status != 200:
            print(f"{path} answers {status}: not measured", flush=True)
            continue
        yield Question(path, courses=True)
        forms = SearchForms()
        forms.feed(page)
        for action, posted in forms.found:
            to = urlsplit(urljoin(path, action)).path
            yield from (Question(to, words, posted, courses=True) for words in WORDS)


def _addresses(prefix: str) -> list[str]:
    """The addresses of the URL configuration that take no value."""
    from tests.access.addresses import every_address

    return [path for address in every_address() if "<" not in address and (path := f"/{address}").startswith(prefix)]


def _filters() -> dict[str, list[str]]:
    """For each list of the admin: queries for its second page, and for choices of each filter."""
    from django.conf import settings
    from django.contrib import admin
    from django.contrib.auth import get_user_model
    from django.test import RequestFactory
    from django.urls import reverse

    found = {}
    for model, model_admin in admin.site._registry.items():
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        request = RequestFactory().get(path)
        request.user = get_user_model().objects.get(username="admin")
        request.session = import_module(settings.SESSION_ENGINE).SessionStore()
        listing = model_admin.get_changelist_instance(request)
        found[path] = ["?p=2"] if listing.multi_page else []
        for spec in listing.filter_specs:
            queries = [query for choice in spec.choices(listing) for query in _queries(listing, choice)]
            found[path] += dict.fromkeys([*queries[:CHOICES], *queries[-1:]])
    return found


def _queries(listing: Any, choice: Any) -> Iterator[str]:
    """What one choice of a filter leads to: a link, or what a form of drop-downs, dates and texts would send."""
    from django import forms

    if "form" not in choice:
        if not choice["selected"]:
            yield choice["query_string"]
        return
    for name, typed in choice["form"].fields.items():
        if isinstance(typed, forms.ModelChoiceField):
            rows: Any = typed.queryset
            values = [row.pk for row in rows[:CHOICES]]
        elif isinstance(typed, forms.ChoiceField):
            choices: Any = typed.choices
            values = [value for value, _label in choices if value]
        else:
            values = ["2026-11-01"] if "date" in type(typed).__name__.lower() else ["47"]
        yield from (listing.get_query_string({name: value}) for value in values)


def _tell(measured: list[Measured]) -> int:
    """The sum of it, and the slowest queries of what is too slow; returns the exit code."""
    slow = [row for row in measured if not row.ok]
    for row in slow:
        _print_queries(row.question)
    longest = max(measured, key=lambda row: row.p95)
    print(f"{len(measured)} pages; the longest p95 is {longest.p95:.0f} ms: {longest.question.name}")
    return 1 if slow else 0


def _print_queries(question: Question) -> None:
    """The slowest queries of a page, asked for in this process."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = load.client_of("manager" if question.courses else "admin")
    with CaptureQueriesContext(connection) as captured:
        if question.words:
            client.post(question.path, question.posted | {"q": question.words}, follow=True)
        else:
            client.get(question.path)
    queries = sorted(captured.captured_queries, key=lambda query: -float(query["time"]))
    print(f"\n{question.name}: {len(queries)} queries")
    for query in queries[:3]:
        print(f"    {query['time']} s  {query['sql'][:1500]}", flush=True)


if __name__ == "__main__":
    main()
