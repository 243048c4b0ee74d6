"""Taking what is due: by its index, in few queries, and with others at work."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from badging.models import Issuance, NavigatrConnection
from badging.sending import limits, tally
from sandbox import Sandbox
from tests.builders import (
    digest_of,
    map_course,
    owe,
)
from tests.meanwhile import just_before
from tests.worker import Worker, send

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_staging_and_production_never_meet(sandbox: Sandbox) -> None:
    staging = owe(map_course(sandbox), unanswered="unknown")
    # However it may have come about: what was sent to one environment is never looked up in the other.
    NavigatrConnection.objects.update(environment="production", pat=sandbox.production_pat)
    assert send(staging) == tally.Tally()
    assert staging.state == State.QUEUED
    assert sandbox.production.puts == sandbox.navigatr.puts == []


def test_taking_what_is_due_reads_the_index_made_for_it(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    due = Issuance.objects.unsent_for(row.connection).due(timezone.now()).in_turn()[:500]
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            # So few rows would be read and sorted without an index.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
    assert "due_first" in due.explain()


def test_a_claim_costs_the_same_whatever_the_number_of_rows(
    sandbox: Sandbox, django_assert_max_num_queries: Any
) -> None:
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(20)]
    worker = Worker(mapping.connection)
    # Savepoint and its release; what may have been sent; the connection's courses and the rows; their courses, sites,
    # what is known of these, mappings and connections; the keys of digests; who holds the badge by address and
    # by person; the lease.
    with django_assert_max_num_queries(14):
        worker.claim()
    assert len(worker.to_send) == len(rows)


def test_a_claim_that_others_win_each_time_is_left_to_the_next_sweep(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = map_course(sandbox)
    other = owe(mapping)
    row = owe(mapping, person={"email": "shared@example.org"})
    Issuance.objects.filter(pk=other.pk).update(next_attempt_at=timezone.now() + MINUTE)
    wins = []

    def other_worker_is_faster() -> None:
        wins.append(other)
        issue_to_shared_address(other)

    # After the question who holds the badge, and before the row is taken.
    just_before(monkeypatch, limits, "begin_at", other_worker_is_faster)
    assert send(row) == tally.Tally()
    # Five tries, and a claim after them that finds nothing more.
    assert len(wins) == 6
    assert row.state == State.QUEUED


def issue_to_shared_address(row: Issuance) -> None:
    """Another worker issues the row's badge to an address that is somebody else's as well."""
    Issuance.objects.filter(pk=row.pk).update(
        state=State.ISSUED, assertion_id="1", recipient_key=digest_of("shared@example.org")
    )


def test_what_cannot_be_taken_steps_aside_for_the_others(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = map_course(sandbox)
    other = owe(mapping, next_attempt_at=timezone.now() + timedelta(hours=1))
    row = owe(mapping, person={"email": "shared@example.org"}, next_attempt_at=timezone.now() - timedelta(hours=1))
    fine = [owe(mapping) for _ in range(3)]
    just_before(monkeypatch, limits, "begin_at", lambda: issue_to_shared_address(other))
    assert send(row).issued == len(fine)
    assert row.state == State.QUEUED
