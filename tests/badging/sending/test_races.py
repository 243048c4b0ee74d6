"""What happens when two hands reach for the same row: found by review, each once a way to a doubled or stuck badge."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection as database
from django.db import connections as databases
from django.db import transaction
from django.utils import timezone

from badging import by_hand, connections
from badging import mapping as mappings
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, NavigatrConnection
from badging.queueing import requeue
from badging.sending import circuit, rounds
from moodle_sync import polling
from sandbox import Sandbox
from tests.builders import connect, make_course, make_site, map_course, mapping_of, owe
from tests.services import wait_until
from tests.worker import send, take
from vault.fields import Sealed
from vault.keys import WrongKey

State = Issuance.State


def while_another_transaction(acts: Callable[[], object], other: Callable[[], object]) -> None:
    """Begin `other` in another session after `acts` changed a row and before its transaction ended."""

    def in_a_session_of_its_own() -> None:
        try:
            other()
        finally:
            databases.close_all()

    thread = threading.Thread(target=in_a_session_of_its_own)
    with transaction.atomic():
        acts()
        if database.vendor == "postgresql":
            thread.start()

            def waits() -> bool:
                with database.cursor() as cursor:
                    # What a transaction has seen of the others it sees again and again.
                    cursor.execute("SELECT pg_stat_clear_snapshot()")
                    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                    return bool(cursor.fetchone()[0])

            wait_until(waits, what="the other session's wait for the row")
    if database.vendor == "sqlite":
        # One writer at a time: there the other can only come after.
        thread.start()
    thread.join()


def while_a_worker_takes(row: Issuance, act: Callable[[], object]) -> None:
    """Begin `act` in another session after a worker took the row and before its transaction ended."""
    while_another_transaction(lambda: take(row), act)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("if_due", [True, False])
def test_two_polls_never_take_the_same_site(*, if_due: bool) -> None:
    site = make_site()
    leases = []

    def take() -> None:
        leases.append(polling._Lease.take(site, timezone.now(), if_due=if_due))

    while_another_transaction(take, take)
    assert [lease is not None for lease in leases] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_send_again_never_takes_a_row_out_of_a_workers_hands(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    while_a_worker_takes(row, lambda: by_hand.send_again(Issuance.objects.all(), now=timezone.now()))
    row.refresh_from_db()
    assert row.state == State.SENDING


@pytest.mark.django_db(transaction=True)
def test_a_changed_learner_never_takes_a_row_out_of_a_workers_hands(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    rows = Issuance.objects.filter(learner__email=row.learner.email, state=State.QUEUED)
    while_a_worker_takes(row, lambda: requeue(rows, now=timezone.now()))
    row.refresh_from_db()
    assert row.state == State.SENDING


@pytest.mark.django_db
def test_a_connection_removed_while_it_is_tested_stays_removed(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    before_the_test = NavigatrConnection.objects.get()
    connections.remove(connection, actor=None, now=timezone.now())
    assert connections.retest(before_the_test, actor=None, now=timezone.now()).ok
    connection.refresh_from_db()
    assert connection.state == NavigatrConnection.State.REMOVED


@pytest.mark.django_db
def test_a_passing_test_keeps_the_pause_that_navigatr_asked_for_and_ends_the_circuits(sandbox: Sandbox) -> None:
    connection, later = connect(sandbox), timezone.now() + timedelta(hours=1)
    circuit.rest(connection, timedelta(hours=1), Outcome.RATE_LIMITED, now=timezone.now())
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    assert not circuit.may_send(connection, timezone.now())
    NavigatrConnection.objects.update(last_outcome=Outcome.UNAVAILABLE, not_before=later, failures=12)
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    assert circuit.may_send(connection, timezone.now())


@pytest.mark.django_db
def test_resuming_by_itself_is_written_down(sandbox: Sandbox) -> None:
    connections.retest(connect(sandbox, state=NavigatrConnection.State.PAUSED), actor=None, now=timezone.now())
    assert AuditEntry.objects.filter(action=AuditEntry.Action.CONNECTION_RESUMED).exists()


@pytest.mark.django_db(transaction=True)
def test_a_refused_token_of_the_old_connection_holds_nothing_that_moved_to_a_new_one(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, pat="revoked-since"))
    row = owe(mapping)
    worker = take(row)
    mapping.connection = connect(sandbox)
    mapping.save()
    worker.ask().write()
    row.refresh_from_db()
    assert row.standing == State.QUEUED
    assert send(row).issued == 1


@pytest.mark.django_db
def test_what_is_handed_back_unbegun_has_not_begun_its_week(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=1))
    for _ in range(3):
        owe(mapping)
    stops = iter([False, False, True])
    rounds.send_due(mapping.connection, should_stop=lambda: next(stops, True))
    waiting = Issuance.objects.filter(state=State.QUEUED)
    assert waiting
    assert set(waiting.values_list("first_attempt_at", flat=True)) == {None}


@pytest.mark.django_db(transaction=True)
def test_one_unreadable_token_stops_no_other_connection(sandbox: Sandbox) -> None:
    lost = owe(map_course(sandbox))
    NavigatrConnection.objects.filter(pk=lost.connection_id).update(pat=Sealed("not readable"))
    fine = owe(map_course(sandbox, course=make_course(lost.course.site)))
    with pytest.raises(WrongKey):
        rounds.send_all_due()
    fine.refresh_from_db()
    assert fine.state == State.ISSUED


@pytest.mark.django_db(transaction=True)
def test_a_badge_sent_again_without_a_look_up_says_that_a_double_cannot_be_excluded(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on("lookup_403")
    sandbox.faults.plan([row.learner.email], "500_before")
    send(row)
    Issuance.objects.update(next_attempt_at=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.PERHAPS_TWICE)


@pytest.mark.django_db
def test_a_refusal_told_late_does_not_pause_what_has_passed_a_test_since(sandbox: Sandbox) -> None:
    connection, asked_at = connect(sandbox), timezone.now()
    connections.retest(connection, actor=None, now=timezone.now())
    connections.pause(connection, asked_at=asked_at, now=timezone.now())
    connection.refresh_from_db()
    assert connection.state == NavigatrConnection.State.ACTIVE
    connections.pause(connection, asked_at=timezone.now(), now=timezone.now())
    connection.refresh_from_db()
    assert connection.state == NavigatrConnection.State.PAUSED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["429", "403"])
def test_an_answer_waits_for_the_removal_of_its_mapping_and_finds_it_removed(sandbox: Sandbox, fault: str) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    sandbox.faults.on(fault, count=1)
    worker.ask()
    while_another_transaction(lambda: mappings.remove_mapping(mapping_of(row)), worker.write)
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)
