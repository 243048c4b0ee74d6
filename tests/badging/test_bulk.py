"""Background actions: in batches, stopped at any time, and gone on with after a worker has died."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from badging import bulk, tasks
from badging.bulk import BATCH, LEASE, NothingToDo
from badging.meanings import Outcome
from badging.models import AuditedIssuance, AuditEntry, BulkRun, Issuance
from moodle_sync.models import Course
from tests.badging.admin.browsing import many_issuances
from tests.builders import NOW, make_issuance, make_mapping

pytestmark = pytest.mark.django_db
State = BulkRun.State
MANY = 2 * BATCH + 50
SOON = NOW + timedelta(seconds=10)
LATER = NOW + LEASE + timedelta(seconds=1)


@pytest.fixture
def admin() -> User:
    return User.objects.create_user("kim")


def start(course: Course, admin: User, reason: str = "") -> BulkRun:
    return bulk.start_failed(kind=BulkRun.Kind.SEND_AGAIN, course=course, reason=reason, actor=admin, now=NOW)


def work(run: BulkRun, *, stop_after: int | None = None) -> BulkRun:
    """A worker works on the run, until it ends or for so many batches."""
    batches = iter(range(1, 100))
    bulk.work(run.pk, should_stop=lambda: next(batches) == stop_after, clock=lambda: SOON)
    run.refresh_from_db()
    return run


def queued() -> int:
    return Issuance.objects.filter(state="queued").count()


def test_all_that_failed_in_a_course_is_sent_again_in_batches(admin: User) -> None:
    course = many_issuances(MANY).course
    elsewhere = make_issuance(state="failed", reason=Outcome.FORBIDDEN)
    run = work(start(course, admin))
    assert (run.state, run.total, run.done, run.changed, run.left_alone) == (State.DONE, MANY, MANY, MANY, 0)
    assert (run.started_at, run.ended_at, run.claim) == (SOON, SOON, None)
    assert queued() == MANY
    elsewhere.refresh_from_db()
    assert elsewhere.state == "failed"
    trail = list(AuditEntry.objects.exclude(action="cancelled").order_by("pk").values_list("action", "actor_name"))
    assert trail == [("bulk_started", "kim"), *[("sent_again", "kim")] * 3, ("bulk_ended", "kim")]
    # Each batch names its issuances, so that their pages can tell who did it.
    assert AuditedIssuance.objects.values("issuance").distinct().count() == AuditedIssuance.objects.count() == MANY


def test_a_run_for_one_reason_leaves_the_others_alone(admin: User) -> None:
    mapping = make_mapping()
    wanted = make_issuance(mapping, state="failed", reason=Outcome.UNPUBLISHED)
    other = make_issuance(mapping, state="failed", reason=Outcome.FORBIDDEN)
    assert bulk.reasons_of_failures(mapping.course) == [(Outcome.FORBIDDEN, 1), (Outcome.UNPUBLISHED, 1)]
    run = work(start(mapping.course, admin, Outcome.UNPUBLISHED))
    assert (run.total, run.changed) == (1, 1)
    wanted.refresh_from_db()
    other.refresh_from_db()
    assert (wanted.state, other.state) == ("queued", "failed")
    with pytest.raises(NothingToDo):
        start(mapping.course, admin, Outcome.UNPUBLISHED)


def test_a_worker_that_dies_between_batches_is_followed_by_another_and_nothing_is_done_twice(admin: User) -> None:
    course = many_issuances(MANY).course
    run = start(course, admin)
    claim = bulk.take(run.pk, now=NOW)
    assert claim
    assert bulk.do_batch(run.pk, claim, now=NOW)
    # The worker is gone. What it did fails again; it is not sent once more by this run.
    done = list(Issuance.objects.filter(state="queued").values_list("pk", flat=True))
    assert len(done) == BATCH
    Issuance.objects.filter(pk__in=done).update(state="failed", next_attempt_at=None, reason=Outcome.FORBIDDEN)
    assert bulk.take(run.pk, now=SOON) is None
    assert not BulkRun.objects.to_be_worked_on(SOON).exists()
    assert list(BulkRun.objects.to_be_worked_on(LATER)) == [run]
    other = bulk.take(run.pk, now=LATER)
    assert other
    # Should the first one come back, it does nothing more.
    assert not bulk.do_batch(run.pk, claim, now=LATER)
    while bulk.do_batch(run.pk, other, now=LATER):
        pass
    run.refresh_from_db()
    assert (run.state, run.done, run.changed) == (State.DONE, MANY, MANY)
    assert queued() == MANY - BATCH
    assert AuditedIssuance.objects.count() == MANY


def test_a_batch_that_breaks_off_leaves_nothing_behind(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    course = many_issuances(3).course
    run = start(course, admin)
    claim = bulk.take(run.pk, now=NOW)
    assert claim

    def killed(*args: object, **kwargs: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(BulkRun, "save", killed)
        with pytest.raises(SystemExit):
            bulk.do_batch(run.pk, claim, now=NOW)
    assert queued() == 0
    assert bulk.do_batch(run.pk, claim, now=NOW)
    assert queued() == 3


def test_stopping_ends_a_run_after_its_batch(admin: User) -> None:
    course = many_issuances(MANY).course
    run = start(course, admin)
    claim = bulk.take(run.pk, now=NOW)
    assert claim
    bulk.do_batch(run.pk, claim, now=NOW)
    assert bulk.stop(run, actor=admin, now=SOON)
    assert not bulk.do_batch(run.pk, claim, now=SOON)
    assert not bulk.stop(run, actor=admin, now=LATER)
    work(run)
    assert (run.state, run.done, run.ended_at, run.stopped_by) == (State.STOPPED, BATCH, SOON, admin)
    assert queued() == BATCH
    assert AuditEntry.objects.filter(action="bulk_stopped").values_list("details", flat=True).get()["done"] == BATCH


def test_a_worker_that_must_stop_hands_the_run_back(admin: User) -> None:
    run = work(start(many_issuances(MANY).course, admin), stop_after=1)
    assert (run.state, run.done, run.claim) == (State.WAITING, BATCH, None)
    assert work(run).state == State.DONE


@pytest.mark.parametrize(
    ("kind", "state"),
    [(BulkRun.Kind.SEND_AGAIN, "queued"), (BulkRun.Kind.CANCEL, "cancelled"), (BulkRun.Kind.LOOK_UP, "failed")],
)
def test_chosen_ones_are_changed_where_their_state_allows_it(kind: BulkRun.Kind, state: str, admin: User) -> None:
    mapping = make_mapping()
    failed = make_issuance(mapping, state="failed", reason=Outcome.FORBIDDEN)
    issued = make_issuance(mapping, state="issued", assertion_id="9", issued_at=NOW)
    run = bulk.start_chosen(kind=kind, chosen=[issued.pk, failed.pk], actor=admin, now=NOW)
    assert (run.total, run.chosen) == (2, [failed.pk, issued.pk])
    work(run)
    failed.refresh_from_db()
    issued.refresh_from_db()
    assert (failed.state, issued.state) == (state, "issued")
    changed = int(state != "failed")
    assert (run.done, run.changed, run.left_alone, run.chosen) == (2, changed, 2 - changed, [])


def test_the_sweep_finds_what_waits_even_if_its_message_was_lost(
    admin: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    run = start(many_issuances(3).course, admin)
    monkeypatch.setattr(tasks.bulk_run, "apply_async", lambda arguments, **options: tasks.bulk_run(*arguments))
    tasks.send_sweep()
    run.refresh_from_db()
    assert run.state == State.DONE


def test_what_fails_after_a_run_was_confirmed_is_not_taken_and_the_total_stays(admin: User) -> None:
    mapping = make_mapping()
    failed = [make_issuance(mapping, state="failed", reason=Outcome.FORBIDDEN) for _ in range(2)]
    between = make_issuance(mapping)
    failed.append(make_issuance(mapping, state="failed", reason=Outcome.FORBIDDEN))
    run = bulk.start_failed(kind=BulkRun.Kind.CANCEL, course=mapping.course, actor=admin, now=NOW)
    assert run.total == 3
    Issuance.objects.filter(pk=between.pk).update(state="failed", reason=Outcome.FORBIDDEN, next_attempt_at=None)
    # One goes on by itself meanwhile: it is left alone.
    Issuance.objects.filter(pk=failed[0].pk).update(state="queued", reason="", next_attempt_at=NOW)
    work(run)
    assert (run.state, run.total, run.done, run.changed, run.left_alone) == (State.DONE, 3, 3, 2, 1)
    states = dict(Issuance.objects.values_list("pk", "state"))
    assert states[between.pk] == "failed"
    assert [states[row.pk] for row in failed] == ["queued", "cancelled", "cancelled"]
    # The trail names those that were changed, and no others.
    entry = AuditEntry.objects.get(action="cancelled")
    assert set(entry.issuances.values_list("issuance", flat=True)) == {failed[1].pk, failed[2].pk}


def test_a_run_whose_batches_break_off_again_and_again_is_given_up(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(many_issuances(3).course, admin)
    now = NOW
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "BATCH", "faulty")
        for _worker in range(bulk.MOST_FAILURES):
            with pytest.raises(TypeError):
                bulk.work(run.pk, should_stop=lambda: False, clock=lambda now=now: now)
            assert bulk.take(run.pk, now=now) is None
            now += LEASE
    assert bulk.take(run.pk, now=now) is None
    run.refresh_from_db()
    assert (run.state, run.failures, run.ended_at, run.done) == (State.FAILED, bulk.MOST_FAILURES, now, 0)
    assert not BulkRun.objects.to_be_worked_on(now + LEASE).exists()
    assert AuditEntry.objects.filter(action="bulk_failed").count() == 1


def test_a_batch_that_succeeds_forgets_earlier_faults(admin: User) -> None:
    run = start(many_issuances(3).course, admin)
    BulkRun.objects.update(failures=bulk.MOST_FAILURES - 1)
    work(run)
    assert (run.state, run.failures) == (State.DONE, 0)
