"""What Navigatr's official Moodle plugin (1.2.0) was measured to get wrong, and that the portal does not."""

import re
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from badging import connections, queueing
from badging import mapping as mappings
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.sending import rounds
from moodle_sync.client.records import share_in_percent
from moodle_sync.models import Completion, Learner
from navigatr_client import NavigatrClient
from sandbox import DEMO_PROVIDER_ID, Sandbox
from tests.builders import (
    BADGE,
    OTHER_BADGE,
    PROVIDER,
    connect,
    make_completion,
    make_course,
    make_learner,
    map_course,
    owe,
)
from tests.commands.calling import manage
from tests.worker import attempts, bring_forward, send, take, trail

pytestmark = pytest.mark.django_db


def test_the_badge_goes_to_the_learner_who_completed_and_not_to_who_acted(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    make_learner(mapping.course.site, firstname="Teacher", email="teacher@example.org")
    learner = make_learner(mapping.course.site, email="learner@example.org")
    queueing.queue_completions([make_completion(mapping.course, learner)], now=timezone.now())
    rounds.send_all_due()
    assert [put.body["recipient_email"] for put in sandbox.navigatr.puts] == ["learner@example.org"]


@pytest.mark.parametrize("fault", ["401", "429", "timeout", "refuse", "down", "503"])
def test_no_trouble_on_the_way_loses_a_badge(sandbox: Sandbox, fault: str) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, fault, seconds=1.3)
    send(row)
    assert row.state in ("queued", "held")
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    bring_forward(row)
    send(row)
    assert row.state == "issued"
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1


def test_a_500_after_the_commit_does_not_issue_twice(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    send(row)
    assert row.state == "issued"
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1


def test_a_kill_between_the_call_and_the_audit_row_does_not_issue_twice(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).ask().die()
    rounds.send_all_due()
    row.refresh_from_db()
    assert row.state == "issued"
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1


def test_202_is_not_issued_and_is_tried_again_when_the_score_changes(sandbox: Sandbox) -> None:
    distinction = next(badge.id for badge in sandbox.navigatr.badges.values() if badge.min_score == 80)
    row = owe(map_course(sandbox, badge_id=distinction), score=60)
    send(row)
    assert (row.state, row.assertion_id) == ("not_met", "")
    row.completion.score = 85
    row.completion.save()
    queueing.queue_completions([row.completion], now=timezone.now())
    send(row)
    assert row.state == "issued"


def test_re_mapping_spends_nothing_that_waits(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(3)]
    provider, badge = mappings.find_badge(mapping.connection, provider_id=PROVIDER, badge_id=OTHER_BADGE)
    mappings.save_mapping(
        course=mapping.course, connection=mapping.connection, provider=provider, badge=badge, now=timezone.now()
    )
    send(rows[0])
    assert {put.path for put in sandbox.navigatr.puts} == {f"/badge/{OTHER_BADGE}/issue"}
    assert Issuance.objects.filter(state="issued", badge_id=OTHER_BADGE).count() == 3


def test_removing_a_connection_spends_nothing_that_waits(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    connection = NavigatrConnection.objects.get()
    connections.remove(connection, actor=None, now=timezone.now())
    rounds.send_all_due()
    assert sandbox.navigatr.puts == []
    connection.pat = sandbox.pat
    connections.save_tested(connection, connections.try_out(connection), actor=None, now=timezone.now())
    send(row)
    assert row.state == "issued"


def test_all_badges_can_be_chosen_and_not_only_the_first_fifty(sandbox: Sandbox, client: Client) -> None:
    with NavigatrClient(sandbox.navigatr_url, sandbox.pat) as navigatr:
        found = navigatr.badges(DEMO_PROVIDER_ID)
    published = [
        badge
        for badge in sandbox.navigatr.badges.values()
        if (badge.provider_id, badge.status, badge.source) == (DEMO_PROVIDER_ID, "Published", "Internal")
    ]
    assert len(found) == len(published) > 100
    for_learners = {badge.id for badge in published if badge.recipient_type == "User"}
    connection, course = connect(sandbox), make_course()
    client.force_login(User.objects.create_superuser("admin"))
    chosen = {"connection": connection.pk, "provider": DEMO_PROVIDER_ID}
    address = reverse("choose-badge", args=[course.pk])
    offered: set[int] = set()
    number = 1
    while True:
        page = client.get(address, chosen | {"page": number}).content.decode()
        here = {int(badge) for badge in re.findall(r"[?&;]badge=(\d+)", page)}
        assert not here & offered
        offered |= here
        number += 1
        if f"page={number}" not in page:
            break
    assert offered == for_learners


def test_every_attempt_has_a_row_of_its_own(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    for fault in ("503", "429", "500_before"):
        sandbox.faults.plan(row.learner.email, fault)
        send(row)
        bring_forward(row)
    send(row)
    assert trail(row) == [
        ("send", "unclear"),
        ("lookup", "not_there"),
        ("send", "rate_limited"),
        ("send", "unclear"),
        ("lookup", "not_there"),
        ("send", "issued"),
    ]
    assert [attempt.status for attempt in attempts(row)] == [503, None, 429, 500, None, 201]
    times = [attempt.at for attempt in attempts(row)]
    assert times == sorted(times)
    assert IssuanceAttempt.objects.count() == 6


def test_the_score_is_the_share_of_the_learners_own_maximum_and_never_made_up(sandbox: Sandbox) -> None:
    # 18 of 20 points, where the plugin divides by the course's 100; and no grade at all.
    assert share_in_percent(Decimal(18), Decimal(0), Decimal(20)) == 90
    assert share_in_percent(None, Decimal(0), Decimal(20)) is None
    mapping = map_course(sandbox)
    graded, ungraded = owe(mapping, score=90), owe(mapping, score=None)
    send(graded)
    scores = {put.body["recipient_email"]: put.body.get("score") for put in sandbox.navigatr.puts}
    assert scores == {graded.learner.email: 90, ungraded.learner.email: None}


def test_ids_of_staging_are_never_used_in_production(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    row = owe(mapping)
    production = connect(sandbox, environment="production", pat=sandbox.production_pat)
    with pytest.raises(mappings.NotMapped):
        mappings.find_badge(production, provider_id=PROVIDER, badge_id=BADGE)
    connection = NavigatrConnection.objects.get(pk=mapping.connection_id)
    connection.environment, connection.pat = "production", sandbox.production_pat
    with pytest.raises(connections.EnvironmentIsFixed):
        connections.save_tested(connection, connections.try_out(connection), actor=None, now=timezone.now())
    send(row)
    assert sandbox.production.puts == []
    assert len(sandbox.navigatr.puts) == 1


def test_testing_a_connection_saves_nothing_that_failed(sandbox: Sandbox) -> None:
    connection = NavigatrConnection(name="College", environment="staging", pat=sandbox.pat)
    connections.save_tested(connection, connections.try_out(connection), actor=None, now=timezone.now())
    kept = ("Priya Admin", sandbox.pat, f"…{sandbox.pat[-4:]}", "active")

    def saved() -> tuple[str, str, str, str]:
        row = NavigatrConnection.objects.get()
        return (row.account, row.pat, row.pat_hint, row.state)

    assert saved() == kept
    connection.pat, connection.pat_hint, connection.account, connection.state = "wrong", "…rong", "Nobody", "paused"
    assert not connections.retest(connection, actor=None, now=timezone.now()).ok
    assert saved() == kept
    # The note of the test is all that is written.
    assert NavigatrConnection.objects.get().test_ok is False
    arguments = ("--name", "College", "--environment", "staging", "--pat-stdin")
    assert manage("connect_navigatr", *arguments, stdin="wrong").code == 1
    assert saved() == kept


def test_a_re_import_or_a_changed_address_gives_no_second_badge(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    send(row)
    Learner.objects.update(email="changed@example.org", email_key="changed@example.org")
    Completion.objects.update(completed_at=timezone.now())
    assert queueing.queue_completions(list(Completion.objects.all()), now=timezone.now()) == 0
    assert rounds.send_all_due().attempts == 0
    assert len(sandbox.navigatr.assertions) == 1
