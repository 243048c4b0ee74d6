"""What a connection is open to: asked in the choice, at the save, and again when badges are claimed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from badging import mapping as mappings
from badging import reach
from badging.mapping import NotMapped
from badging.meanings import Outcome
from badging.models import (
    AuditEntry,
    ConnectionGrant,
    CourseBadgeMapping,
    CourseManager,
    Issuance,
    NavigatrConnection,
)
from badging.status import status
from moodle_sync.models import Course
from navigatr_client import Provider
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    NOW,
    PROVIDER,
    connect,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
    map_course,
    navigatr_badge,
    owe,
)
from tests.worker import Worker, send

pytestmark = pytest.mark.django_db
State = Issuance.State
Kind = ConnectionGrant.Kind


@pytest.fixture
def course() -> Course:
    """A course in category 5."""
    return make_course(make_site(name="North"), category_id=5, category_name="Health")


@pytest.fixture
def manager(course: Course) -> User:
    """The course's manager."""
    return make_manager(course, "mina")


def make_manager(course: Course, name: str) -> User:
    user = User.objects.create_user(name)
    CourseManager.objects.create(user=user, course=course)
    return user


def opened(connection: NavigatrConnection, kind: Kind, **target: object) -> ConnectionGrant:
    grant = ConnectionGrant(connection=connection, kind=kind, **target)
    return reach.open_connection(grant, actor=None, now=NOW)


def choose(course: Course, connection: NavigatrConnection, user: User | None, provider: int = PROVIDER) -> None:
    mappings.save_mapping(
        course=course,
        connection=connection,
        provider=Provider(provider, "College"),
        badge=navigatr_badge(BADGE, provider),
        actor=user,
        now=timezone.now(),
    )


def standing(row: Issuance) -> tuple[State, str]:
    row = Issuance.objects.get(pk=row.pk)
    assert Issuance.objects.standing_as(row.standing).filter(pk=row.pk).exists()
    return row.standing, row.standing_reason


HELD = (State.HELD, Outcome.NOT_OPEN)
QUEUED = (State.QUEUED, "")

# What is granted, and whether that opens provider 11 to the course, to its manager. The course is in category 5 of the
# site "North"; "South" is another site.
GRANTS: list[tuple[str, Callable[[Course, User], dict[str, object]], bool]] = [
    ("everybody", lambda course, user: {"kind": Kind.ALL}, True),
    ("its site", lambda course, user: {"kind": Kind.SITE, "site": course.site}, True),
    ("another site", lambda course, user: {"kind": Kind.SITE, "site": make_site(name="South")}, False),
    ("its category", lambda course, user: {"kind": Kind.CATEGORY, "site": course.site, "category_id": 5}, True),
    ("another category", lambda course, user: {"kind": Kind.CATEGORY, "site": course.site, "category_id": 6}, False),
    (
        "the same number in another site",
        lambda course, user: {"kind": Kind.CATEGORY, "site": make_site(name="South"), "category_id": 5},
        False,
    ),
    ("its manager", lambda course, user: {"kind": Kind.MANAGER, "user": user}, True),
    (
        "another manager of it",
        lambda course, user: {"kind": Kind.MANAGER, "user": make_manager(course, "omar")},
        False,
    ),
    ("this provider", lambda course, user: {"kind": Kind.ALL, "provider_id": PROVIDER}, True),
    ("another provider", lambda course, user: {"kind": Kind.ALL, "provider_id": PROVIDER + 1}, False),
    (
        "this provider to its manager",
        lambda course, user: {"kind": Kind.MANAGER, "user": user, "provider_id": PROVIDER},
        True,
    ),
]


@pytest.mark.parametrize(("target", "allows"), [row[1:] for row in GRANTS], ids=[row[0] for row in GRANTS])
def test_the_choice_the_save_and_the_claim_agree(
    course: Course, manager: User, target: Callable[[Course, User], dict[str, object]], allows: bool
) -> None:
    connection = make_connection(open_to_all=False)
    ConnectionGrant.objects.create(connection=connection, **target(course, manager))
    assert reach.reach_of(manager, course).allows(connection, PROVIDER) is allows
    if not allows:
        with pytest.raises(NotMapped, match="not open to this course"):
            choose(course, connection, manager)
        assert not CourseBadgeMapping.objects.exists()
    mapping = make_mapping(course, connection, chosen_by=manager)
    row = make_issuance(mapping)
    assert standing(row) == (QUEUED if allows else HELD)
    assert mapping.is_open is allows
    due = Issuance.objects.unsent_for(connection)
    assert list(due) == ([row] if allows else [])


def test_a_connection_is_open_to_nobody_but_site_admins_until_somebody_says_so(course: Course, manager: User) -> None:
    connection = make_connection(open_to_all=False)
    assert not reach.reach_of(manager, course).connections().exists()
    admin = User.objects.create_superuser("root")
    assert list(reach.reach_of(admin, course).connections()) == [connection]
    assert list(reach.reach_of(None, course).connections()) == [connection]


def test_somebody_who_does_not_manage_the_course_may_choose_nothing_for_it(course: Course, manager: User) -> None:
    connection = make_connection()
    other = make_manager(make_course(course.site), "omar")
    opened(connection, Kind.MANAGER, user=other)
    assert not reach.reach_of(other, course).connections().exists()
    with pytest.raises(NotMapped):
        choose(course, connection, other)
    User.objects.filter(pk=manager.pk).update(is_active=False)
    with pytest.raises(NotMapped):
        choose(course, connection, User.objects.get(pk=manager.pk))


def test_providers_opened_one_by_one_add_up(course: Course, manager: User) -> None:
    connection = make_connection(open_to_all=False)
    opened(connection, Kind.SITE, site=course.site, provider_id=11)
    opened(connection, Kind.MANAGER, user=manager, provider_id=12)
    may_use = reach.reach_of(manager, course)
    assert [may_use.allows(connection, provider) for provider in (11, 12, 13)] == [True, True, False]
    assert "This provider is not open" in may_use.refusal(connection, 13)
    opened(connection, Kind.ALL)
    assert reach.reach_of(manager, course).allows(connection, 13)


@pytest.mark.parametrize("by", ["a site admin", "a command"])
def test_what_a_site_admin_chose_goes_on_whatever_the_connection_is_open_to(
    course: Course, manager: User, by: str
) -> None:
    connection = make_connection(open_to_all=False)
    admin = User.objects.create_superuser("root") if by == "a site admin" else None
    choose(course, connection, admin)
    row = make_issuance(course.mapping)
    assert standing(row) == QUEUED
    if admin is not None:
        User.objects.filter(pk=admin.pk).update(is_active=False)
    assert standing(row) == QUEUED
    # A manager who may not use the connection may not save this mapping either.
    with pytest.raises(NotMapped):
        choose(course, connection, manager)
    assert standing(row) == QUEUED


def test_a_site_admins_approval_ends_where_a_manager_chooses_anew(course: Course, manager: User) -> None:
    connection = make_connection(open_to_all=False)
    choose(course, connection, None)
    grant = opened(connection, Kind.MANAGER, user=manager)
    choose(course, connection, manager)
    row = make_issuance(CourseBadgeMapping.objects.get())
    assert standing(row) == QUEUED
    reach.close_connection(grant)
    assert standing(row) == HELD


def test_a_closed_connection_issues_nothing_and_goes_on_by_itself_once_it_is_opened(
    sandbox: Sandbox, course: Course, manager: User
) -> None:
    connection = connect(sandbox, open_to_all=False)
    grant = opened(connection, Kind.SITE, site=course.site)
    mapping = map_course(sandbox, connection, course, chosen_by=manager)
    row = owe(mapping, next_attempt_at=timezone.now() + timedelta(hours=5))
    reach.close_connection(grant)
    assert standing(row) == HELD
    Issuance.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    send(row)
    assert (sandbox.navigatr.puts, row.attempts.count()) == ([], 0)
    assert status(timezone.now())["issuances"]["held"] == 1

    Issuance.objects.update(next_attempt_at=timezone.now() + timedelta(hours=5))
    opened_at = timezone.now() - timedelta(seconds=1)
    reach.open_connection(
        ConnectionGrant(connection=connection, kind=Kind.CATEGORY, site=course.site, category_id=5),
        actor=None,
        now=opened_at,
    )
    mapping.refresh_from_db()
    assert mapping.resumed_at == opened_at
    send(row)
    assert row.state == State.ISSUED


def test_a_connection_closed_between_choice_and_claim_sends_nothing(
    sandbox: Sandbox, course: Course, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(sandbox)
    row = owe(map_course(sandbox, connection, course, chosen_by=manager))
    chosen = Issuance.objects.filter(pk=row.pk)
    ConnectionGrant.objects.all().delete()
    # As if the query that chooses had run a moment earlier.
    monkeypatch.setattr("badging.models.IssuanceQuerySet.unsent_for", lambda rows, connection: chosen)
    assert Worker(connection).claim().to_send == []
    row.refresh_from_db()
    assert row.state == State.QUEUED


def test_what_would_be_sent_once_more_unseen_waits_while_the_connection_is_closed(course: Course) -> None:
    mapping = make_mapping(course)
    repeat = make_issuance(mapping, unanswered="repeat")
    unknown = make_issuance(mapping, unanswered="unknown")
    assert set(Issuance.objects.unknown_for(mapping.connection)) == {repeat, unknown}
    ConnectionGrant.objects.all().delete()
    assert standing(repeat) == HELD
    # Looking up issues nothing.
    assert standing(unknown) == QUEUED
    assert list(Issuance.objects.unknown_for(mapping.connection)) == [unknown]


def lose_the_course(user: User) -> None:
    CourseManager.objects.filter(user=user).delete()


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete(user: User) -> None:
    User.objects.get(pk=user.pk).delete()


@pytest.mark.parametrize("leave", [lose_the_course, deactivate, delete])
@pytest.mark.parametrize(("kind", "after"), [(Kind.MANAGER, HELD), (Kind.SITE, QUEUED)])
def test_what_a_manager_chose_is_held_when_they_leave_only_where_the_connection_was_open_to_them_alone(
    course: Course, manager: User, leave: Callable[[User], None], kind: Kind, after: tuple[State, str]
) -> None:
    connection = make_connection(open_to_all=False)
    opened(connection, kind, **({"user": manager} if kind == Kind.MANAGER else {"site": course.site}))
    choose(course, connection, manager)
    row = make_issuance(CourseBadgeMapping.objects.get())
    make_manager(course, "omar")
    assert standing(row) == QUEUED
    leave(manager)
    assert standing(row) == after


def test_a_course_that_moves_to_another_category_takes_nothing_along(course: Course, manager: User) -> None:
    connection = make_connection(open_to_all=False)
    opened(connection, Kind.CATEGORY, site=course.site, category_id=5)
    choose(course, connection, manager)
    row = make_issuance(CourseBadgeMapping.objects.get())
    assert standing(row) == QUEUED
    Course.objects.update(category_id=6)
    assert standing(row) == HELD


def test_other_holds_are_told_before_this_one(course: Course) -> None:
    mapping = make_mapping(course, make_connection(open_to_all=False), active=False)
    row = make_issuance(mapping)
    assert standing(row) == (State.HELD, Outcome.MAPPING_DISABLED)
    CourseBadgeMapping.objects.update(active=True)
    NavigatrConnection.objects.update(state="paused")
    assert standing(row) == (State.HELD, Outcome.CONNECTION_PAUSED)
    NavigatrConnection.objects.update(state="active")
    assert standing(row) == HELD


# Opening and closing


def test_opening_and_closing_is_kept_with_who_did_it_and_to_whom(course: Course, manager: User) -> None:
    admin = User.objects.create_superuser("root")
    connection = make_connection(name="Northgate", open_to_all=False)
    grant = ConnectionGrant(connection=connection, kind=Kind.MANAGER, user=manager, provider_id=11)
    grant = reach.open_connection(grant, actor=admin, now=NOW)
    again = ConnectionGrant(connection=connection, kind=Kind.MANAGER, user=manager, provider_id=11)
    assert reach.open_connection(again, actor=admin, now=NOW) == grant
    reach.close_connection(grant, actor=admin)
    assert not ConnectionGrant.objects.exists()
    entries = AuditEntry.objects.order_by("pk").values_list("action", "subject", "actor", "details")
    to = {"to": "manager", "provider": 11, "user": manager.pk, "manager": manager.username}
    assert list(entries) == [
        ("connection_opened", "Northgate (Staging)", admin.pk, to),
        ("connection_closed", "Northgate (Staging)", admin.pk, to),
    ]


def test_opening_to_a_new_set_keeps_what_is_in_both(course: Course) -> None:
    connection = make_connection()
    all_grant = connection.grants.get()
    words = ["all", "site:North", "category:5:North"]
    grants = [grant for word in words if (grant := reach.grant_from(word))]
    reach.open_only_to(connection, grants, now=NOW)
    assert [grant.target for grant in connection.grants.order_by("pk")] == [
        "everybody",
        "Moodle site North",
        "category 5 of North",
    ]
    assert connection.grants.first() == all_grant
    reach.open_only_to(connection, [], now=NOW)
    assert not connection.grants.exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("site:South", "no such Moodle site"),
        ("category:6:North", "5 (Health)"),
        ("category:five:North", "5 (Health)"),
        ("category:5:South", "no such Moodle site"),
        ("manager:nobody", "no user"),
        ("everybody", "--open-to takes"),
        ("", "--open-to takes"),
    ],
)
def test_what_does_not_exist_cannot_be_opened_to(course: Course, word: str, says: str) -> None:
    with pytest.raises(reach.NotOpened) as refused:
        reach.grant_from(word)
    assert says in str(refused.value)


def test_the_database_refuses_a_grant_that_names_no_target_or_two(course: Course, manager: User) -> None:
    connection = make_connection(open_to_all=False)
    for wrong in (
        {"kind": Kind.SITE},
        {"kind": Kind.MANAGER},
        {"kind": Kind.CATEGORY, "site": course.site},
        {"kind": Kind.ALL, "site": course.site},
        {"kind": Kind.MANAGER, "user": manager, "site": course.site},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ConnectionGrant.objects.create(connection=connection, **wrong)


def test_a_list_of_mappings_is_asked_in_one_query(course: Course, django_assert_num_queries: Any) -> None:
    for number in range(5):
        make_mapping(make_course(course.site, moodle_id=100 + number))
    with django_assert_num_queries(1):
        rows = list(CourseBadgeMapping.objects.with_reach().select_related("connection"))
        assert [row.hold_reason for row in rows] == [None] * 5
