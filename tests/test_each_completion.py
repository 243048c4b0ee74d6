"""200 completions, half of them with faults: each learner gets the badge once or a reason why not, and all is told."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine
from django.utils import timezone
from pytest_django.fixtures import Settings

from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.polling.site_poll import poll_and_queue
from badging.sending import rounds
from moodle_sync.models import MoodleSite
from sandbox import Sandbox

from .commands.calling import succeed

State = Issuance.State
Kind = IssuanceAttempt.Kind

# What a learner meets first issues nothing and is tried again; what comes last ends the story.
FIRST = ["timeout", "down", "refuse", "500_before", "502", "503", "drop_before", "html_before", "429"]
REFUSED = {
    "202": (State.NOT_MET, Outcome.NOT_MET),
    "400": (State.FAILED, Outcome.BAD_SOURCE),
    "403": (State.FAILED, Outcome.FORBIDDEN),
    "404": (State.FAILED, Outcome.NOT_FOUND),
    "422": (State.FAILED, Outcome.UNPUBLISHED),
}
ISSUED_AFTER_ALL = ["slow", "500_after", "drop_after", "timeout_after", "html_after"]
LAST = [*REFUSED, *ISSUED_AFTER_ALL]
SEND_THREADS = 64
# Longer than the connection's time-out of 1 s, and shorter.
TOO_LONG, LONG = 1.3, 0.3
# Beyond the moment when the next one is due, so that a round has several to send.
A_LITTLE = timedelta(minutes=5)
# Failures that are tried again, and nothing else, count as tries.
TRIES = [Outcome.UNAVAILABLE, Outcome.UNCLEAR, Outcome.RATE_LIMITED, Outcome.LOOKUP_FAILED]


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that ticks and can be moved on; the sandbox and the portal both live by it."""
    with time_machine.travel(datetime(2026, 11, 23, 9, 0, tzinfo=UTC), tick=True) as traveller:
        yield traveller


@pytest.fixture
def sandbox(clock: time_machine.Traveller, sandbox: Sandbox) -> Sandbox:
    """Reset when the clock stands where the test begins."""
    return sandbox


def connect(sandbox: Sandbox) -> None:
    """Connect, or reconnect, to the sandbox's Navigatr with the token that it accepts now."""
    arguments = ("--name", "College", "--environment", "staging", "--pat-stdin", "--timeout", 1)
    succeed("connect_navigatr", *arguments, stdin=sandbox.pat)


def completed_course(sandbox: Sandbox, shortname: str, badge: int, learners: int) -> list[str]:
    """A mapped course that so many learners have completed; returns their addresses."""
    course = sandbox.moodle.add_course(shortname, f"Course {shortname}")
    arguments = ("--site", "Moodle", "--connection", "College", "--provider", 11)
    succeed("map_course", *arguments, "--course", course, "--badge", badge)
    ids = sandbox.moodle.add_learners(learners, course_id=course)
    sandbox.moodle.complete_many(course, ids, grade=80)
    return [sandbox.moodle.users[learner].email for learner in ids]


def poll() -> int:
    """One round of polling; returns how many were queued."""
    result = poll_and_queue(MoodleSite.objects.get(), now=timezone.now())
    assert (result.error, result.problems) == ("", [])
    return result.queued


def send_until_nothing_waits(clock: time_machine.Traveller) -> None:
    """Rounds of sending; between them the clock moves on to when the next one has something to do."""
    for _round in range(1000):
        rounds.send_all_due()
        waiting = Issuance.objects.filter(state=State.QUEUED).switched_on().order_by("next_attempt_at")
        soonest = waiting.values_list("next_attempt_at", flat=True).first()
        if soonest is None:
            return
        not_before = NavigatrConnection.objects.get().not_before
        clock.move_to(max(filter(None, [soonest, not_before, timezone.now()])) + A_LITTLE)
    pytest.fail("something waits for ever")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_completions_with_faults_end_in_one_badge_or_a_reason_and_the_audit_tells_it_all(
    sandbox: Sandbox, clock: time_machine.Traveller, settings: Settings
) -> None:
    settings.SEND_THREADS = SEND_THREADS
    connect(sandbox)
    site = ("--name", "Moodle", "--url", sandbox.moodle_url, "--token-stdin")
    succeed("connect_moodle", *site, stdin=sandbox.moodle_token)

    # Answers lost on the way there, and then no way to look them up: sent once more.
    unseen = []
    for badge, fault in ((112, "lookup_403"), (113, "no_recipients")):
        unseen += (emails := completed_course(sandbox, fault, badge, 10))
        sandbox.faults.plan(emails, "drop_before")
        assert poll() == 10
        on = sandbox.faults.on(fault)
        send_until_nothing_waits(clock)
        sandbox.faults.off(on.id)

    # The token is refused: everything waits, and goes on with a new one.
    emails = completed_course(sandbox, "MAIN", 111, 180)
    assert poll() == 180
    sandbox.navigatr.pat = "renewed"
    send_until_nothing_waits(clock)
    assert NavigatrConnection.objects.get().state == NavigatrConnection.State.PAUSED
    assert Issuance.objects.switched_off().filter(failures=0).count() == 180
    connect(sandbox)

    # Two faults each for half of them, the others in between without. Each kind meets at least nine.
    expected = dict.fromkeys([*unseen, *emails], (State.ISSUED, ""))
    troubled = emails[::2]
    for number, email in enumerate(troubled):
        first, last = FIRST[number * len(FIRST) // len(troubled)], LAST[number % len(LAST)]
        for kind in (first, last):
            sandbox.faults.plan(email, kind, seconds=LONG if kind == "slow" else TOO_LONG, retry_after=1)
        expected[email] = REFUSED.get(last, (State.ISSUED, ""))
    send_until_nothing_waits(clock)

    assert_each_has_one_badge_or_a_reason(sandbox, expected)
    assert_the_audit_tells_every_call(sandbox)
    met = Counter(entry.fault for entry in sandbox.navigatr.puts)
    assert {kind: met[kind] for kind in (*FIRST, *LAST) if met[kind] < 9} == {}
    # A refused token is met by what is on its way at the first refusal, and by nothing else.
    assert 1 <= sum(entry.status == 401 for entry in sandbox.navigatr.puts) <= SEND_THREADS


def assert_each_has_one_badge_or_a_reason(sandbox: Sandbox, expected: dict[str, tuple[State, str]]) -> None:
    """Compare the portal's tables with Navigatr's own list of what it has issued."""
    rows = {row.learner.email: row for row in Issuance.objects.select_related("learner")}
    assert rows.keys() == expected.keys()
    assert len(rows) == sum(succeed("status")["issuances"].values()) == 200
    for email, row in rows.items():
        state, reason = expected[email]
        assertions = [str(assertion.id) for assertion in sandbox.navigatr.assertions_for(email)]
        assert row.state == state, email
        if state == State.ISSUED:
            assert assertions == [row.assertion_id]
            unseen = row.attempts.filter(outcome=Outcome.LOOKUP_REFUSED).exists()
            assert row.reason in ([Outcome.PERHAPS_TWICE] if unseen else [Outcome.ISSUED, Outcome.FOUND]), email
        else:
            assert (assertions, row.assertion_id, row.reason) == ([], "", reason)
            assert row.meaning is not None


def assert_the_audit_tells_every_call(sandbox: Sandbox) -> None:
    """Each call in Navigatr's ledger has its audit row and the other way round, in order, with the same status."""
    calls = defaultdict(list)
    for entry in sandbox.navigatr.puts:
        calls[entry.body["recipient_email"]].append(entry)
    attempts = defaultdict(list)
    for attempt in IssuanceAttempt.objects.order_by("pk").select_related("issuance__learner"):
        attempts[attempt.issuance.learner.email].append(attempt)
    assert calls.keys() == attempts.keys()
    for email, rows in attempts.items():
        sends = [row for row in rows if row.kind == Kind.SEND]
        assert [row.status for row in sends] == [entry.status or None for entry in calls[email]]
        times = [moment for row, entry in zip(sends, calls[email], strict=True) for moment in (row.at, at(entry.time))]
        assert times == sorted(times)
        # What may have been issued is looked up before anything else is done about it.
        for row, following in pairwise(rows):
            assert (following.kind == Kind.LOOKUP) == (row.outcome in (Outcome.UNCLEAR, Outcome.LOOKUP_FAILED))
        last = rows[-1]
        assert last.outcome == last.issuance.reason
        assert last.issuance.failures == sum(row.outcome in TRIES for row in rows)


def at(seconds: float) -> datetime:
    """The sandbox's time as the portal writes it down, to the microsecond that was."""
    return datetime.fromtimestamp(seconds, UTC)
