"""Going live: from staging's test badges to production's real ones."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from badging import by_hand, catalogue, going_live, queueing
from badging import mapping as mappings
from badging.catalogue import Catalogue
from badging.going_live import Move, Moved, Offer
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection, Past
from moodle_sync.models import Completion
from sandbox import Sandbox
from sandbox.faults import NAVIGATR_PRODUCTION
from tests.builders import BADGE, connect, make_completion, map_course, owe
from tests.worker import bring_forward, send, take

pytestmark = pytest.mark.django_db
State = Issuance.State
HOUR = timedelta(hours=1)


@pytest.fixture
def admin(db: None) -> User:
    """Somebody who may use every connection."""
    return User.objects.create_superuser("admin")


@pytest.fixture
def production(sandbox: Sandbox) -> NavigatrConnection:
    """A connection to production, where the demo's badges have other numbers."""
    return connect(sandbox, name="Live", environment="production", pat=sandbox.production_pat)


@pytest.fixture
def trial(sandbox: Sandbox) -> CourseBadgeMapping:
    """A course that has awarded the first badge of staging for an hour."""
    name = sandbox.navigatr.badges[BADGE].name
    return map_course(sandbox, badge_name=name.upper(), since=timezone.now() - HOUR)


def completed(mapping: CourseBadgeMapping, **fields: object) -> Issuance:
    """The course was completed half an hour ago, and the badge of staging is owed."""
    row = owe(mapping)
    type(row.completion).objects.filter(pk=row.completion_id).update(
        completed_at=timezone.now() - HOUR / 2, confirmed_at=timezone.now() + HOUR, **fields
    )
    return row


def offer_for(mapping: CourseBadgeMapping, production: NavigatrConnection) -> Offer:
    with Catalogue("somebody") as asking:
        offer = going_live.suggested(mapping, going_live.offers_of(asking, production))
    assert offer is not None
    return offer


def go(mapping: CourseBadgeMapping, production: NavigatrConnection, actor: User, *, with_past: bool = False) -> Moved:
    """Move the mapping; as many real badges as are owed were agreed to."""
    agreed = going_live.owed_at_once(mapping).count()
    move = Move(mapping, offer_for(mapping, production), with_past, agreed)
    staging = mapping.connection
    (result,) = going_live.go_live([move], staging=staging, production=production, actor=actor, now=timezone.now())
    return result


def test_from_now_on_nobody_gets_a_real_badge_for_what_was_completed_before(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    tried = completed(trial)
    send(tried)
    waits = completed(trial)
    result = go(trial, production, admin)
    assert (result.problem, result.queued) == ("", 0)
    waits.refresh_from_db()
    assert (waits.state, waits.reason, waits.environment) == (State.CANCELLED, Outcome.WENT_LIVE, "staging")
    # The daily reading of the whole course finds both again, and wants neither.
    trial.refresh_from_db()
    (wanted,) = mappings.wanted_courses(trial.course.site)
    assert not any(wanted.wants(row.completion.completed_at) for row in (tried, waits))
    assert wanted.wants(timezone.now())
    later = owe(trial)
    send(later)
    assert (later.state, later.environment) == (State.ISSUED, "production")
    assert [assertion.recipient_email for assertion in sandbox.production.assertions.values()] == [later.learner.email]
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [entry.action for entry in entries] == ["mapping_changed", "went_live"]
    assert entries[0].details["cancelled"] == 1
    assert entries[1].details == {"to": "Live", "courses": 1, "queued": 0}


def test_who_is_ticked_gets_the_real_badge_once_whatever_staging_says(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    tried = completed(trial)
    send(tried)
    waits = completed(trial)
    before = make_completion(trial.course, completed_at=timezone.now() - 3 * HOUR)
    undone = make_completion(trial.course, completed_at=timezone.now() - HOUR / 2, undone_at=timezone.now())
    stopped = completed(trial)
    by_hand.cancel(Issuance.objects.filter(pk=stopped.pk))
    assert set(going_live.owed_at_once(trial)) == {tried.completion, waits.completion}
    assert go(trial, production, admin, with_past=True).queued == 2
    real = Issuance.objects.filter(environment="production")
    assert {row.completion for row in real} == {tried.completion, waits.completion}
    for row in real:
        send(row)
    mailed = sorted(assertion.recipient_email for assertion in sandbox.production.assertions.values())
    assert mailed == sorted([tried.learner.email, waits.learner.email])
    tried.refresh_from_db()
    assert (tried.state, tried.environment) == (State.ISSUED, "staging")
    for other in (before, undone, stopped.completion):
        assert not real.filter(completion=other).exists()
    # A second time nothing is left to move, and nobody is owed anything.
    trial.refresh_from_db()
    assert not going_live.owed_at_once(trial).exists()


def test_only_who_was_counted_is_mailed(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    before = {"completed_at": timezone.now() - 3 * HOUR}
    asked = completed(trial)
    sandbox.faults.plan(asked.learner.email, "500_before")
    worker = take(asked)
    counted, failed = completed(trial), completed(trial)
    Completion.objects.filter(pk__in=[asked.completion_id, failed.completion_id]).update(**before)
    Issuance.objects.filter(pk=failed.pk).update(state=State.FAILED, reason=Outcome.GAVE_UP, past=True)
    assert set(going_live.owed_at_once(trial)) == {counted.completion}
    assert go(trial, production, admin, with_past=True) == Moved(trial, queued=1)
    worker.ask().write()
    NavigatrConnection.objects.update(not_before=None)
    for _try in range(2):
        bring_forward(asked)
        send(asked)
    send(counted)
    for row in (failed, asked):
        row.refresh_from_db()
        assert (row.state, row.reason, row.environment) == (State.CANCELLED, Outcome.WENT_LIVE, "staging")
    mailed = [assertion.recipient_email for assertion in sandbox.production.assertions.values()]
    assert mailed == [counted.learner.email]


@pytest.mark.parametrize(
    ("fields", "is_owed"),
    [
        ({"state": State.CANCELLED, "reason": Outcome.MAPPING_REMOVED}, True),
        ({"state": State.FAILED, "reason": Outcome.GAVE_UP}, True),
        ({"state": State.FAILED, "reason": Outcome.GAVE_UP, "unanswered": "unknown"}, False),
        ({"state": State.CANCELLED, "reason": Outcome.ALREADY_HOLDS}, False),
        ({"state": State.ISSUED, "assertion_id": "7"}, False),
    ],
)
def test_what_was_left_in_production_counts_if_it_goes_on(
    fields: dict[str, str],
    is_owed: bool,
    trial: CourseBadgeMapping,
    production: NavigatrConnection,
    admin: User,
) -> None:
    left = completed(trial)
    Issuance.objects.filter(pk=left.pk).update(environment="production", connection=production, **fields)
    assert go(trial, production, admin, with_past=True) == Moved(trial, queued=int(is_owed))
    left.refresh_from_db()
    assert (left.state == State.QUEUED and not left.unanswered) == is_owed
    assert Issuance.objects.count() == 1


def test_more_than_was_agreed_to_is_not_mailed(
    trial: CourseBadgeMapping, production: NavigatrConnection, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(trial)
    completed(trial)
    offer, staging = offer_for(trial, production), trial.connection
    now = timezone.now()

    def problem(agreed: int) -> str:
        move = Move(trial, offer, with_past=True, agreed=agreed)
        (result,) = going_live.go_live([move], staging=staging, production=production, actor=admin, now=now)
        return result.problem

    assert "meanwhile 1 more badge would be mailed" in problem(1)
    for change in ({"past_wanted_at": now}, {"since": now}, {"min_score": 0}):
        CourseBadgeMapping.objects.filter(pk=trial.pk).update(**change)
        assert "Somebody has changed" in problem(2)
        trial.save()
    monkeypatch.setattr(going_live, "MOST_QUEUED", 1)
    assert "Find past completions" in problem(2)
    assert set(Issuance.objects.values_list("environment", "state")) == {("staging", "queued")}
    monkeypatch.setattr(going_live, "MOST_QUEUED", 2)
    assert not problem(2)


def test_who_was_agreed_to_need_not_be_looked_at_first(
    trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    trial.past_release, trial.past_wanted_at = Past.LOOKED_AT, timezone.now()
    trial.save()
    waits, suspended = completed(trial), completed(trial)
    Issuance.objects.update(past=True)
    trial.course.site.send_suspended = False
    trial.course.site.save()
    suspended.learner.suspended = True
    suspended.learner.save()
    Issuance.objects.filter(pk=suspended.pk).update(
        state=State.HELD, reason=Outcome.LEARNER_SUSPENDED, next_attempt_at=None
    )
    assert going_live.look_at_owed(trial, most=9).held == 1
    assert go(trial, production, admin, with_past=True) == Moved(trial, queued=2, held=1)
    send(waits)
    assert (waits.state, waits.environment) == (State.ISSUED, "production")
    assert CourseBadgeMapping.objects.get().past_release == Past.FREE


def test_under_a_disabled_mapping_all_are_held(
    trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    trial.active = False
    trial.save()
    completed(trial)
    assert going_live.look_at_owed(trial, most=9).held == 1
    assert go(trial, production, admin, with_past=True) == Moved(trial, queued=1, held=1)


def test_a_minimum_score_counts_for_who_is_owed_a_real_badge(trial: CourseBadgeMapping) -> None:
    good, poor = completed(trial, score=80), completed(trial, score=40)
    trial.min_score = 50
    assert set(going_live.owed_at_once(trial)) == {good.completion}
    trial.min_score = None
    assert set(going_live.owed_at_once(trial)) == {good.completion, poor.completion}


@pytest.mark.parametrize("fault", ["500_before", "429"])
def test_what_was_on_its_way_to_staging_becomes_no_real_badge(
    fault: str, sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    row = completed(trial)
    sandbox.faults.plan(row.learner.email, fault)
    worker = take(row)
    go(trial, production, admin)
    worker.ask().write()
    NavigatrConnection.objects.update(not_before=None)
    for _try in range(2):
        bring_forward(row)
        send(row)
    assert (row.state, row.reason, row.environment) == (State.CANCELLED, Outcome.WENT_LIVE, "staging")
    assert not sandbox.production.puts
    # Unless a person says so.
    by_hand.send_again(Issuance.objects.filter(pk=row.pk), now=timezone.now())
    send(row)
    assert (row.state, row.environment) == (State.ISSUED, "production")


def test_who_completes_the_course_again_after_it_went_live_gets_the_real_badge(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    row = completed(trial)
    go(trial, production, admin)
    row.completion.completed_again_at = timezone.now()
    row.completion.save()
    assert queueing.queue_completions([row.completion], now=timezone.now()) == 1
    assert Issuance.objects.get(environment="production").state == State.QUEUED


def test_a_mapping_that_was_changed_meanwhile_stays_and_the_others_move(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    other = map_course(sandbox, trial.connection, badge_name=trial.badge_name)
    moves = [Move(row, offer_for(row, production), with_past=False) for row in (trial, other)]
    CourseBadgeMapping.objects.filter(pk=trial.pk).update(badge_id=BADGE + 1)
    results = going_live.go_live(
        moves, staging=trial.connection, production=production, actor=admin, now=timezone.now()
    )
    assert [bool(result.problem) for result in results] == [True, False]
    assert "meanwhile" in results[0].problem
    assert [row.environment for row in NavigatrConnection.objects.filter(mappings__in=[trial, other]).distinct()] == [
        "production",
        "staging",
    ]
    NavigatrConnection.objects.filter(pk=production.pk).update(state="paused")
    (result,) = going_live.go_live(
        moves[:1], staging=trial.connection, production=production, actor=admin, now=timezone.now()
    )
    assert "no active connection" in result.problem


def test_the_badge_of_the_same_name_is_suggested_and_none_where_two_have_it(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection
) -> None:
    offer = offer_for(trial, production)
    assert offer.badge.id != BADGE
    assert going_live.normalised(offer.badge.name) == going_live.normalised(trial.badge_name)
    (academy,) = (key for key, provider in sandbox.production.providers.items() if provider.name.startswith("Süd"))
    twice = sandbox.production.add_badge(academy, offer.badge.name)
    catalogue.forget([production])
    with Catalogue("somebody") as asking:
        offers = going_live.offers_of(asking, production)
    assert {row.badge.id for row in offers.named(trial.badge_name)} == {offer.badge.id, twice}
    trial.provider_name = "südstadt  ACADEMY"
    chosen = going_live.suggested(trial, offers)
    assert chosen is not None
    assert chosen.badge.id == twice
    trial.provider_name = "Another"
    assert going_live.suggested(trial, offers) is None


def test_no_more_pages_of_badges_are_read_than_a_page_can_show(
    sandbox: Sandbox, production: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going_live, "PAGE_SIZE", 2)
    monkeypatch.setattr(going_live, "MOST_PAGES", 3)
    before = len(sandbox.production.ledger)
    with Catalogue("somebody") as asking:
        offers = going_live.offers_of(asking, production)
    assert (offers.is_cut, len(offers.offers)) == (True, 6)
    assert len(sandbox.production.ledger) - before == 1 + 3


def test_an_unclear_answer_of_staging_that_a_person_sends_again_becomes_a_real_badge(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    tried = []
    for _learner in range(2):
        tried.append(completed(trial))
        sandbox.faults.plan(tried[-1].learner.email, "500_before")
        take(tried[-1]).ask().write()
        NavigatrConnection.objects.update(not_before=None)
    row, other = tried
    go(trial, production, admin)
    by_hand.send_again(Issuance.objects.filter(pk=row.pk), actor=admin, now=timezone.now())
    for _try in range(2):
        for each in (row, other):
            bring_forward(each)
            send(each)
    assert (row.state, row.environment) == (State.ISSUED, "production")
    assert (other.state, other.reason, other.environment) == (State.CANCELLED, Outcome.WENT_LIVE, "staging")


def test_a_course_that_goes_back_to_staging_leaves_nothing_behind(
    sandbox: Sandbox, trial: CourseBadgeMapping, production: NavigatrConnection, admin: User
) -> None:
    before = {"connection": trial.connection, "provider_id": trial.provider_id, "badge_id": trial.badge_id}
    go(trial, production, admin)
    row = completed(CourseBadgeMapping.objects.get())
    sandbox.faults.on("500_before", side=NAVIGATR_PRODUCTION)
    take(row).ask().write()
    sandbox.faults.clear()
    NavigatrConnection.objects.update(not_before=None)
    CourseBadgeMapping.objects.update(since=timezone.now(), **before)
    for _try in range(2):
        bring_forward(row)
        send(row)
    assert (row.state, row.environment) == (State.ISSUED, "staging")
