"""The polling round over real HTTP: every site as soon as it is due, and none held up by a slow one."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.db import connection as database
from django.db import connections as databases
from django.utils import timezone

from badging.models import Issuance
from badging.polling import poller as polling
from badging.polling.poller import Poller
from badging.polling.shared_connections import SharedConnections
from moodle_sync.models import MoodleSite, MoodleSiteState
from sandbox import Sandbox
from tests.builders import make_course, make_site, map_course
from tests.services import wait_until

# Threads see only what has been committed.
pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 2


@pytest.fixture
def slow() -> Iterator[Sandbox]:
    """A Moodle that takes two seconds for each answer, beside the quick one."""
    with Sandbox() as running:
        running.faults.on("slow", side="moodle", seconds=SECONDS)
        yield running


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sites that were really polled, in the order in which their polls ended."""
    names: list[str] = []
    really = polling.poll_and_queue

    def poll_and_queue(site: MoodleSite, **options: Any) -> Any:
        result = really(site, **options)
        if not result.busy:
            names.append(site.name)
        return result

    monkeypatch.setattr(polling, "poll_and_queue", poll_and_queue)
    return names


def make_sites(sandbox: Sandbox, count: int, name: str = "Site", **fields: Any) -> list[MoodleSite]:
    """So many sites that are due, each with what a poll asks for."""
    return [
        make_site(name=f"{name} {number}", url=sandbox.moodle_url, token=sandbox.moodle_token, **fields)
        for number in range(count)
    ]


def poller(*, at_once: int = 4, waiting: int = 4, on_queued: Callable[[], object] = lambda: None) -> Poller:
    return Poller(at_once=at_once, waiting=waiting, on_queued=on_queued)


def run(poller: Poller, *, seconds: float = 20, should_stop: Callable[[], bool] = lambda: False) -> None:
    poller.run(until=monotonic() + seconds, should_stop=should_stop)


def in_a_thread(act: Callable[[], object]) -> threading.Thread:
    def with_connections_of_its_own() -> None:
        try:
            act()
        finally:
            databases.close_all()

    thread = threading.Thread(target=with_connections_of_its_own)
    thread.start()
    return thread


def test_more_sites_than_threads_are_all_polled_in_one_round(sandbox: Sandbox, polled: list[str]) -> None:
    sites = make_sites(sandbox, 12)
    run(poller(at_once=3))
    assert sorted(polled) == sorted(site.name for site in sites)


def test_the_site_that_waits_longest_comes_first(sandbox: Sandbox, polled: list[str]) -> None:
    now = timezone.now()
    make_sites(sandbox, 1, "Due", next_poll_at=now - timedelta(seconds=1))
    make_sites(sandbox, 1, "Due for long", next_poll_at=now - timedelta(seconds=90))
    make_sites(sandbox, 1, "New")
    make_sites(sandbox, 1, "Later", next_poll_at=now + timedelta(minutes=1))
    make_sites(sandbox, 1, "Being polled", polling_until=now + timedelta(minutes=1))
    make_sites(sandbox, 1, "Off", enabled=False)
    make_sites(sandbox, 1, "In doubt", doubt="Is this still the same Moodle?")
    run(poller(at_once=1))
    assert polled == ["New 0", "Due for long 0", "Due 0"]


def test_a_site_that_becomes_due_meanwhile_is_polled_in_the_same_round(sandbox: Sandbox, polled: list[str]) -> None:
    make_sites(sandbox, 1, "Now")
    make_sites(sandbox, 1, "Soon", next_poll_at=timezone.now() + timedelta(seconds=1.5))
    started = monotonic()
    run(poller())
    assert polled == ["Now 0", "Soon 0"]
    assert monotonic() - started < 4


def test_a_round_ends_when_nothing_is_due_before_the_next_tick(sandbox: Sandbox, polled: list[str]) -> None:
    make_sites(sandbox, 1, next_poll_at=timezone.now() + timedelta(seconds=30))
    started = monotonic()
    run(poller())
    assert polled == []
    assert monotonic() - started < 1


def test_a_round_that_sleeps_looks_at_once_when_it_is_woken(
    sandbox: Sandbox, polled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LOOK_EVERY_SECONDS", 60)
    [site] = make_sites(sandbox, 1, next_poll_at=timezone.now() + timedelta(seconds=4))
    ours = poller()
    looked = threading.Event()
    really = ours._look
    monkeypatch.setattr(ours, "_look", lambda: (really(), looked.set()))
    thread = in_a_thread(lambda: run(ours))
    assert looked.wait(5)
    MoodleSiteState.objects.filter(site=site).update(next_poll_at=timezone.now())
    started = monotonic()
    ours.wake()
    thread.join()
    assert polled == [site.name]
    assert monotonic() - started < 3


def test_two_rounds_at_the_same_time_poll_no_site_twice(sandbox: Sandbox, polled: list[str]) -> None:
    sites = make_sites(sandbox, 12)
    one, other = poller(), poller()
    if database.vendor == "sqlite":
        # The test's database in memory locks whole tables, and makes nobody wait for them.
        other._database = one._database
    threads = [in_a_thread(lambda: run(one)), in_a_thread(lambda: run(other))]
    for thread in threads:
        thread.join()
    assert sorted(polled) == sorted(site.name for site in sites)


def test_a_site_that_was_polled_meanwhile_is_left_alone(sandbox: Sandbox) -> None:
    [site] = make_sites(sandbox, 1, next_poll_at=timezone.now() + timedelta(minutes=1))
    assert polling.poll_and_queue(site, now=timezone.now(), if_due=True).busy
    assert not polling.poll_and_queue(site, now=timezone.now()).busy


@pytest.mark.parametrize("known", [True, False])
def test_slow_sites_do_not_hold_up_quick_ones(
    sandbox: Sandbox, slow: Sandbox, polled: list[str], monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr(polling, "PATIENCE", timedelta(seconds=0.2))
    before = timezone.now() - timedelta(minutes=1)
    make_sites(slow, 2, "Slow", failures=int(known), next_poll_at=before)
    make_sites(sandbox, 10, "Quick")
    stop = threading.Event()
    started = monotonic()
    thread = in_a_thread(lambda: run(poller(at_once=2, waiting=2), should_stop=stop.is_set))
    wait_until(lambda: len(polled) == 10, seconds=10, what="ten quick polls")
    took = monotonic() - started
    stop.set()
    thread.join()
    assert all(name.startswith("Quick") for name in polled[:10])
    # The first answer of the slow ones comes after two seconds, and the last one of their first poll much later.
    assert took < 10


def test_slow_sites_begin_only_where_slow_ones_may(sandbox: Sandbox, slow: Sandbox) -> None:
    make_sites(slow, 3, "Slow", failures=1)
    stop = threading.Event()
    ours = poller(at_once=8, waiting=1)
    thread = in_a_thread(lambda: run(ours, should_stop=stop.is_set))
    wait_until(lambda: bool(ours._slow), what="the look")
    assert len(ours._begun) == 1
    stop.set()
    thread.join()


def test_more_slow_polls_than_may_wait_count_among_the_quick_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = poller(at_once=4, waiting=2)
    ours._begun = {number: polling.Begun(slow=False, since=monotonic() - 60) for number in range(5)}
    assert ours._room() == (1, -3)


def test_a_round_that_is_told_to_stop_ends_after_the_call(slow: Sandbox, polled: list[str]) -> None:
    make_sites(slow, 2)
    stop = threading.Event()
    ours = poller()
    thread = in_a_thread(lambda: run(ours, should_stop=stop.is_set))
    wait_until(lambda: len(ours._begun) == 2, what="two polls")
    started = monotonic()
    stop.set()
    thread.join()
    assert monotonic() - started < SECONDS + 1
    assert len(polled) == 2
    assert list(MoodleSiteState.objects.values_list("polling_until", "last_poll_at")) == [(None, None)] * 2


def test_polls_under_way_at_the_end_of_a_turn_go_on(slow: Sandbox, polled: list[str]) -> None:
    make_sites(slow, 1)
    ours = poller()
    stop = threading.Event()
    run(ours, seconds=0.3, should_stop=stop.is_set)
    assert (len(ours._begun), polled) == (1, [])
    stop.set()
    run(ours, should_stop=stop.is_set)
    assert (len(ours._begun), len(polled)) == (0, 1)


def test_the_senders_are_woken_at_once_and_then_once_for_all_that_was_queued(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow this machine is.
    monkeypatch.setattr(polling, "TELL_EVERY_SECONDS", 3600)
    told: list[int] = []
    for site in make_sites(sandbox, 3):
        moodle_id = sandbox.moodle.add_course(site.name, site.name)
        map_course(sandbox, course=make_course(site, moodle_id=moodle_id), since=timezone.now() - timedelta(days=1))
        sandbox.moodle.complete_many(moodle_id, sandbox.moodle.add_learners(1, course_id=moodle_id))
    run(poller(at_once=1, on_queued=lambda: told.append(Issuance.objects.count())))
    assert Issuance.objects.count() == 3
    assert told == [1, 3]


def test_a_poll_that_fails_in_the_portal_itself_is_logged_and_rests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(polling, "poll_and_queue", fails)
    [site] = make_sites(sandbox, 1)
    ours = poller()
    run(ours)
    assert f"polling the Moodle site {site.pk} failed in the portal itself" in caplog.text
    assert len(caplog.records) == 1
    assert site.pk in ours._resting


def test_a_thread_that_waits_leaves_its_connection_to_others() -> None:
    shared = SharedConnections(1)
    seen: list[int] = []

    def waits() -> None:
        with shared.lent():
            assert MoodleSite.objects.count() == 0
            with shared.let_go():
                begun.set()
                assert other_done.wait(5)
            seen.append(MoodleSite.objects.count())

    begun, other_done = threading.Event(), threading.Event()
    own = databases["default"]
    thread = in_a_thread(waits)
    assert begun.wait(5)
    with shared.lent():
        seen.append(MoodleSite.objects.count())
    assert databases["default"] is own
    other_done.set()
    thread.join()
    shared.close_idle()
    assert seen == [0, 0]
