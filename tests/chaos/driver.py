"""Runs the whole portal as real processes, breaks it on a timetable, and asks at the end whether anything is amiss."""

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import django
from cryptography.fernet import Fernet

from launcher.programs import portal_programs
from sandbox.navigatr import LEDGER_LENGTH
from tests import services

from .plan import (
    ALL_THE_TIME,
    COURSES,
    FIRST_BADGE,
    FIRST_OTHER_BADGE,
    PROVIDER,
    TIMEOUT_SECONDS,
    Event,
    Plan,
    draw,
)
from .servers import ROOT, SLOW_SECONDS, Postgres, Process, Valkey

CONNECTION, SITE = "College", "Moodle"
# The portal's own waits, shortened so that a run sees many of them end.
WAITS = {
    "RETRY_FIRST_SECONDS": "1",
    "RETRY_FACTOR": "2",
    "RETRY_LONGEST_SECONDS": "8",
    "LEASE_SECONDS": "10",
    "CIRCUIT_FIRST_PAUSE_SECONDS": "2",
    "CIRCUIT_LONGEST_PAUSE_SECONDS": "8",
    "SEND_THREADS": "8",
    "SEND_BATCH": "100",
}
POLL_SECONDS = 2
TICK_SECONDS = 1
"""How often the beats start a poll and a round of sending."""
TURN_SECONDS = 0.1
LOOK_SECONDS = 2.0
MOST_TRIES, RETRY_SECONDS = 60, 1.0
# However busy the machine is: what has not settled by then hangs.
LONGEST_SETTLING = 420
LISTENING_SECONDS = 5.0
DAY = 86_400


class Amiss(Exception):
    """The run itself went wrong, or did not come to an end; the message says how."""


def run(plan: Plan, *, logs: Path | None = None) -> int:
    """One run, with everything that it started gone at the end. Returns the exit code."""
    print(f"seed {plan.seed}: {plan.completions} completions over {plan.seconds:.0f} s", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-chaos-")))
        if logs is None:
            logs = folder
        logs.mkdir(exist_ok=True)
        try:
            return _Driver(plan, folder, logs.absolute(), stack).run()
        except Amiss as error:
            print(f"seed {plan.seed}: {error}", file=sys.stderr)
            return 1


class _Driver:
    """Holds everything that runs, and walks through the timetable."""

    def __init__(self, plan: Plan, folder: Path, logs: Path, stack: ExitStack) -> None:
        self.plan = plan
        self.timetable = draw(plan)
        self.logs = logs
        self.counts: Counter[str] = Counter()
        self.owed: dict[tuple[int, int], float] = {}
        self.erased: set[int] = set()
        self.switched_on: dict[str, str] = {}
        self.waiting: list[tuple[float, int, Event]] = []
        self.database, self.broker = Postgres(logs), Valkey(folder, logs)
        stack.callback(self.database.remove)
        stack.callback(self.broker.stop)
        sandbox_port, self.port = services.free_port(), services.free_port()
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        os.environ |= WAITS | {
            "PORTAL_DATA_DIR": str(folder),
            "SECRET_KEY": "only-for-chaos-" + "x" * 50,
            "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "DIGEST_KEYS": Fernet.generate_key().decode(),
            "DATABASE_URL": self.database.url,
            "CELERY_BROKER_URL": self.broker.url,
            "NAVIGATR_STAGING_URL": f"{self.sandbox_url}/navigatr/v1",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ALLOWED_HOSTS": "127.0.0.1,testserver",
            "DEBUG": "false",
        }
        command = [sys.executable, "-m", "sandbox", "--port", str(sandbox_port), "--quiet", "--empty"]
        self.sandbox = self._process("sandbox", command)
        programs = {
            program.name: [*program.command]
            for program in portal_programs(
                data=folder, bind="127.0.0.1", port=self.port, sandbox_port=None, broker=None, admin="admin"
            )
        }
        names = ("web", "worker", "worker", "beat", "beat")
        self.programs = [
            self._process(f"{name}-{number}", programs[name]) for number, name in enumerate(names, start=1)
        ]
        for process in (self.sandbox, *self.programs):
            stack.callback(process.end)

    def _process(self, name: str, command: list[str]) -> Process:
        return Process(name, command, log=self.logs / f"{name}.log", environment=os.environ)

    # The story

    def run(self) -> int:
        """Set up, break things, let it settle, and tell."""
        started = time.monotonic()
        self._set_up()
        for process in self.programs:
            process.start()
        self._break_things()
        broken = time.monotonic()
        self._settle()
        self._see_a_page_again()
        self._listen_to_the_workers()
        settled = time.monotonic()
        return self._tell(broken - started, settled - broken)

    def _set_up(self) -> None:
        """A portal with every course mapped and its past read, before anything breaks but Navigatr's answers."""
        self.database.start()
        self.broker.start()
        self.sandbox.start()
        services.wait_until(self._sandbox_answers, what="the sandbox")
        self._set_up_database()
        logging.basicConfig(filename=self.logs / "driver.log")
        django.setup()
        from django.contrib.auth import get_user_model
        from django.test import Client
        from django_celery_beat.models import IntervalSchedule, PeriodicTask

        every, _ = IntervalSchedule.objects.get_or_create(every=TICK_SECONDS, period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.filter(task__in=["badging.tasks.poll_due", "badging.tasks.send_sweep"]).update(
            interval=every
        )
        browser = Client()
        browser.force_login(get_user_model().objects.get(username="admin"))
        self.cookie = f"sessionid={browser.cookies['sessionid'].value}"
        self.info = self._ask("info")
        self.reconnect()
        arguments = ("--name", SITE, "--url", self.info["moodle_url"], "--token-stdin", "--poll-seconds", POLL_SECONDS)
        self._call_command("connect_moodle", *map(str, arguments), stdin=self.info["moodle_token"])
        self.courses = [
            self._control("moodle/add_course", shortname=f"C{number}", fullname=f"Course {number}")
            for number in range(COURSES)
        ]
        self.learners: list[int] = self._control("moodle/add_learners", number=self.timetable.learners)
        past = time.time() - 10 * DAY
        self.complete(self.timetable.past, at=past)
        for fault in ALL_THE_TIME:
            self._control("faults", **fault)
        for number in range(COURSES):
            self._map(number, FIRST_BADGE + number, "--include-past")

    def _break_things(self) -> None:
        """Walk through the timetable; what cannot be done while something is down is tried again."""
        start = time.monotonic()
        self.waiting = [(start + event.at, 0, event) for event in self.timetable.events]
        last_look = 0.0
        while self.waiting:
            time.sleep(TURN_SECONDS)
            now = time.monotonic()
            due = [entry for entry in self.waiting if entry[0] <= now]
            self.waiting = [entry for entry in self.waiting if entry[0] > now]
            for _at, tries, event in due:
                self._do(event, tries)
            self._restart_what_ended()
            if now - last_look >= LOOK_SECONDS:
                last_look = now
                self._look_at_a_page()

    def _do(self, event: Event, tries: int) -> None:
        from django.core.management import CommandError
        from django.db import InterfaceError, OperationalError, close_old_connections

        close_old_connections()
        try:
            getattr(self, event.name)(*event.arguments)
        except (CommandError, OperationalError, InterfaceError) as error:
            # A person would try again as well, once the database or Navigatr is back.
            if tries >= MOST_TRIES:
                raise Amiss(f"{event.name} failed {tries} times: {type(error).__name__}: {error}") from error
            self.waiting.append((time.monotonic() + RETRY_SECONDS, tries + 1, event))
        else:
            self.counts[event.name] += 1

    def _restart_what_ended(self) -> None:
        for process in self.programs:
            if not process.running:
                self.counts[f"{process.name} ended by itself"] += 1
                process.end()
                process.start()
        if not self.sandbox.running:
            raise Amiss("the sandbox ended by itself")

    def _settle(self) -> None:
        """Wait until nothing waits. Faults that any call may meet stay on."""
        from django.db import InterfaceError, OperationalError, close_old_connections

        until = time.monotonic() + LONGEST_SETTLING
        last_seen = 0.0
        while True:
            time.sleep(TURN_SECONDS)
            self._restart_what_ended()
            if time.monotonic() - last_seen < LOOK_SECONDS:
                continue
            last_seen = time.monotonic()
            close_old_connections()
            try:
                hanging = self._hanging()
            except (OperationalError, InterfaceError) as error:
                hanging = f"the database cannot be asked ({type(error).__name__})"
            if not hanging:
                return
            if time.monotonic() > until:
                raise Amiss(f"not settled after {LONGEST_SETTLING:.0f} s: {hanging}; {self.database.under_way()}")

    def _hanging(self) -> str:
        """What is not at its end yet, or ""."""
        from django.utils import timezone

        from badging.models import Issuance, NavigatrConnection
        from badging.status import status

        if NavigatrConnection.objects.exclude(state=NavigatrConnection.State.ACTIVE).exists():
            # A call that was refused in the window may be told of after the first reconnecting.
            self.reconnect()
        known = set(Issuance.objects.values_list("course__moodle_id", "learner__moodle_id"))
        unknown = [pair for pair in self.owed if pair not in known and pair[1] not in self.erased]
        open_states = [Issuance.State.QUEUED, Issuance.State.SENDING, Issuance.State.HELD]
        left = Issuance.objects.filter(state__in=open_states)
        if not unknown and not left.exists():
            return ""
        examples = [(row.pk, row.state, row.reason, row.failures, row.next_attempt_at) for row in left[:5]]
        return f"{len(unknown)} completion(s) not read; {json.dumps(status(timezone.now()), default=str)}; {examples}"

    # What the timetable asks for

    def complete(self, pairs: list[tuple[int, int]], at: float | None = None) -> None:
        """These learners complete these courses, now or at that time."""
        by_course = defaultdict(list)
        for course, learner in pairs:
            by_course[self.courses[course]].append(self.learners[learner])
        for course, learners in by_course.items():
            self._control("moodle/complete_many", course_id=course, user_ids=learners, at=at, grade=80)
            self.owed |= dict.fromkeys(((course, learner) for learner in learners), time.time())

    def kill(self, which: float) -> None:
        """Kill -9 of a worker, beat or web process."""
        process = self.programs[int(which * len(self.programs))]
        process.end()
        process.start()

    def flush_broker(self) -> None:
        """FLUSHALL."""
        with suppress(ConnectionError):
            self.broker.flush()

    def stop_broker(self) -> None:
        """Kill -9 of Valkey."""
        self.broker.stop()

    def start_broker(self) -> None:
        """And back."""
        self.broker.start()

    def stop_database(self) -> None:
        """Immediate stop of PostgreSQL."""
        self.database.stop()

    def start_database(self) -> None:
        """And back."""
        self.database.start()

    def switch_on(self, kind: str) -> None:
        """A fault that meets every call to Navigatr from now on."""
        self._control("faults", kind=kind, call="all")

    def switch_off(self, kind: str) -> None:
        """The end of it. The faults that are always on stay."""
        self._ask("faults", method="DELETE")
        for fault in ALL_THE_TIME:
            self._control("faults", **fault)

    def reconnect(self) -> None:
        """Connect Navigatr, or connect it again: what was held goes on."""
        arguments = ("--name", CONNECTION, "--environment", "staging", "--pat-stdin", "--timeout", TIMEOUT_SECONDS)
        self._call_command("connect_navigatr", *map(str, arguments), stdin=self.info["pat"])

    def map_anew(self, course: int) -> None:
        """The course awards another badge from now on. A person who finds the connection paused reconnects it first."""
        from badging.models import NavigatrConnection

        if NavigatrConnection.objects.exclude(state=NavigatrConnection.State.ACTIVE).exists():
            self.reconnect()
        self._map(course, FIRST_OTHER_BADGE + course)

    def disable(self, course: int) -> None:
        """Switch the course's mapping off."""
        from badging import mapping

        mapping.disable_mapping(self._mapping(course))

    def enable(self, course: int) -> None:
        """Switch it on again."""
        from django.utils import timezone

        from badging import mapping

        mapping.enable_mapping(self._mapping(course), now=timezone.now())

    def change_address(self, learner: int) -> None:
        """The learner gets another e-mail address in Moodle."""
        number = self.learners[learner]
        self._control("moodle/set_email", user_id=number, email=f"learner{number}.renamed@example.org")

    def erase(self, learner: int) -> None:
        """The learner asks to be forgotten."""
        number = self.learners[learner]
        self._call_command("learner_erase", stdin=f"learner{number}@example.org\n")
        self.erased.add(number)

    def _mapping(self, course: int) -> Any:
        from badging.models import CourseBadgeMapping

        return CourseBadgeMapping.objects.get(course__moodle_id=self.courses[course])

    def _map(self, course: int, badge: int, *options: str) -> None:
        self._call_command(
            *("map_course", "--site", SITE, "--connection", CONNECTION, "--provider", str(PROVIDER)),
            *("--course", str(self.courses[course]), "--badge", str(badge), *options),
        )

    # Doors

    def _set_up_database(self) -> None:
        """`setup_portal`, as a process of its own: it makes what the others start with."""
        command = [sys.executable, "manage.py", "setup_portal"]
        with (self.logs / "commands.log").open("a") as log:
            subprocess.run(command, stdout=log, stderr=log, cwd=ROOT, check=True)

    def _call_command(self, *arguments: str, stdin: str = "") -> None:
        """One of the portal's commands. Raises CommandError."""
        from django.core.management import call_command

        with patch("sys.stdin", io.StringIO(stdin)):
            call_command(*arguments, stdout=io.StringIO(), stderr=io.StringIO())

    def _control(self, path: str, **arguments: Any) -> Any:
        return self._ask(path, method="POST", body=json.dumps(arguments).encode())

    def _ask(self, path: str, *, method: str = "GET", body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self.sandbox_url}/control/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["result"]

    def _sandbox_answers(self) -> bool:
        with suppress(urllib.error.URLError):
            self._ask("info")
            return True
        return False

    def _page(self) -> int:
        """Ask for the admin's list of issuances; returns the status, 0 without an answer."""
        url = f"http://127.0.0.1:{self.port}/admin/badging/issuance/"
        request = urllib.request.Request(url, headers={"Cookie": self.cookie})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _look_at_a_page(self) -> None:
        self.counts[f"page {self._page() or 'not there'}"] += 1

    def _see_a_page_again(self) -> None:
        """Pages recover by themselves, whatever died in between."""
        page = 0
        until = time.monotonic() + 30
        while (page := self._page()) != 200:
            if time.monotonic() > until:
                raise Amiss(f"the admin's pages did not come back: {page}")
            time.sleep(TURN_SECONDS)

    def _listen_to_the_workers(self) -> None:
        """With everything up and nothing due, no tick may fail any more: workers recover without a restart."""
        workers = [process for process in self.programs if process.name.startswith("worker")]
        heard = {process.name: process.log.stat().st_size for process in workers}
        time.sleep(LISTENING_SECONDS)
        for process in workers:
            failed = process.log.read_bytes()[heard[process.name] :].count(b"raised unexpected")
            if failed:
                raise Amiss(f"{process.name} has not recovered: {failed} tasks failed after all was settled")

    # The end

    def _tell(self, breaking: float, settling: float) -> int:
        """Print the table; returns the exit code."""
        from .verdict import compare

        course_of_badge = {
            first + n: self.courses[n] for first in (FIRST_BADGE, FIRST_OTHER_BADGE) for n in range(COURSES)
        }
        ledger = self._ask("navigatr/ledger")
        if len(ledger) >= LEDGER_LENGTH:
            raise Amiss("the sandbox's ledger is full, so it no longer tells every call")
        verdict = compare(
            owed=self.owed,
            erased=self.erased,
            course_of_badge=course_of_badge,
            assertions=self._ask("navigatr/assertions"),
            ledger=ledger,
        )
        for line in verdict.wrong:
            print(line)
        slow = self.database.slow_statements()
        failed = self.counts["page 500"]
        happened = ", ".join(f"{count} × {name}" for name, count in sorted(self.counts.items()) if name != "complete")
        print(f"happened: {happened}")
        for title, value in (
            ("seed", self.plan.seed),
            ("completions", verdict.completions),
            ("badges", verdict.badges),
            ("issue calls", verdict.calls),
            ("all calls", len(ledger)),
            ("learners erased", len(self.erased)),
            ("lost", verdict.lost),
            ("doubled", verdict.doubled),
            ("audit rows missing", verdict.audit_missing),
            ("status off by", verdict.off_by),
            (f"statements over {SLOW_SECONDS} s", len(slow)),
            ("pages that failed", failed),
            ("longest delay", f"{verdict.longest_delay:.1f} s"),
            ("duration", f"{breaking:.0f} s and {settling:.0f} s until all was settled"),
        ):
            print(f"{title:<22}{value}")
        print(*slow, sep="\n", end="" if not slow else "\n")
        return 0 if verdict.passed and not slow and not failed else 1
