"""Which badge a course awards: choosing, changing, switching, removing, and what happens to what waits."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from badging import by_hand
from badging import mapping as mappings
from badging.mapping import NotMapped, wanted_courses
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection
from moodle_sync.models import Course
from navigatr_client import Badge, NavigatrError, Provider
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    NOW,
    OTHER_BADGE,
    PROVIDER,
    connect,
    make_attempt,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    map_course,
    mapping_of,
    owe,
)
from tests.worker import send

pytestmark = pytest.mark.django_db
State = Issuance.State
LATER = NOW + timedelta(hours=1)


def a_badge(number: int = OTHER_BADGE, **fields: Any) -> Badge:
    known = {
        "name": "Other",
        "description": "",
        "status": "Published",
        "source": "Internal",
        "type": "Badge",
        "image_url": "https://navigatr.example/b.svg",
        "url": "https://navigatr.example/b",
        "provider_ids": (PROVIDER,),
    }
    return Badge(id=number, **known | fields)


def change(mapping: CourseBadgeMapping, **fields: Any) -> CourseBadgeMapping:
    choice = {
        "course": mapping.course,
        "connection": mapping.connection,
        "provider": Provider(PROVIDER, "Northgate College"),
        "badge": a_badge(),
        "min_score": mapping.min_score,
        "now": LATER,
    }
    return mappings.save_mapping(**choice | fields)


def test_a_badge_is_found_with_its_provider(sandbox: Sandbox) -> None:
    provider, badge = mappings.find_badge(connect(sandbox), provider_id=PROVIDER, badge_id=BADGE)
    assert (provider.name, badge.name) == ("Northgate College", "Safeguarding Essentials")


@pytest.mark.parametrize(
    ("provider_id", "badge_name", "says"),
    [
        (PROVIDER + 2, "Safeguarding Essentials", "may not issue for provider"),
        (PROVIDER + 1, "Safeguarding Essentials", "does not belong to this provider"),
        (PROVIDER, "Cloud Basics (Credly)", "its source Credly"),
        (PROVIDER, "Evacuation Marshal (draft)", "its status is Draft"),
    ],
)
def test_what_cannot_be_issued_cannot_be_chosen(sandbox: Sandbox, provider_id: int, badge_name: str, says: str) -> None:
    badge_id = next(badge.id for badge in sandbox.navigatr.badges.values() if badge.name == badge_name)
    with pytest.raises(NotMapped, match=says):
        mappings.find_badge(connect(sandbox), provider_id=provider_id, badge_id=badge_id)


def test_an_unknown_badge_and_an_unreachable_navigatr_are_told_apart(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    with pytest.raises(NotMapped, match="no badge with the number 5"):
        mappings.find_badge(connection, provider_id=PROVIDER, badge_id=5)
    sandbox.faults.on("503", call="all")
    with pytest.raises(NotMapped, match="try again later"):
        mappings.find_badge(connection, provider_id=PROVIDER, badge_id=BADGE)


def test_ids_of_staging_are_unknown_in_production(sandbox: Sandbox) -> None:
    production = connect(sandbox, environment="production", pat=sandbox.production_pat)
    with pytest.raises(NotMapped):
        mappings.find_badge(production, provider_id=PROVIDER, badge_id=BADGE)


def test_a_new_mapping_counts_from_now_and_keeps_the_badge_as_last_seen() -> None:
    course, connection = make_course(), make_connection()
    mapping = mappings.save_mapping(
        course=course,
        connection=connection,
        provider=Provider(PROVIDER, "P" * 300),
        badge=a_badge(name="B" * 300, image_url="javascript:alert(1)"),
        now=NOW,
    )
    assert (mapping.since, mapping.include_past, mapping.active) == (NOW, False, True)
    assert (mapping.provider_name, mapping.badge_name) == ("P" * 255, "B" * 255)
    assert (mapping.badge_image_url, mapping.badge_url) == ("", "https://navigatr.example/b")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.details["badge"], entry.details["environment"]) == (
        "mapping_saved",
        OTHER_BADGE,
        "staging",
    )


def test_past_completions_are_read_again_where_they_are_wanted() -> None:
    mapping = make_mapping(make_course(past_read_at=NOW, read_at=NOW, next_offset=50))
    change(mapping)
    assert Course.objects.get().past_read_at == NOW
    assert change(mapping, include_past=True).include_past
    assert [row.past_is_due for row in wanted_courses(mapping.course.site)] == [True]


def test_what_was_sent_under_a_removed_mapping_goes_on_under_the_next_and_what_was_not_does_not() -> None:
    mapping = make_mapping()
    tried, waited = make_issuance(mapping, state="failed", reason="not_found"), make_issuance(mapping)
    decided = make_issuance(mapping, state="not_met", reason="no_score")
    make_attempt(tried, outcome="not_found")
    make_attempt(decided, kind="decision", outcome="no_score")
    mappings.remove_mapping(mapping)
    again = mappings.save_mapping(
        course=mapping.course,
        connection=mapping.connection,
        provider=Provider(PROVIDER, "P"),
        badge=a_badge(),
        now=NOW,
    )
    for row in (tried, waited, decided):
        row.refresh_from_db()
    assert (tried.state, tried.mapping) == ("queued", again)
    for row in (waited, decided):
        assert (row.state, row.reason) == ("cancelled", "mapping_removed")


def test_changing_the_badge_moves_what_waits_and_what_failed_and_asks_holders_nothing() -> None:
    mapping = make_mapping()
    rows = {
        state: make_issuance(mapping, state=state, reason=reason, assertion_id="9", failures=3, first_attempt_at=NOW)
        for state, reason in [
            ("queued", "unavailable"),
            ("held", "learner_suspended"),
            ("failed", "not_found"),
            ("not_met", "not_met"),
            ("issued", "issued"),
            ("cancelled", "by_hand"),
        ]
    }
    change(mapping)
    for row in rows.values():
        row.refresh_from_db()
    moved = [rows[state] for state in ("queued", "failed", "not_met")]
    assert {(row.state, row.failures, row.first_attempt_at) for row in moved} == {("queued", 0, None)}
    assert rows["held"].state == "held"
    assert (rows["issued"].state, rows["issued"].badge_id) == ("issued", 111)
    assert (rows["cancelled"].state, rows["cancelled"].badge_id) == ("cancelled", 111)
    assert AuditEntry.objects.get().details["moved"] == 3


@pytest.mark.parametrize(("min_score", "again"), [(None, False), (40, True)])
def test_saving_the_same_badge_asks_again_only_where_the_minimum_score_changed(
    min_score: int | None, again: bool
) -> None:
    row = make_issuance(state="not_met")
    change(mapping_of(row), badge=a_badge(111), min_score=min_score)
    row.refresh_from_db()
    assert row.state == ("queued" if again else "not_met")


def test_changing_to_a_paused_connection_holds_what_waits() -> None:
    row = make_issuance()
    change(mapping_of(row), connection=make_connection(state="paused"))
    row.refresh_from_db()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.CONNECTION_PAUSED)


def test_removing_cancels_what_is_not_sent_and_keeps_the_rest() -> None:
    mapping = make_mapping()
    unsent = [make_issuance(mapping, state=state) for state in ("queued", "held", "failed", "not_met")]
    unknown = make_issuance(mapping, unanswered="unknown")
    issued = make_issuance(mapping, state="issued", assertion_id="1")
    assert mappings.remove_mapping(mapping) == 4
    for row in unsent:
        row.refresh_from_db()
        assert (row.state, row.reason, row.next_attempt_at) == (State.CANCELLED, Outcome.MAPPING_REMOVED, None)
    unknown.refresh_from_db()
    issued.refresh_from_db()
    assert (unknown.state, issued.state, issued.mapping) == (State.QUEUED, State.ISSUED, None)
    assert not CourseBadgeMapping.objects.exists()
    assert AuditEntry.objects.get().details["cancelled"] == 4


def test_disabling_holds_and_enabling_lets_go_on() -> None:
    row = make_issuance(failures=2, next_attempt_at=LATER + timedelta(hours=4))
    assert mappings.disable_mapping(mapping_of(row)) == 1
    row.refresh_from_db()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert mappings.enable_mapping(mapping_of(row), now=LATER) == 1
    row.refresh_from_db()
    assert (row.standing, row.failures, row.next_attempt_at) == (State.QUEUED, 2, LATER)
    assert list(AuditEntry.objects.values_list("action", flat=True)) == ["mapping_enabled", "mapping_disabled"]


def test_sending_again_takes_all_but_what_is_issued_held_or_on_its_way() -> None:
    mapping = make_mapping()
    for state in ("failed", "not_met", "cancelled", "queued", "held", "issued"):
        make_issuance(mapping, state=state, assertion_id="1")
    assert by_hand.send_again(Issuance.objects.all(), now=LATER) == 4
    assert set(Issuance.objects.filter(next_attempt_at=LATER).values_list("state", flat=True)) == {"queued"}
    again = list(Issuance.objects.filter(next_attempt_at=LATER).order_by("pk").values_list("pk", flat=True))
    assert AuditEntry.objects.get().details == {"count": 4, "issuances": again}


def test_a_press_that_changes_nothing_leaves_no_entry() -> None:
    make_issuance(state="issued", assertion_id="1")
    assert by_hand.send_again(Issuance.objects.all(), now=LATER) == by_hand.cancel(Issuance.objects.all()) == 0
    assert not AuditEntry.objects.exists()


def test_cancelling_by_hand_leaves_what_may_have_been_sent() -> None:
    mapping = make_mapping()
    row, unknown = make_issuance(mapping), make_issuance(mapping, unanswered="unknown")
    assert by_hand.cancel(Issuance.objects.all()) == 1
    row.refresh_from_db()
    unknown.refresh_from_db()
    assert (row.state, row.reason, row.next_attempt_at) == (State.CANCELLED, Outcome.BY_HAND, None)
    assert unknown.state == State.QUEUED


def test_the_daily_look_notes_badges_that_can_no_longer_be_issued(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    good, draft, gone = [
        make_mapping(connection=connection, badge_id=BADGE + number, badge_name="as before") for number in range(3)
    ]
    sandbox.navigatr.set_badge(draft.badge_id, status="Draft")
    sandbox.navigatr.delete_badge(gone.badge_id)
    assert mappings.refresh_badges(connection, now=LATER) == 2
    for mapping in (good, draft, gone):
        mapping.refresh_from_db()
    assert (good.badge_name, good.badge_problem) == ("Safeguarding Essentials", "")
    assert "is Draft in Navigatr" in draft.badge_problem
    assert (gone.badge_name, "does not know this badge" in gone.badge_problem) == ("as before", True)
    sandbox.faults.on("503", call="badge")
    with pytest.raises(NavigatrError):
        mappings.refresh_badges(NavigatrConnection.objects.get(), now=LATER)


def failed_with(mapping: CourseBadgeMapping, *reasons: str) -> list[Issuance]:
    return [make_issuance(mapping, state="failed", reason=reason, next_attempt_at=None) for reason in reasons]


def states(rows: list[Issuance]) -> list[tuple[str, str]]:
    found = Issuance.objects.in_bulk([row.pk for row in rows])
    return [(found[row.pk].state, found[row.pk].reason) for row in rows]


def test_a_badge_that_is_published_again_queues_what_had_failed_for_it(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    rows = failed_with(mapping, Outcome.UNPUBLISHED, Outcome.NOT_FOUND, Outcome.FORBIDDEN)
    others = failed_with(mapping, Outcome.GAVE_UP, Outcome.BAD_SOURCE, Outcome.PROFILE_REFUSED)
    sandbox.navigatr.set_badge(BADGE, status="Draft")
    assert mappings.refresh_badges(mapping.connection, now=LATER) == 1
    assert {state for state, _reason in states(rows)} == {State.FAILED}
    sandbox.navigatr.set_badge(BADGE, status="Published")
    assert mappings.refresh_badges(mapping.connection, now=LATER) == 0
    assert states(rows) == [(State.QUEUED, "")] * 3
    assert {state for state, _reason in states(others)} == {State.FAILED}
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject) == ("badge_back", None, str(mapping.course))
    assert entry.details == {"badge": BADGE, "environment": "staging", "queued": 3}


def test_a_provider_that_the_account_may_issue_for_again_queues_what_was_forbidden(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    rows = failed_with(mapping, Outcome.FORBIDDEN)
    sandbox.navigatr.set_provider(PROVIDER, admin=False)
    assert mappings.refresh_badges(mapping.connection, now=LATER) == 1
    mapping.refresh_from_db()
    assert "may not issue for this provider any more" in mapping.badge_problem
    sandbox.navigatr.set_provider(PROVIDER, admin=True)
    assert mappings.refresh_badges(mapping.connection, now=LATER) == 0
    mapping.refresh_from_db()
    assert (mapping.badge_problem, states(rows)) == ("", [(State.QUEUED, "")])


def test_a_problem_that_no_look_had_noticed_is_mended_once_by_each_look(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    [unpublished, forbidden] = failed_with(mapping, Outcome.UNPUBLISHED, Outcome.FORBIDDEN)
    sandbox.navigatr.set_provider(PROVIDER, active=False)
    assert mappings.refresh_badges(mapping.connection, now=timezone.now()) == 0
    # What was always allowed is not tried again and again.
    assert states([unpublished, forbidden]) == [(State.QUEUED, ""), (State.FAILED, Outcome.FORBIDDEN)]
    send(unpublished)
    assert (unpublished.state, unpublished.reason) == (State.FAILED, Outcome.UNPUBLISHED)
    sandbox.navigatr.set_provider(PROVIDER, active=True)
    mappings.refresh_badges(mapping.connection, now=timezone.now())
    send(unpublished)
    assert unpublished.state == State.ISSUED
    assert AuditEntry.objects.filter(action="badge_back").count() == 2


def test_choosing_a_badge_that_can_be_issued_again_queues_what_had_failed_elsewhere(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, badge_problem="The badge is Draft in Navigatr.")
    other = map_course(sandbox, mapping.connection, badge_id=OTHER_BADGE)
    [row, untouched] = [*failed_with(mapping, Outcome.NOT_FOUND), *failed_with(other, Outcome.UNPUBLISHED)]
    mappings.find_badge(mapping.connection, provider_id=PROVIDER, badge_id=BADGE)
    mapping.refresh_from_db()
    assert (mapping.badge_problem, mapping.badge_name) == ("", "Safeguarding Essentials")
    assert states([row, untouched]) == [(State.QUEUED, ""), (State.FAILED, Outcome.UNPUBLISHED)]
    mappings.find_badge(mapping.connection, provider_id=PROVIDER, badge_id=OTHER_BADGE)
    assert states([untouched]) == [(State.QUEUED, "")]


def test_a_badge_seen_for_a_mapping_that_was_changed_meanwhile_changes_nothing(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    [row] = failed_with(mapping, Outcome.UNPUBLISHED)
    CourseBadgeMapping.objects.update(badge_id=OTHER_BADGE, badge_problem="Draft")
    assert mappings.note_badge(mapping, now=LATER) == 0
    mapping.refresh_from_db()
    assert (mapping.badge_problem, states([row])) == ("Draft", [(State.FAILED, Outcome.UNPUBLISHED)])


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://navigatr.example/b", "https://navigatr.example/b"),
        ("javascript:alert(1)", ""),
        ("https://x/" + "y" * 2000, ""),
    ],
)
def test_only_web_addresses_are_kept(url: str, kept: str) -> None:
    assert mappings.web_address(url) == kept


def test_enabling_under_a_paused_connection_lets_nothing_go_on() -> None:
    row = make_issuance(make_mapping(connection=make_connection(state="paused"), active=False))
    assert mappings.enable_mapping(mapping_of(row), now=LATER) == 0


def test_cancelling_names_only_what_it_cancelled() -> None:
    mapping = make_mapping()
    waiting = make_issuance(mapping)
    make_issuance(mapping, state="issued", assertion_id="1")
    assert by_hand.cancel(Issuance.objects.all()) == 1
    assert AuditEntry.objects.get().details["issuances"] == [waiting.pk]


def test_changing_the_badge_of_a_disabled_mapping_leaves_it_disabled() -> None:
    row = make_issuance(make_mapping(active=False))
    assert not change(mapping_of(row)).active
    row.refresh_from_db()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)


def test_the_daily_look_asks_for_each_badge_once_and_keeps_since_when_it_is_wrong(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    one, same, draft = (map_course(sandbox, connection, badge_id=badge) for badge in (BADGE, BADGE, OTHER_BADGE))
    sandbox.navigatr.set_badge(OTHER_BADGE, status="Draft")
    assert mappings.refresh_badges(connection, now=NOW) == 1
    # The providers, and two badges.
    assert len(sandbox.navigatr.ledger) == 3
    mappings.refresh_badges(connection, now=LATER)
    for mapping in (one, same, draft):
        mapping.refresh_from_db()
        assert mapping.badge_checked_at == LATER
    assert (one.badge_problem_since, same.badge_problem_since, draft.badge_problem_since) == (None, None, NOW)
    sandbox.navigatr.set_badge(OTHER_BADGE, status="Published")
    mappings.refresh_badges(connection, now=LATER)
    draft.refresh_from_db()
    assert (draft.badge_problem, draft.badge_problem_since) == ("", None)


def test_looking_up_again_sends_nothing_unseen(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    mapping = map_course(sandbox, connection)
    stuck = owe(mapping, state=State.FAILED, reason=Outcome.LOOKUP_REFUSED, unanswered="unknown", first_attempt_at=NOW)
    refused = owe(mapping, state=State.FAILED, reason=Outcome.FORBIDDEN)
    kim = User.objects.create_user("kim")
    assert by_hand.look_up_again(Issuance.objects.all(), actor=kim, now=timezone.now()) == 1
    stuck.refresh_from_db()
    refused.refresh_from_db()
    assert (stuck.state, stuck.unanswered, refused.state) == (State.QUEUED, "repeated", State.FAILED)
    # Navigatr still lets nobody look: it fails again, and was not sent.
    sandbox.faults.on("lookup_403", call="lookup")
    send(stuck)
    stuck.refresh_from_db()
    assert (stuck.state, stuck.reason) == (State.FAILED, Outcome.LOOKUP_REFUSED)
    assert not stuck.attempts.filter(kind="send").exists()
