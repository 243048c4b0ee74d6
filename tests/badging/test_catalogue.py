"""What pages ask Navigatr: kept for a minute, forgotten when it should be, and within all limits."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.cache import caches
from django.db import connection as database
from django.utils import timezone

from badging import catalogue, connections, waiting
from badging.catalogue import Catalogue, Resting
from badging.mapping import NotMapped
from badging.meanings import Outcome
from badging.models import NavigatrConnection
from badging.sending import limits, page_calls
from navigatr_client import NavigatrError, NavigatrTokenRefused, NavigatrUnavailable
from sandbox import NAVIGATR, Sandbox
from tests.builders import BADGE, OTHER_BADGE, PROVIDER, connect, map_course, owe
from tests.worker import Worker

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def connection(sandbox: Sandbox) -> NavigatrConnection:
    return connect(sandbox)


@pytest.fixture
def asking() -> Iterator[Catalogue]:
    """One page of one person."""
    with Catalogue(1) as page:
        yield page


def calls(sandbox: Sandbox) -> int:
    """How many calls Navigatr received."""
    return len(sandbox.navigatr.ledger)


def test_what_navigatr_says_is_kept_for_a_minute_for_everybody(
    connection: NavigatrConnection, sandbox: Sandbox
) -> None:
    started = datetime.now(UTC)
    with time_machine.travel(started, tick=False) as clock:
        answers = []
        for person in (1, 2):
            with Catalogue(person) as page:
                answers.append(
                    (
                        page.providers(connection),
                        page.badge_page(connection, PROVIDER, page=1, size=24, words="safe"),
                        page.choice(connection, provider_id=PROVIDER, badge_id=BADGE),
                    )
                )
        assert answers[0] == answers[1]
        assert calls(sandbox) == 3
        with Catalogue(1) as page:
            page.badge_page(connection, PROVIDER, page=2, size=24, words="safe")
            page.badge_page(connection, PROVIDER, page=1, size=24, words="other")
        assert calls(sandbox) == 5
        clock.move_to(started + timedelta(seconds=61))
        with Catalogue(1) as page:
            page.providers(connection)
        assert calls(sandbox) == 6


def test_answers_from_the_cache_are_the_same_as_navigatrs(connection: NavigatrConnection, sandbox: Sandbox) -> None:
    with connections.navigatr_client_for(connection) as client:
        providers, badge = client.providers(), client.badge(BADGE)
    for _time in range(2):
        with Catalogue(1) as page:
            assert page.providers(connection) == providers
            assert page.choice(connection, provider_id=PROVIDER, badge_id=BADGE) == (providers[0], badge)


def test_a_new_token_and_another_connection_begin_anew(connection: NavigatrConnection, sandbox: Sandbox) -> None:
    def ask(via: NavigatrConnection) -> None:
        with Catalogue(1) as page:
            page.providers(via)

    ask(connection)
    ask(connect(sandbox, name="Other"))
    assert calls(sandbox) == 2
    connection.pat = sandbox.navigatr.pat = "renewed"
    ask(connection)
    assert calls(sandbox) == 3


def test_the_cache_holds_no_token_and_no_search_in_its_keys(connection: NavigatrConnection, sandbox: Sandbox) -> None:
    with Catalogue(1) as page:
        page.badge_page(connection, PROVIDER, page=1, size=24, words="safeguarding")
    with database.cursor() as cursor:
        cursor.execute("SELECT cache_key, value FROM portal_navigatr_cache")
        rows = cursor.fetchall()
    assert rows
    kept = " ".join(f"{key} {caches['navigatr'].get(key.rpartition(':')[2])}" for key, _value in rows)
    assert sandbox.pat not in kept
    assert "Safeguarding" in kept
    assert "safeguarding" not in " ".join(key for key, _value in rows)


def test_the_button_forgets_all_of_one_connection_only(connection: NavigatrConnection, sandbox: Sandbox) -> None:
    other = connect(sandbox, name="Other")

    def ask() -> None:
        with Catalogue(1) as page:
            page.providers(connection)
            page.badge_page(connection, PROVIDER, page=1, size=24, words="")
            page.providers(other)

    ask()
    catalogue.forget([connection])
    ask()
    assert calls(sandbox) == 5


def test_failures_are_not_kept(connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox) -> None:
    sandbox.faults.on("503", side=NAVIGATR, call="all", count=1)
    with pytest.raises(NavigatrUnavailable):
        asking.providers(connection)
    assert asking.providers(connection)


def test_an_answer_that_is_far_too_large_is_not_kept(
    connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "LONGEST_KEPT", 10)
    for _time in range(2):
        asking.providers(connection)
    assert calls(sandbox) == 2


def test_an_answer_kept_by_another_version_is_asked_for_again(
    connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox
) -> None:
    asking.providers(connection)
    caches["navigatr"].set(catalogue._key(connection, catalogue.PROVIDERS), '[{"number": 1}]')
    assert asking.providers(connection)
    assert calls(sandbox) == 2


def test_saving_always_asks(connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox) -> None:
    asking.choice(connection, provider_id=PROVIDER, badge_id=BADGE)
    sandbox.navigatr.set_badge(BADGE, status="Draft")
    asking.choice(connection, provider_id=PROVIDER, badge_id=BADGE)
    with pytest.raises(NotMapped, match="its status is Draft"):
        asking.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE)


# Too many requests


@pytest.mark.parametrize(("retry_after", "seconds"), [(30, 30), (None, 60), (86400, 600)])
def test_after_too_many_requests_no_page_asks_until_the_pause_is_over(
    connection: NavigatrConnection, sandbox: Sandbox, retry_after: int | None, seconds: int
) -> None:
    sandbox.faults.on("429", side=NAVIGATR, call="all", count=1, retry_after=retry_after)
    started = datetime.now(UTC).replace(microsecond=0)
    with time_machine.travel(started, tick=False) as clock, Catalogue(1) as page:
        with pytest.raises(NavigatrError):
            page.providers(connection)
        clock.move_to(started + timedelta(seconds=seconds - 1))
        with pytest.raises(Resting, match="asked for a pause"):
            page.providers(connection)
        with pytest.raises(Resting):
            page.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE)
        ((_connection, answer),) = page.providers_of_all([connection])
        assert isinstance(answer, Resting)
        assert calls(sandbox) == 1
        clock.move_to(started + timedelta(seconds=seconds + 1))
        assert page.providers(connection)


def test_too_many_requests_when_saving_count_as_well(connection: NavigatrConnection, sandbox: Sandbox) -> None:
    sandbox.faults.on("429", side=NAVIGATR, call="all", count=1)
    with Catalogue(1) as page:
        with pytest.raises(NotMapped):
            page.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE)
        with pytest.raises(Resting):
            page.providers(connection)


def test_a_pause_that_the_senders_were_told_holds_for_pages_but_what_is_kept_is_shown(
    connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox
) -> None:
    asking.providers(connection)
    connection.not_before, connection.last_outcome = timezone.now() + MINUTE, Outcome.RATE_LIMITED
    assert asking.providers(connection)
    with pytest.raises(Resting):
        asking.badge_page(connection, PROVIDER, page=1, size=24, words="")
    # While the senders only probe whether Navigatr is back, a page may see for itself.
    connection.last_outcome = Outcome.UNAVAILABLE
    assert asking.badge_page(connection, PROVIDER, page=1, size=24, words="")


# Several connections


def test_one_that_does_not_answer_hides_no_other(
    connection: NavigatrConnection, asking: Catalogue, sandbox: Sandbox
) -> None:
    refused = connect(sandbox, name="Refused", pat="wrong")
    limited = connect(sandbox, name="Limited", calls_at_once=1, calls_per_second=50)
    answers = dict(asking.providers_of_all([refused, limited, connection]))
    assert isinstance(answers[refused], NavigatrTokenRefused)
    assert answers[limited] == answers[connection] != []
    before = calls(sandbox)
    asking.providers_of_all([limited, connection])
    assert calls(sandbox) == before


def test_a_page_with_many_slow_connections_waits_no_longer_than_a_person_does(
    sandbox: Sandbox, asking: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "LONGEST_WAIT", 0.5)
    slow = [connect(sandbox, name=f"Slow {number}") for number in range(3 * catalogue.CONNECTIONS_AT_ONCE)]
    sandbox.faults.on("slow", side=NAVIGATR, call="all", seconds=0.7)
    answers = [answer for _connection, answer in asking.providers_of_all(slow)]
    asked = [answer for answer in answers if isinstance(answer, list)]
    assert len(asked) == catalogue.CONNECTIONS_AT_ONCE
    assert all(isinstance(answer, waiting.Busy) for answer in answers if not isinstance(answer, list))
    assert calls(sandbox) == len(asked)


# Places


def test_without_a_place_nothing_is_asked_but_what_is_kept_is_shown(
    connection: NavigatrConnection, sandbox: Sandbox
) -> None:
    with Catalogue(1) as page:
        page.providers(connection)
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(person))
        with Catalogue(99) as page:
            assert page.providers(connection)
            assert dict(page.providers_of_all([connection]))[connection]
            for ask in (
                lambda: page.badge_page(connection, PROVIDER, page=1, size=24, words=""),
                lambda: page.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE),
            ):
                with pytest.raises(waiting.Busy):
                    ask()
    assert calls(sandbox) == 1


def test_a_page_takes_one_place_for_all_that_it_asks_and_gives_it_back(
    connection: NavigatrConnection, sandbox: Sandbox
) -> None:
    with Catalogue(1) as page:
        page.providers(connection)
        page.badge_page(connection, PROVIDER, page=1, size=24, words="")
        page.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE)
        assert waiting._waiting == {1: 1}
    assert not waiting._waiting


# The connection's own limits


def test_calls_of_pages_take_their_moments_in_the_line_of_the_senders(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=4))
    for _number in range(3):
        owe(mapping)
    now = datetime.now(UTC)
    with time_machine.travel(now, tick=False):
        Worker(mapping.connection).claim(limit=3, now=now)
        turns = [page_calls._take(mapping.connection, 1, MINUTE) for _number in range(2)]
    # The second page waits for its share: the senders have every second call.
    assert [turn and turn.begin - now for turn in turns] == [timedelta(seconds=0.75), timedelta(seconds=1.25)]
    row = NavigatrConnection.objects.get(pk=mapping.connection.pk)
    assert row.next_slot_at == now + timedelta(seconds=1.25)
    assert limits.places(row, 500, now + timedelta(seconds=1)) == 3


def test_pages_do_not_starve_the_senders(connection: NavigatrConnection) -> None:
    connection.calls_per_second = 2
    connection.save()
    now = datetime.now(UTC)
    sent = pages = 0
    for step in range(200):
        at = now + timedelta(seconds=step / 10)
        with time_machine.travel(at, tick=False):
            try:
                page_calls._take(connection, 1, MINUTE)
                pages += 1
            except page_calls.LimitsReached:
                pass
            free = limits.places(connection, 500, at)
            limits.begin_at(connection, free, at)
            sent += free
    # In 20 seconds: 40 calls, about half of them for pages, however many pages ask.
    assert 38 <= sent + pages <= 46
    assert sent >= 18
    assert pages >= 15


def test_a_page_that_would_wait_long_is_told_so(connection: NavigatrConnection, asking: Catalogue) -> None:
    later = timezone.now() + MINUTE
    NavigatrConnection.objects.update(calls_per_second=1, next_slot_at=later)
    connection.refresh_from_db()
    with pytest.raises(waiting.Busy, match="limit of calls is used up"):
        asking.providers(connection)
    connection.refresh_from_db()
    assert connection.next_slot_at == later


def test_a_page_takes_one_of_the_calls_at_once_from_the_senders(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2))
    for _number in range(3):
        owe(mapping)
    with page_calls.page_call(mapping.connection, longest=MINUTE):
        worker = Worker(mapping.connection).claim()
        assert len(worker.to_send) == 1
    # After it, the senders have the place.
    assert len(Worker(mapping.connection).claim().to_send) == 1


def test_a_page_waits_for_its_place_and_gives_up_before_long(
    sandbox: Sandbox, asking: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_calls, "PATIENCE", timedelta(seconds=0.3))
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=1))
    owe(mapping)
    worker = Worker(mapping.connection).claim()
    with pytest.raises(waiting.Busy, match="limit of calls is used up"):
        asking.providers(mapping.connection)
    worker.ask().write()
    NavigatrConnection.objects.update(next_page_call_at=None)
    assert asking.providers(mapping.connection)


def test_one_page_at_a_time_and_a_page_that_died_frees_its_place(
    connection: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_calls, "PATIENCE", timedelta(seconds=0.2))
    connection.calls_at_once = 3
    connection.save()
    with page_calls.page_call(connection, longest=MINUTE):
        with pytest.raises(page_calls.LimitsReached), page_calls.page_call(connection, longest=MINUTE):
            raise AssertionError
        connection.refresh_from_db()
        assert connection.page_call_until is not None
        over = connection.page_call_until
    NavigatrConnection.objects.update(page_call_until=over, next_page_call_at=None)
    with time_machine.travel(over + timedelta(seconds=1)), page_calls.page_call(connection, longest=MINUTE):
        pass


def test_a_page_whose_place_was_over_leaves_the_next_ones_alone(connection: NavigatrConnection) -> None:
    connection.calls_at_once = 3
    connection.save()
    other = timezone.now() + timedelta(hours=1)
    with page_calls.page_call(connection, longest=MINUTE):
        NavigatrConnection.objects.update(page_call_until=other)
    connection.refresh_from_db()
    assert connection.page_call_until == other


def test_saving_counts_as_two_calls(connection: NavigatrConnection, asking: Catalogue) -> None:
    connection.calls_per_second = 10
    connection.save()
    before = timezone.now()
    asking.find_badge(connection, provider_id=PROVIDER, badge_id=OTHER_BADGE)
    connection.refresh_from_db()
    assert connection.next_slot_at is not None
    assert connection.next_slot_at >= before + timedelta(seconds=0.2)
