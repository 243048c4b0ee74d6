"""Past completions that a course manager includes: counted first, limited, and released by a site admin."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from badging import mapping as mappings
from badging import past, queueing, troubles
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, CourseManager, Issuance, Past
from badging.polling.site_poll import poll_and_queue
from badging.sending.rounds import send_all_due
from moodle_sync.models import Completion, Course
from navigatr_client import Provider
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    NOW,
    OTHER_BADGE,
    PROVIDER,
    connect,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
    navigatr_badge,
)

pytestmark = pytest.mark.django_db
State = Issuance.State
LONG_AGO = NOW - timedelta(days=400)


@pytest.fixture
def manager() -> User:
    """Somebody who manages courses."""
    return User.objects.create_user("mina")


def choose(mapping: CourseBadgeMapping, actor: User | None, badge_id: int = BADGE, **more: Any) -> CourseBadgeMapping:
    """Save the mapping's choice again, with past completions."""
    if actor is not None:
        CourseManager.objects.get_or_create(user=actor, course=mapping.course)
    return mappings.save_mapping(
        course=mapping.course,
        connection=mapping.connection,
        provider=Provider(PROVIDER, "College"),
        badge=navigatr_badge(badge_id),
        actor=actor,
        **{"include_past": True, "now": NOW} | more,
    )


def complete(course: Course, count: int, completed_at: Any = LONG_AGO) -> None:
    """So many learners' completions arrive, as a poll brings them."""
    rows = [make_completion(course, completed_at=completed_at) for _number in range(count)]
    queueing.queue_completions(rows, now=timezone.now())


def was_read(course: Course) -> None:
    """The whole course has been read since."""
    Course.objects.filter(pk=course.pk).update(past_read_at=NOW + timedelta(minutes=1))


def release_of(mapping: CourseBadgeMapping) -> str:
    return CourseBadgeMapping.objects.get(pk=mapping.pk).past_release


def waiting(mapping: CourseBadgeMapping) -> int:
    held = Issuance.objects.standing_as(State.HELD).filter(course=mapping.course)
    assert all(row.standing_reason == Outcome.PAST_WAITS for row in held)
    assert Issuance.objects.unsent_for(mapping.connection).filter(past=True, pk__in=held).count() == 0
    return held.count()


def test_a_managers_past_completions_wait_until_the_course_was_read_whole(manager: User) -> None:
    mapping = choose(make_mapping(), manager)
    complete(mapping.course, 3)
    complete(mapping.course, 1, NOW + timedelta(minutes=1))
    assert (release_of(mapping), waiting(mapping)) == (Past.COUNTING, 3)
    # Those of today are sent meanwhile.
    assert Issuance.objects.unsent_for(mapping.connection).get().past is False
    assert past.settle_counts(mapping.course.site, now=NOW) == 0
    was_read(mapping.course)
    assert past.settle_counts(mapping.course.site, now=NOW) == 1
    assert (release_of(mapping), waiting(mapping)) == (Past.WITHIN, 0)
    assert Issuance.objects.unsent_for(mapping.connection).count() == 4


@pytest.mark.parametrize(("count", "release"), [(3, Past.WITHIN), (4, Past.OVER)])
def test_the_limit_itself_is_allowed_and_one_more_is_not(manager: User, count: int, release: Past) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=3)), manager)
    complete(mapping.course, count)
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    assert (release_of(mapping), waiting(mapping)) == (release, 0 if release == Past.WITHIN else count)


def test_later_ones_that_step_over_the_limit_wait_with_the_rest(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=3)), manager)
    complete(mapping.course, 3)
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    Issuance.objects.update(state=State.ISSUED, assertion_id="a", next_attempt_at=None)
    complete(mapping.course, 1)
    assert (release_of(mapping), waiting(mapping)) == (Past.OVER, 1)


def test_a_site_admins_choice_has_no_limit(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=0)), User.objects.create_superuser("root"))
    complete(mapping.course, 2)
    assert (release_of(mapping), waiting(mapping)) == (Past.FREE, 0)
    # The same badge, saved again by its manager, stays free; another badge does not.
    assert choose(mapping, manager, min_score=50).past_release == Past.FREE
    assert choose(mapping, manager, OTHER_BADGE).past_release == Past.COUNTING
    assert waiting(mapping) == 2


def test_a_site_admins_mapping_without_past_completions_frees_no_managers_past(manager: User) -> None:
    mapping = choose(make_mapping(), None, include_past=False)
    assert mapping.past_release == Past.FREE
    assert choose(mapping, manager).past_release == Past.COUNTING


def test_removing_and_choosing_again_steps_over_no_limit(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=2)), None)
    complete(mapping.course, 3)
    for row in Issuance.objects.all():
        row.attempts.create(
            kind="send", at=NOW, outcome="unavailable", environment="staging", provider_id=PROVIDER, badge_id=BADGE
        )
    mappings.remove_mapping(mapping)
    course = Course.objects.get(pk=mapping.course_id)
    anew = CourseBadgeMapping(course=course, connection=mapping.connection)
    # What was tried goes on under the new mapping, even without past completions.
    saved = choose(anew, manager, include_past=False)
    assert (release_of(saved), waiting(saved)) == (Past.OVER, 3)


def test_what_was_cancelled_with_a_removed_mapping_counts_as_past_for_the_next(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=2), min_score=100), None, include_past=False)
    complete(mapping.course, 3, NOW + timedelta(minutes=1))
    assert not Issuance.objects.filter(past=True).exists()
    mappings.remove_mapping(mapping)
    anew = CourseBadgeMapping(course=Course.objects.get(pk=mapping.course_id), connection=mapping.connection)
    saved = choose(anew, manager, now=NOW + timedelta(hours=1))
    queueing.queue_completions(list(Completion.objects.select_related("learner", "course__site")), now=NOW)
    Course.objects.update(past_read_at=NOW + timedelta(hours=2))
    past.settle_counts(saved.course.site, now=NOW)
    assert (release_of(saved), waiting(saved)) == (Past.OVER, 3)


def test_a_trial_in_staging_counts_nobody_twice(manager: User) -> None:
    staging, live = make_connection(past_limit=2), make_connection(environment="production", past_limit=2)
    mapping = choose(make_mapping(connection=staging), manager)
    complete(mapping.course, 2)
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    Issuance.objects.update(state=State.ISSUED, assertion_id="a", next_attempt_at=None)
    mapping.connection = live
    mapping = choose(mapping, manager)
    queueing.queue_completions(list(Completion.objects.select_related("learner", "course__site")), now=NOW)
    assert Issuance.objects.count() == 4
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    assert (release_of(mapping), waiting(mapping)) == (Past.WITHIN, 0)


def test_a_release_lets_all_go_now_and_later_and_is_kept(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=1)), manager)
    complete(mapping.course, 3)
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    Issuance.objects.update(next_attempt_at=NOW + timedelta(hours=9))
    admin = User.objects.create_superuser("root")
    assert past.release_past(mapping, actor=admin, now=NOW) == 3
    complete(mapping.course, 2)
    assert (release_of(mapping), waiting(mapping)) == (Past.FREE, 0)
    assert Issuance.objects.filter(next_attempt_at=NOW).count() == 3
    entry = AuditEntry.objects.get(action="past_released")
    assert entry.actor == admin
    assert entry.details == {"learners": 3, "waiting": 3, "limit": 1, "connection": mapping.connection.name}
    assert past.release_past(mapping, actor=admin, now=NOW) == 0
    assert AuditEntry.objects.filter(action="past_released").count() == 1


def test_a_changed_limit_counts_for_what_waits_and_for_what_does_not(manager: User) -> None:
    connection = make_connection(past_limit=1)
    mapping = choose(make_mapping(connection=connection), manager)
    complete(mapping.course, 3)
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    connection.past_limit = 3
    connection.save()
    assert past.limit_changed(connection, now=NOW) == 1
    assert (release_of(mapping), waiting(mapping)) == (Past.WITHIN, 0)
    connection.past_limit = 2
    connection.save()
    assert past.limit_changed(connection, now=NOW) == 0
    assert (release_of(mapping), waiting(mapping)) == (Past.OVER, 3)


def test_learners_whose_badge_was_cancelled_do_not_count(manager: User) -> None:
    mapping = choose(make_mapping(connection=make_connection(past_limit=1)), manager)
    for state in (State.CANCELLED, State.CANCELLED, State.QUEUED):
        next_attempt_at = NOW if state == State.QUEUED else None
        make_issuance(mapping, make_completion(mapping.course), state=state, past=True, next_attempt_at=next_attempt_at)
    assert queueing.within_limit(mapping) == Past.WITHIN


@pytest.mark.parametrize(("limit", "issued"), [(5, 4), (3, 0)])
def test_over_the_wire_no_past_badge_is_sent_before_the_course_is_counted(
    sandbox: Sandbox, manager: User, limit: int, issued: int
) -> None:
    moodle_course = sandbox.moodle.add_course("C1", "Course")
    sandbox.moodle.add_learners(4, moodle_course)
    sandbox.moodle.complete_many(moodle_course, sandbox.moodle.member_ids(moodle_course), at=LONG_AGO.timestamp())
    site = make_site(url=sandbox.moodle_url, token=sandbox.moodle_token)
    course = make_course(site, moodle_id=moodle_course, fullname="Course", shortname="C1")
    CourseManager.objects.create(user=manager, course=course)
    mapping = mappings.save_mapping(
        course=course, connection=connect(sandbox, past_limit=limit), provider=Provider(PROVIDER, "College"),
        badge=navigatr_badge(BADGE), include_past=True, actor=manager, now=timezone.now() - timedelta(seconds=5),
    )  # fmt: skip
    seen: list[str] = []
    poll_and_queue(site, now=timezone.now(), on_queued=lambda: seen.append(release_of(mapping)))
    send_all_due()
    assert len(sandbox.navigatr.assertions) == issued
    assert release_of(mapping) == (Past.WITHIN if issued else Past.OVER)
    # Senders are woken again when they are counted.
    assert seen == ([Past.WITHIN] if issued else [])


def test_a_site_admin_looks_first_and_then_releases_and_stops(manager: User) -> None:
    mapping = make_mapping(since=NOW, by_admin=True, past_release=Past.FREE)
    assert past.look_for_past(mapping, actor=manager, now=NOW)
    assert not past.look_for_past(mapping, actor=manager, now=NOW)
    mapping.refresh_from_db()
    assert (mapping.past_wanted_at, mapping.past_release) == (NOW, Past.LOOKED_AT)
    assert past.is_being_read(mapping)
    complete(mapping.course, 3)
    complete(mapping.course, 1, completed_at=NOW + timedelta(hours=1))
    was_read(mapping.course)
    past.settle_counts(mapping.course.site, now=NOW)
    mapping = CourseBadgeMapping.objects.get()
    assert not past.is_being_read(mapping)
    # However few they are, nobody sends them but a person.
    assert waiting(mapping) == 3
    assert past.would_get(mapping).count() == 4
    assert past.progress_of(mapping) == past.PastProgress(3, 0, 3, 0)
    assert past.release_past(mapping, actor=manager, now=NOW) == 3
    assert waiting(mapping) == 0
    sent = past.would_get(mapping).filter(past=True)[0]
    Issuance.objects.filter(pk=sent.pk).update(state=State.ISSUED, assertion_id="9")
    assert past.stop_past(CourseBadgeMapping.objects.get(), actor=manager) == 2
    assert past.stop_past(CourseBadgeMapping.objects.get(), actor=manager) == 0
    assert waiting(mapping) == 2
    assert past.progress_of(mapping) == past.PastProgress(3, 1, 2, 0)
    trail = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(trail) == ["past_looked_for", "past_released", "past_stopped"]


def test_what_a_site_admin_holds_stays_held_when_the_badge_is_chosen_again(manager: User) -> None:
    mapping = make_mapping(since=NOW, past_release=Past.LOOKED_AT, past_wanted_at=NOW)
    complete(mapping.course, 2)
    choose(mapping, manager, OTHER_BADGE)
    assert (release_of(mapping), waiting(mapping)) == (Past.LOOKED_AT, 2)
    choose(mapping, None, OTHER_BADGE, include_past=False, min_score=40)
    assert (release_of(mapping), waiting(mapping)) == (Past.LOOKED_AT, 2)
    choose(mapping, None, OTHER_BADGE)
    assert (release_of(mapping), waiting(mapping)) == (Past.FREE, 0)


def test_whose_score_would_not_do_is_told_before(manager: User) -> None:
    mapping = make_mapping(since=NOW, past_release=Past.LOOKED_AT, min_score=60)
    for score in (None, 59, 60):
        make_issuance(mapping, make_completion(mapping.course, score=score), past=True)
    assert past.count_would_get(mapping).too_low == 2
    mapping.min_score = None
    assert past.count_would_get(mapping).too_low == 0


def test_who_is_looked_at_may_also_be_declined_and_stays_so(manager: User) -> None:
    mapping = make_mapping(since=NOW, by_admin=True, past_release=Past.FREE)
    assert past.decline_past(mapping, actor=manager, now=NOW) == 0
    past.look_for_past(mapping, actor=manager, now=NOW)
    complete(mapping.course, 2)
    new = make_issuance(mapping)
    was_read(mapping.course)
    assert troubles.health_of(CourseBadgeMapping.objects.get()) == ["Past completions wait for a site admin."]
    assert past.decline_past(mapping, actor=manager, now=NOW) == 2
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.include_past, mapping.past_release) == (False, Past.FREE)
    assert troubles.health_of(mapping) == []
    declined = Issuance.objects.filter(past=True)
    assert set(declined.values_list("state", "reason")) == {(State.CANCELLED, Outcome.BY_HAND)}
    # News of a completion does not take it back.
    queueing.queue_completions(list(Completion.objects.select_related("learner", "course__site")), now=NOW)
    assert set(declined.values_list("state", flat=True)) == {State.CANCELLED}
    new.refresh_from_db()
    assert new.state == State.QUEUED
    assert AuditEntry.objects.get(action="past_declined").details["cancelled"] == 2
    # A course manager's mapping has its limit as before.
    CourseBadgeMapping.objects.update(by_admin=False, past_release=Past.OVER, past_wanted_at=NOW)
    past.decline_past(mapping, actor=manager, now=NOW)
    assert (release_of(mapping), AuditEntry.objects.filter(action="past_declined").count()) == (Past.WITHIN, 2)


def test_nothing_is_stopped_where_no_past_completions_are_sent(manager: User) -> None:
    mapping = make_mapping(since=NOW, past_release=Past.FREE)
    make_issuance(mapping)
    assert past.stop_past(mapping, actor=manager) == 0
    assert (release_of(mapping), AuditEntry.objects.count()) == (Past.FREE, 0)
    # What an earlier mapping left behind counts as well.
    make_issuance(mapping, past=True)
    assert past.stop_past(mapping, actor=manager) == 1
    assert release_of(mapping) == Past.LOOKED_AT


def test_counting_from_now_on_ends_what_a_site_admin_held(manager: User) -> None:
    mapping = make_mapping(since=NOW, past_release=Past.LOOKED_AT, past_wanted_at=NOW)
    complete(mapping.course, 2)
    choose(mapping, None, OTHER_BADGE, include_past=False, from_now=True)
    assert (release_of(mapping), waiting(mapping)) == (Past.FREE, 0)
