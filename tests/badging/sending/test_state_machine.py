"""Whatever happens in whatever order, each learner gets each badge once, and what does not arrive says why.

Hypothesis plays Moodle, Navigatr, the people at the portal, workers that die, and the clock, over the real verbs and
real HTTP. After each step the portal's tables are compared with the sandbox's ledger; at the end all is healed, and
then nothing may wait. Each database plays stories of its own. PORTAL_LONG=1 plays longer, and differently each time.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection as database
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, invariant, precondition, rule
from pytest_django.fixtures import Settings

from badging import by_hand, connections, mapping, privacy
from badging.meanings import HELD_BY_MOODLE, Outcome
from badging.models import (
    ENDED_IN_FAILURE,
    CourseBadgeMapping,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    NavigatrConnection,
)
from badging.polling import site_poll
from badging.sending import rounds, sweeping
from badging.status import status
from badging.transitions import TABLE
from moodle_sync.models import Completion, Learner
from navigatr_client import NavigatrTokenRefused, Provider
from sandbox import Sandbox
from sandbox.navigatr import Entry
from tests.builders import digest_of, make_connection, make_course, make_site, navigatr_badge
from tests.worker import Worker, attempts

State = Issuance.State
Kind = IssuanceAttempt.Kind

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MINUTE, HOUR, WEEK_AND_A_DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=8)
A_DAY_AND_MORE = timedelta(hours=30)

LONG = os.environ.get("PORTAL_LONG") == "1"
# Each is a test of its own, so that they can run at the same time.
SEEDS = range(5 if LONG else 1)
PROFILE = settings(
    max_examples=80 if LONG else 3,
    stateful_step_count=60 if LONG else 40,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# The sandbox's first provider and two of its badges, by environment; ids of the two environments lie apart.
PROVIDERS = {"staging": 11, "production": 7011}
FIRST_OF_PRODUCTION = 7000
BADGES = (100, 101)
CONNECTIONS = {"first": "staging", "second": "staging", "live": "production"}

# An account is known by its last name, whatever its address; addresses may be shared, differ in case, or be missing.
MOST_PEOPLE = 8
PEOPLE = ("Adams", "Baker", "Clark")
ADDRESSES = ("adams@example.org", "shared@example.org", "Shared@Example.org", "new@example.org")
FIRST_ADDRESSES = (ADDRESSES[0], ADDRESSES[1], ADDRESSES[2])
COURSES = (0, 1)

PASSING_FAULTS = ["500_before", "500_after", "drop_before", "drop_after", "html_before", "html_after", "503", "429"]
REFUSALS = {
    "202": (State.NOT_MET, Outcome.NOT_MET),
    "400": (State.FAILED, Outcome.BAD_SOURCE),
    "403": (State.FAILED, Outcome.FORBIDDEN),
    "404": (State.FAILED, Outcome.NOT_FOUND),
    "422": (State.FAILED, Outcome.UNPUBLISHED),
}
FAULTS = [*PASSING_FAULTS, *REFUSALS, "401", "refuse"]

courses = st.sampled_from(COURSES)
people = st.integers(0, MOST_PEOPLE - 1)
names = st.sampled_from(list(CONNECTIONS))
scores = st.sampled_from([None, 40, 80])


def reachable(state: State) -> set[State]:
    """The states that some events after one another lead to."""
    found = {state}
    while (more := {row.target for row in TABLE.values() if row.sources & found} | found) != found:
        found = more
    return found


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that ticks and can be moved on; the sandbox and the portal both live by it."""
    with time_machine.travel(START, tick=True) as traveller:
        yield traveller


class Story(RuleBasedStateMachine):
    """One run: what may happen, what must hold after each step, and how it must end."""

    sandbox: Sandbox
    clock: time_machine.Traveller

    def __init__(self) -> None:
        super().__init__()
        sandbox = self.sandbox
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.clock.move_to(START)
        sandbox.reset()
        sandbox.navigatr.pat, sandbox.production.pat = "staging-token", "production-token"
        self.navigatr = {"staging": sandbox.navigatr, "production": sandbox.production}
        moodle = sandbox.moodle
        self.site = make_site(url=sandbox.moodle_url, token=sandbox.moodle_token)
        self.courses = []
        for number in COURSES:
            moodle_id = moodle.add_course(f"C{number}", f"Course {number}")
            names = {"shortname": f"C{number}", "fullname": f"Course {number}"}
            self.courses.append(make_course(self.site, moodle_id=moodle_id, **names))
        self.people = {
            name: moodle.add_learner("Ana", name, address)
            for name, address in zip(PEOPLE, FIRST_ADDRESSES, strict=True)
        }
        for name, environment in CONNECTIONS.items():
            make_connection(name=name, environment=environment, pat=self.navigatr[environment].pat)
        # Those that hold something. Only the living ask Navigatr, and only once.
        self.workers: list[Worker] = []
        self.have_asked: set[Worker] = set()
        self.trail: list[Any] = []
        self.states: dict[int, str] = {}
        # How many issue calls there may ever be for those who have been erased.
        self.last_calls: dict[str, int] = {}
        for number in COURSES:
            self.map(number, "first", BADGES[0], None, past=False)
        for number, person in ((0, 0), (1, 0), (0, 1), (1, 2)):
            self.completes(number, person, 80, polls=True)

    # Moodle

    @rule(course=courses, person=people, score=scores, polls=st.booleans(), resets=st.booleans())
    def completes(self, course: int, person: int, score: int | None, polls: bool, resets: bool = True) -> None:
        """For the first time, or once more after a reset, or only with another score."""
        moodle_id = self.courses[course].moodle_id
        if self.is_gone(person):
            return
        if resets:
            self.sandbox.moodle.uncomplete(moodle_id, self.moodle_id(person))
        self.sandbox.moodle.set_grade(moodle_id, self.moodle_id(person), score)
        self.sandbox.moodle.complete(moodle_id, self.moodle_id(person))
        if polls:
            self.poll()

    @rule(course=courses, person=people, polls=st.booleans())
    def is_undone(self, course: int, person: int, polls: bool) -> None:
        """A manager takes a completion back in Moodle."""
        self.sandbox.moodle.uncomplete(self.courses[course].moodle_id, self.moodle_id(person))
        if polls:
            self.poll()

    @rule(person=people, cleaned_up=st.booleans(), polls=st.booleans())
    def account_is_deleted(self, person: int, cleaned_up: bool, polls: bool) -> None:
        """The learner's account goes, for good."""
        if not self.is_gone(person):
            self.sandbox.moodle.delete_user(self.moodle_id(person), cleaned_up=cleaned_up)
        if polls:
            self.poll()

    @precondition(lambda self: len(self.people) < MOST_PEOPLE)
    @rule(course=courses, address=st.sampled_from(["", "", *ADDRESSES]), score=scores)
    def somebody_new_completes(self, course: int, address: str, score: int | None) -> None:
        """With an address of their own, or as the second account of a person who is known already."""
        name = f"Number{len(self.people)}"
        self.people[name] = self.sandbox.moodle.add_learner("Ana", name, address or f"{name}@example.org")
        self.completes(course, len(self.people) - 1, score, polls=True)

    @rule(person=people, firstname=st.sampled_from(["", "Ana"]), address=st.sampled_from(["", *ADDRESSES]))
    def changes_profile(self, person: int, firstname: str, address: str) -> None:
        """Perhaps so that it is incomplete, or that two accounts share an address."""
        if self.is_gone(person):
            return
        self.sandbox.moodle.set_name(self.moodle_id(person), firstname, self.name(person))
        self.sandbox.moodle.set_email(self.moodle_id(person), address)

    # Navigatr

    @rule(which=people, fault=st.sampled_from(FAULTS), times=st.integers(1, 2), sends=st.booleans())
    def next_call_meets(self, which: int, fault: str, times: int, sends: bool) -> None:
        """The next calls for one of those who wait, in either environment, perhaps at once."""
        waiting = Issuance.objects.filter(state__in=[State.QUEUED, State.HELD], learner__erased_at=None).order_by("-pk")
        addresses = list(waiting.values_list("learner__email", flat=True))
        if not addresses:
            return
        address = addresses[which % len(addresses)]
        for side in ("navigatr", "navigatr-production"):
            self.sandbox.faults.plan(address, fault, times=times, side=side, retry_after=30)
        if sends:
            rounds.send_all_due()

    @rule(fault=st.sampled_from(["503", "429", "html_before"]), times=st.integers(1, 3))
    def next_look_up_meets(self, fault: str, times: int) -> None:
        self.sandbox.faults.on(fault, call="lookup", count=times)

    @rule(environment=st.sampled_from(list(PROVIDERS)), assertion=st.none() | st.integers(0, 9))
    def is_revoked(self, environment: str, assertion: int | None) -> None:
        """The token, or a badge that somebody has got."""
        navigatr = self.navigatr[environment]
        if assertion is None:
            navigatr.pat = f"{navigatr.pat}+"
        elif assertions := list(navigatr.assertions):
            navigatr.revoke(assertions[assertion % len(assertions)])

    # The portal at work

    @rule()
    def poll(self) -> None:
        result = site_poll.poll_and_queue(self.site, now=timezone.now())
        assert (result.error, result.problems, result.busy) == ("", [], False)

    @rule(which=st.integers(0, 2))
    def send(self, which: int) -> None:
        """One whole round of one worker, without a sweep before it."""
        if due := rounds.due_connections(timezone.now()):
            rounds.send_due(due[which % len(due)])

    @rule()
    def send_all(self) -> None:
        rounds.send_all_due()

    @rule()
    def sweep(self) -> None:
        sweeping.sweep(now=timezone.now())

    @rule(which=st.integers(0, 2), limit=st.integers(1, 4), asks=st.booleans())
    def worker_takes(self, which: int, limit: int, asks: bool) -> None:
        """What it takes is in its hands, and the payload made, until it asks, settles or dies."""
        now = timezone.now()
        due = rounds.due_connections(now)
        if not due:
            return
        worker = Worker(due[which % len(due)]).claim(limit=limit, now=now)
        if worker.rows:
            self.workers.append(worker)
            if asks:
                self.asks(worker)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 3), dies=st.sampled_from([False, False, True]), pauses=st.booleans())
    def worker_goes_on(self, which: int, dies: bool, pauses: bool) -> None:
        """Before it asks, or with answers in its hands; dying leaves them to nobody."""
        worker = self.workers[which % len(self.workers)]
        if dies:
            self.workers.remove(worker)
        elif worker not in self.have_asked:
            self.asks(worker)
        else:
            self.workers.remove(worker)
            self.settles(worker, pauses)

    def asks(self, worker: Worker) -> None:
        """Nothing is asked on a lease that has run out: a living worker renews it."""
        self.have_asked.add(worker)
        if worker.lease_has_run_out():
            return
        try:
            worker.ask()
        except NavigatrTokenRefused:
            return
        for row in worker.to_send:
            if row.learner.lastname in self.last_calls:
                self.last_calls[row.learner.lastname] += 1

    def settles(self, worker: Worker, pauses: bool) -> None:
        """At once or when somebody else has long taken over. It may die before it pauses a refused connection."""
        now = timezone.now()
        worker.write(now=now)
        if pauses and worker.token_was_refused():
            connections.pause(worker.connection, asked_at=now, now=now)

    @rule(passing=st.sampled_from([MINUTE, MINUTE, HOUR, HOUR, WEEK_AND_A_DAY]), sends=st.booleans())
    def time_passes(self, passing: timedelta, sends: bool) -> None:
        self.clock.shift(passing)
        if sends:
            rounds.send_all_due()

    # People at the portal

    @rule(
        course=courses,
        name=names,
        badge=st.sampled_from(BADGES),
        least=st.sampled_from([None, None, 50]),
        past=st.booleans(),
    )
    def map(self, course: int, name: str, badge: int, least: int | None, past: bool) -> None:
        """For the first time, anew after a removal, or as something else."""
        connection = self.connection(name)
        if connection.state == NavigatrConnection.State.REMOVED:
            return
        provider = PROVIDERS[connection.environment]
        number = provider + badge
        mapping.save_mapping(
            course=self.courses[course],
            connection=connection,
            provider=Provider(provider, "College"),
            badge=navigatr_badge(number, provider),
            min_score=least,
            include_past=past,
            now=timezone.now(),
        )

    @rule(course=courses, how=st.sampled_from(["off", "on", "on", "removed"]))
    def switches_mapping(self, course: int, how: str) -> None:
        for row in CourseBadgeMapping.objects.filter(course=self.courses[course]):
            if how == "removed":
                mapping.remove_mapping(row)
            elif how == "off":
                mapping.disable_mapping(row)
            else:
                mapping.enable_mapping(row, now=timezone.now())

    @rule(name=names, enable_mappings=st.booleans())
    def reconnects(self, name: str, enable_mappings: bool) -> None:
        connection = self.connection(name)
        connection.pat = self.navigatr[connection.environment].pat
        tested = connections.try_out(connection)
        assert tested.ok
        connections.save_tested(connection, tested, actor=None, now=timezone.now(), enable_mappings=enable_mappings)

    @rule(name=names, removes=st.booleans())
    def retests(self, name: str, removes: bool) -> None:
        """By hand or by the daily checks; or the connection is removed."""
        connection = self.connection(name)
        if removes:
            connections.remove(connection, actor=None, now=timezone.now())
        elif connection.state != NavigatrConnection.State.REMOVED:
            connections.retest(connection, actor=None, now=timezone.now())

    @rule(person=people)
    def sends_again(self, person: int) -> None:
        by_hand.send_again(self.issuances_of(person), now=timezone.now())

    @rule(person=people, erases=st.sampled_from([False, False, True]))
    def cancels(self, person: int, erases: bool) -> None:
        """What waits, or all that there will ever be."""
        if not erases:
            by_hand.cancel(self.issuances_of(person))
        for learner in Learner.objects.filter(moodle_id=self.moodle_id(person)) if erases else ():
            name = self.name(person)
            self.last_calls.setdefault(name, len(self.calls_for(name)))
            privacy.erase_learner(learner, now=timezone.now())

    # What holds after each step

    def nobody_has_a_badge_twice(self) -> None:
        for environment, navigatr in self.navigatr.items():
            standing = [row for row in navigatr.assertions.values() if row.status != "Revoked"]
            people = Counter((row.badge_id, row.recipient_lastname) for row in standing)
            # Whoever has been erased is forgotten: their address may be somebody else's.
            addresses = Counter(
                (row.badge_id, row.recipient_email.casefold())
                for row in standing
                if row.recipient_lastname not in self.last_calls
            )
            twice = [key for counted in (people, addresses) for key, number in counted.items() if number > 1]
            assert twice == [], environment

    def rows_are_one_each_and_add_up(self) -> None:
        rows = list(Issuance.objects.all())
        assert len({(row.course_id, row.learner_id, row.environment) for row in rows}) == len(rows)
        counted = status(timezone.now())
        assert counted["issuances"] == {state.value: sum(row.standing == state for row in rows) for state in State}
        assert counted["owed"] == len(rows)
        for row in rows:
            assert (row.state == State.SENDING) == (row.claim is not None) == (row.leased_until is not None)
            assert row.state in (State.QUEUED, State.SENDING) or row.next_attempt_at is None

    def what_is_issued_stands_in_navigatr_as_that_badge(self) -> None:
        found = set()
        issued = Issuance.objects.filter(state=State.ISSUED)
        for row in issued.filter(learner__erased_at__isnull=False):
            # Nothing leads from an erased person to their badge.
            assert (row.assertion_id, row.assertion_url, row.score_tried, row.reason) == ("", "", None, Outcome.ERASED)
        for row in issued.filter(learner__erased_at=None).select_related("learner", "completion"):
            assertion = self.navigatr[row.environment].assertions[int(row.assertion_id)]
            assert assertion.badge_id == row.badge_id
            # However often the course was completed again since.
            assert datetime.fromisoformat(assertion.issue_date) == row.completion.completed_at.replace(microsecond=0)
            assert digest_of(assertion.recipient_email) == row.recipient_key
            assert row.assertion_id not in found
            found.add(row.assertion_id)

    def the_environments_never_meet(self) -> None:
        for environment, navigatr in self.navigatr.items():
            for entry in navigatr.puts:
                ids = (int(entry.path.split("/")[2]), entry.body["provider_id"])
                assert all((number >= FIRST_OF_PRODUCTION) == (environment == "production") for number in ids)
        assert {
            row.environment == row.connection.environment for row in Issuance.objects.select_related("connection")
        } <= {True}

    def every_call_is_told(self) -> None:
        """An issue call whose worker has neither settled nor been swept is still in hand; all others have their row."""
        calls = Counter(
            (environment, int(entry.path.split("/")[2]), entry.body["recipient_lastname"])
            for environment, navigatr in self.navigatr.items()
            for entry in navigatr.puts
        )
        explained: Counter[tuple[str, int, str]] = Counter()
        owners = {moodle_id: name for name, moodle_id in self.people.items()}
        for attempt in IssuanceAttempt.objects.filter(kind=Kind.SEND).select_related("issuance__learner"):
            owner = owners[attempt.issuance.learner.moodle_id]
            explained[attempt.environment, attempt.badge_id, owner] += 1
        for row in Issuance.objects.filter(state=State.SENDING).select_related("learner"):
            explained[row.environment, row.badge_id, owners[row.learner.moodle_id]] += 1
        assert calls - explained == Counter()

    def nobody_is_sent_after_their_erasure(self) -> None:
        assert {person: len(self.calls_for(person)) for person in self.last_calls} == self.last_calls
        for row in Issuance.objects.filter(learner__erased_at__isnull=False).exclude(state=State.SENDING):
            assert row.state in (State.ISSUED, State.CANCELLED)
            assert (row.recipient_key, row.is_unknown) == ("", False)

    def attempts_only_grow(self) -> None:
        trail: list[Any] = list(IssuanceAttempt.objects.order_by("pk").values())
        assert trail[: len(self.trail)] == self.trail
        self.trail = trail

    def states_change_as_the_table_says(self) -> None:
        """By one event or several."""
        states = dict(Issuance.objects.values_list("pk", "state"))
        for pk, before in self.states.items():
            assert states[pk] in reachable(State(before)), (before, states[pk])
        self.states = states

    # How it ends

    def teardown(self) -> None:
        """Whatever has happened: when all is well again, nothing waits, and what was not issued says rightly why."""
        try:
            if sys.exc_info()[0] is None:
                self.heal()
                self.go_on_until_nothing_waits()
                self.check_end()
                by_hand.send_again(Issuance.objects.all(), now=timezone.now())
                self.go_on_until_nothing_waits()
                self.check_end(helped=True)
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    def heal(self) -> None:
        """Faults off, tokens good, mappings active, profiles complete; workers that hang are dead."""
        self.sandbox.faults.clear()
        self.workers.clear()
        for person, (name, moodle_id) in enumerate(self.people.items()):
            address = self.sandbox.moodle.users[moodle_id].email
            self.changes_profile(person, "Ana", address or f"{name}@example.org")
        for name in CONNECTIONS:
            self.reconnects(name, enable_mappings=True)
        for course in COURSES:
            self.switches_mapping(course, "on")

    def go_on_until_nothing_waits(self) -> None:
        """Polls and rounds, a day apart: long enough for a daily sweep and for the longest wait between tries."""
        for number in range(10):
            self.poll()
            rounds.send_all_due()
            self.check_all()
            waits = Issuance.objects.filter(state__in=[State.QUEUED, State.SENDING, State.HELD])
            if number and not waits.exclude(state=State.HELD, reason__in=HELD_BY_MOODLE).exists():
                return
            self.clock.shift(A_DAY_AND_MORE)
        pytest.fail(f"something waits for ever: {[self.story_of(row) for row in waits]}")

    @invariant()
    def check_all(self) -> None:
        self.nobody_has_a_badge_twice()
        self.rows_are_one_each_and_add_up()
        self.what_is_issued_stands_in_navigatr_as_that_badge()
        self.the_environments_never_meet()
        self.every_call_is_told()
        self.nobody_is_sent_after_their_erasure()
        self.attempts_only_grow()
        self.states_change_as_the_table_says()
        self.every_failure_is_counted_as_one()

    def every_failure_is_counted_as_one(self) -> None:
        """What failed has an attempt that `badging.days` counts: an outcome is missing from FAILING otherwise."""
        counted = IssuanceAttempt.objects.filter(ENDED_IN_FAILURE).values("issuance")
        assert not Issuance.objects.filter(state="failed").exclude(pk__in=counted).exists()

    def check_end(self, *, helped: bool = False) -> None:
        """Every completion that counts has its row; `helped`: somebody has just sent again what had failed."""
        mappings = {row.course_id: row for row in CourseBadgeMapping.objects.select_related("connection")}
        rows = list(Issuance.objects.select_related("learner", "completion"))
        for row in rows:
            assert self.explains(row, rows, mappings.get(row.course_id), helped), [
                self.story_of(other) for other in (row, *rows)
            ]
        have = {(row.course_id, row.learner.moodle_id, row.environment) for row in rows}
        in_any_environment = {(course, person) for course, person, _environment in have}
        by_hand = {(row.course_id, row.learner.moodle_id) for row in rows if row.reason == Outcome.BY_HAND}
        read = set(Completion.objects.values_list("course", "learner__moodle_id"))
        erased = set(Learner.objects.filter(erased_at__isnull=False).values_list("moodle_id", flat=True))
        for course in self.courses:
            current = mappings.get(course.pk)
            for person in self.people.values():
                completion = self.sandbox.moodle.completion(course.moodle_id, person)
                if completion is None or current is None or person in erased:
                    continue
                # Moodle tells nothing more of a deleted account: it gets no row in an environment that came later, and
                # none at all where it was deleted before it was ever read.
                pair = (course.pk, person)
                if self.sandbox.moodle.users[person].deleted and (pair in in_any_environment or pair not in read):
                    continue
                # What a person cancelled stays cancelled in every environment.
                if (course.pk, person) in by_hand:
                    continue
                if (
                    current.include_past
                    or completion.time >= current.since.replace(second=0, microsecond=0).timestamp()
                ):
                    assert (course.pk, person, current.connection.environment) in have

    # One case for each reason, to be read as a table.
    def explains(  # noqa: C901, PLR0911, PLR0912
        self, row: Issuance, rows: list[Issuance], current: CourseBadgeMapping | None, helped: bool
    ) -> bool:
        """Whether the row's state is an end, and its reason is true."""
        others = [other for other in rows if (other.environment, other.badge_id) == (row.environment, row.badge_id)]
        last = row.attempts.order_by("pk").last()
        match row.state, row.reason:
            case State.ISSUED, Outcome.ISSUED | Outcome.FOUND:
                return True
            case State.ISSUED | State.CANCELLED, _ if row.learner.erased_at is not None:
                return True
            case State.HELD, Outcome.LEARNER_DELETED:
                return self.sandbox.moodle.users[row.learner.moodle_id].deleted
            case State.HELD, Outcome.COMPLETION_UNDONE:
                return self.sandbox.moodle.completion(row.course.moodle_id, row.learner.moodle_id) is None
            case State.CANCELLED, Outcome.ALREADY_HOLDS:
                return any(o.state == State.ISSUED and o.learner_id == row.learner_id for o in others)
            case State.CANCELLED, Outcome.ELSEWHERE:
                return any((o.course_id, o.learner_id) == (row.course_id, row.learner_id) for o in rows if o != row)
            case State.CANCELLED, Outcome.BY_HAND:
                return not helped or current is None
            case State.CANCELLED, Outcome.MAPPING_REMOVED:
                return (
                    current is None or self.goes_on_elsewhere(row, rows, current) or self.was_never_tried(row, current)
                )
            case State.NOT_MET, Outcome.BELOW_MIN_SCORE | Outcome.NO_SCORE:
                score, least = row.completion.score, current.min_score if current else None
                return least is not None and (score is None or score < least)
            case State.FAILED, Outcome.DUPLICATE_RECIPIENT:
                return self.another_has_or_may_have_it(row, others)
            case State.FAILED, Outcome.MAY_HOLD:
                return any(o.is_unknown and o.learner_id == row.learner_id for o in others)
            case State.FAILED, Outcome.GAVE_UP:
                return row.failures > 0 and (not helped or current is None)
            case state, reason if (state, reason) in REFUSALS.values():
                return last is not None and last.outcome == reason and (not helped or current is None)
        return False

    def another_has_or_may_have_it(self, row: Issuance, others: list[Issuance]) -> bool:
        """Somebody else was sent the badge at this address, or nobody could find out whether they were."""
        key = digest_of(row.learner.email)
        sent = [entry.body for entry in self.navigatr[row.environment].puts]
        return any(
            digest_of(body["recipient_email"]) == key and body["recipient_lastname"] != row.learner.lastname
            for body in sent
        ) or any(
            other.state == State.FAILED and other.is_unknown and key == other.recipient_key and other.pk != row.pk
            for other in others
        )

    def goes_on_elsewhere(self, row: Issuance, rows: list[Issuance], current: CourseBadgeMapping) -> bool:
        """The course now awards a badge of the other environment, where the learner has a row."""
        target = (row.course_id, row.learner_id, current.connection.environment)
        return row.environment != current.connection.environment and any(
            (other.course_id, other.learner_id, other.environment) == target for other in rows
        )

    def was_never_tried(self, row: Issuance, current: CourseBadgeMapping) -> bool:
        """It only waited under a mapping that was removed, and the new one does not look back."""
        completed_at = row.completion.last_completed_at
        wanted = (
            current.include_past
            or completed_at is None
            or completed_at >= current.since.replace(second=0, microsecond=0)
        )
        return not wanted and not row.attempts.exists()

    # Questions

    def name(self, person: int) -> str:
        """Any number stands for somebody."""
        return list(self.people)[person % len(self.people)]

    def is_gone(self, person: int) -> bool:
        """Whether the account was deleted."""
        return self.sandbox.moodle.users[self.moodle_id(person)].deleted

    def moodle_id(self, person: int) -> int:
        return self.people[self.name(person)]

    def issuances_of(self, person: int) -> IssuanceQuerySet:
        return Issuance.objects.filter(learner__moodle_id=self.moodle_id(person))

    def connection(self, name: str) -> NavigatrConnection:
        return NavigatrConnection.objects.get(name=name)

    def story_of(self, row: Issuance) -> list[str]:
        """Where it stands, and how it came there, for whoever reads a failure."""
        outcomes = [f"{attempt.at:%d %H:%M} {attempt.outcome}" for attempt in attempts(row)]
        where = f"{row.environment} {row.badge_id} of {row.learner} at {row.learner.email}"
        return [where, row.state, row.reason, row.unanswered, *outcomes]

    def calls_for(self, person: str) -> list[Entry]:
        return [
            entry
            for navigatr in self.navigatr.values()
            for entry in navigatr.puts
            if entry.body["recipient_lastname"] == person
        ]


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("number", SEEDS)
def test_any_order_of_events_ends_in_one_badge_or_a_reason_for_each_completion(
    clock: time_machine.Traveller, sandbox: Sandbox, settings: Settings, number: int
) -> None:
    settings.SEND_THREADS = 2
    settings.CIRCUIT_THRESHOLD = 3

    class Here(Story):
        """The story in this sandbox, by this clock."""

    Here.sandbox, Here.clock = sandbox, clock
    play = get_state_machine_test(Here, settings=PROFILE)
    if not LONG:
        play = seed(number if database.vendor == "sqlite" else number + len(SEEDS))(play)
    play()
