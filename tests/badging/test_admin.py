"""The admin's pages of connections, mappings, issuances and audit, used as a browser uses them."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import escape

from badging.admin.tools import MOST_CHOSEN, MOST_SHOWN
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, CourseManager, Issuance, IssuanceAttempt, NavigatrConnection
from badging.setup import COURSE_MANAGERS, DATA_PROTECTION_OFFICERS, SITE_ADMINS
from config import celery_app
from moodle_sync.models import Completion, Learner, MoodleSite
from sandbox import Sandbox
from vault.fields import Sealed

from ..builders import (
    NOW,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

State = Issuance.State
IN_2028 = datetime(2028, 2, 1, 9, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db

MODELS = [
    "badging_navigatrconnection",
    "badging_coursebadgemapping",
    "badging_coursemanager",
    "badging_issuance",
    "badging_issuanceattempt",
    "badging_auditentry",
    "moodle_sync_moodlesite",
    "moodle_sync_course",
    "moodle_sync_learner",
    "moodle_sync_completion",
]
READ_ONLY = [name for name in MODELS if not name.endswith(("connection", "coursemanager", "moodlesite"))]


def signed_in(group: str, name: str = "person") -> Client:
    user = User.objects.create_user(name, password="x", is_staff=group != COURSE_MANAGERS)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def site_admin() -> Client:
    """One of the group "Site admins", no superuser."""
    return signed_in(SITE_ADMINS, "site-admin")


@pytest.fixture
def officer() -> Client:
    return signed_in(DATA_PROTECTION_OFFICERS, "officer")


def attempt_of(issuance: Issuance, **fields: Any) -> IssuanceAttempt:
    values = {"kind": "send", "at": NOW, "status": 503, "outcome": Outcome.UNAVAILABLE, "environment": "staging"}
    ids = {"provider_id": issuance.provider_id, "badge_id": issuance.badge_id}
    return IssuanceAttempt.objects.create(issuance=issuance, **values | ids | fields)


def one_of_each() -> dict[str, int]:
    """A row of every model, all of them belonging together; returns their ids by the name of their pages."""
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    manager = User.objects.create_user("manager")
    return {
        "badging_navigatrconnection": issuance.connection_id,
        "badging_coursebadgemapping": issuance.mapping_id,
        "badging_coursemanager": CourseManager.objects.create(user=manager, course=issuance.course).pk,
        "badging_issuance": issuance.pk,
        "badging_issuanceattempt": attempt_of(issuance).pk,
        "badging_auditentry": AuditEntry.objects.create(action="site_saved", subject="Moodle").pk,
        "moodle_sync_moodlesite": issuance.course.site_id,
        "moodle_sync_course": issuance.course_id,
        "moodle_sync_learner": issuance.learner_id,
        "moodle_sync_completion": issuance.completion_id,
    }


def listed(name: str, **query: Any) -> str:
    return reverse(f"admin:{name}_changelist", query=query or None)


def page_of(name: str, pk: int) -> str:
    return reverse(f"admin:{name}_change", args=[pk])


def run(client: Client, name: str, action: str, *pks: int, **more: str) -> Any:
    """Press an action's button, following where it leads."""
    data = {"action": action, "_selected_action": [str(pk) for pk in pks], **more}
    return client.post(listed(name), data, follow=True)


def confirm(client: Client, name: str, action: str, *pks: int) -> Any:
    return run(client, name, action, *pks, confirmed="yes")


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request)) + response.content.decode()


def rows_shown(response: Any) -> list[int]:
    return [row.pk for row in response.context["cl"].result_list]


# Every page


@pytest.mark.parametrize("group", [SITE_ADMINS, DATA_PROTECTION_OFFICERS])
@pytest.mark.parametrize("name", MODELS)
def test_every_list_and_page_opens(name: str, group: str) -> None:
    pk = one_of_each()[name]
    client = signed_in(group)
    assert client.get(listed(name)).status_code == 200
    assert client.get(page_of(name, pk)).status_code == 200


@pytest.mark.parametrize("name", MODELS)
def test_every_list_can_be_searched(name: str, site_admin: Client) -> None:
    one_of_each()
    for term in ("learner101@example.org", "Ana Lee", "101", "Course", "Zoë’s", "99999999999999999999999"):
        assert site_admin.get(listed(name, q=term)).status_code == 200


@pytest.mark.parametrize("name", MODELS)
def test_looking_at_pages_changes_nothing(name: str, site_admin: Client) -> None:
    pk = one_of_each()[name]
    with CaptureQueriesContext(
        database,
    ) as seen:
        site_admin.get(listed(name))
        site_admin.get(page_of(name, pk))
        site_admin.get(listed(name, action="send_again", confirmed="yes", _selected_action=pk))
    assert not [row["sql"] for row in seen if re.match(r"INSERT|UPDATE|DELETE", row["sql"])]


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_the_portal_writes_cannot_be_written_by_hand(name: str, site_admin: Client) -> None:
    pk = one_of_each()[name]
    assert site_admin.post(page_of(name, pk), {"state": "issued", "subject": "x", "email": "x"}).status_code == 403
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert site_admin.get(reverse(f"admin:{name}_add")).status_code == 403
    confirm(site_admin, name, "delete_selected", pk)
    assert site_admin.get(page_of(name, pk)).status_code == 200


def test_course_managers_and_strangers_do_not_come_in() -> None:
    for client in (signed_in(COURSE_MANAGERS), Client()):
        for name in MODELS:
            assert client.get(listed(name)).status_code == 302
        assert client.post(listed("badging_issuance"), {"action": "cancel", "_selected_action": "1"}).status_code == 302


def test_the_pages_carry_the_portals_name_and_the_schedule_stays_editable(site_admin: Client) -> None:
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Navigatr badge portal" in page
    assert reverse("admin:django_celery_beat_periodictask_changelist") in page


# Queries


def many_issuances(number: int) -> CourseBadgeMapping:
    """That many learners with a completion, a failed issuance and an attempt each, of one course."""
    mapping = make_mapping()
    site = mapping.course.site
    learners = Learner.objects.bulk_create(
        Learner(
            site=site,
            moodle_id=1000 + n,
            firstname="Ana",
            lastname=f"L{n}",
            email=f"l{n}@x.org",
            email_key=f"l{n}@x.org",
        )
        for n in range(number)
    )
    completions = Completion.objects.bulk_create(
        Completion(
            course=mapping.course,
            learner=learner,
            completed_at=NOW,
            time_source="report",
            seen_at=NOW,
            confirmed_at=NOW,
        )
        for learner in learners
    )
    issuances = Issuance.objects.bulk_create(
        Issuance(
            course=mapping.course, learner=row.learner, completion=row, mapping=mapping, connection=mapping.connection,
            environment="staging", provider_id=11, badge_id=111, badge_name="Safeguarding", state=State.FAILED,
            reason=Outcome.FORBIDDEN, queued_at=NOW,
        )
        for row in completions
    )  # fmt: skip
    IssuanceAttempt.objects.bulk_create(
        IssuanceAttempt(
            issuance=row, kind="send", at=NOW, outcome=Outcome.FORBIDDEN, environment="staging", provider_id=11,
            badge_id=111,
        )
        for row in issuances
    )  # fmt: skip
    AuditEntry.objects.bulk_create(AuditEntry(action="cancelled", subject=str(n)) for n in range(number))
    return mapping


# Each list: session, user, the user's and the groups' permissions, the bounded count, the rows with what they show.
# What stands behind the filters comes on top, and is named.
LISTS = {
    "badging_issuance": 8,  # connections, mapped courses
    "badging_issuanceattempt": 6,
    "badging_auditentry": 6,
    "moodle_sync_learner": 7,  # sites
    "moodle_sync_completion": 7,  # mapped courses
}


@pytest.mark.parametrize(("name", "queries"), LISTS.items())
def test_long_lists_take_few_queries_and_count_no_further_than_some_pages(
    name: str, queries: int, site_admin: Client
) -> None:
    many_issuances(3100)
    with CaptureQueriesContext(database) as seen:
        response = site_admin.get(listed(name))
    assert len(seen) == queries, [row["sql"] for row in seen]
    counts = [row["sql"] for row in seen if "COUNT(" in row["sql"]]
    assert counts
    assert all("LIMIT" in sql for sql in counts)
    assert len(rows_shown(response)) == 50
    assert "More than 550" in response.content.decode()


def test_a_short_list_is_counted_and_a_far_page_is_reached(site_admin: Client) -> None:
    many_issuances(700)
    assert len(rows_shown(site_admin.get(listed("badging_issuance", p=14)))) == 50
    last = site_admin.get(listed("badging_issuance", p=14)).content.decode()
    assert "700 issuances" in last
    assert "More than" not in last
    assert site_admin.get(listed("badging_issuance", p="x")).status_code in (200, 302)


def test_a_page_about_one_thing_shows_a_bounded_number_of_rows(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.UNAVAILABLE)
    for number in range(MOST_SHOWN + 10):
        attempt_of(issuance, detail=f"words number {number}.")
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert page.count("words number") == MOST_SHOWN
    assert page.index("number 59.") < page.index("number 58.")
    assert "number 9." not in page
    everything = re.search(r'href="([^"]*issuanceattempt/\?[^"]*)"', page)
    assert everything
    assert len(rows_shown(site_admin.get(everything[1]))) == 50


# Finding things


def test_issuances_are_found_by_learner_and_course(site_admin: Client) -> None:
    wanted = make_issuance(completion=make_completion(learner=make_learner(email="Zoe@Example.org", firstname="Zoë")))
    other = make_issuance()
    assert rows_shown(site_admin.get(listed("badging_issuance", q="zoe@example.org"))) == [wanted.pk]
    assert rows_shown(site_admin.get(listed("badging_issuance", q="zoe@"))) == [wanted.pk]
    assert rows_shown(site_admin.get(listed("badging_issuance", q="Zoë Lee"))) == [wanted.pk]
    Learner.objects.filter(pk=wanted.learner_id).update(
        email="zoe@BÜCHER.example", email_key=Learner.key_of("zoe@BÜCHER.example")
    )
    for term in ("zoe@bü", "Zoe@bu\u0308cher", "zoe@xn--bcher-kva.example"):
        assert rows_shown(site_admin.get(listed("badging_issuance", q=term))) == [wanted.pk]
    wanted.course.fullname = "Fire Safety"
    wanted.course.save()
    assert rows_shown(site_admin.get(listed("badging_issuance", q="fire"))) == [wanted.pk]
    moodle_id = Learner.objects.filter(pk=other.learner_id).update(moodle_id=777)
    assert moodle_id
    assert rows_shown(site_admin.get(listed("badging_issuance", q="777"))) == [other.pk]
    attempt = attempt_of(wanted)
    attempt_of(other)
    assert rows_shown(site_admin.get(listed("badging_issuanceattempt", q="zoe@bücher.example"))) == [attempt.pk]
    found = site_admin.get(listed("moodle_sync_completion", q="Zoë"))
    assert rows_shown(found) == [wanted.completion_id]
    assert rows_shown(site_admin.get(listed("moodle_sync_completion", q="Fire S"))) == [wanted.completion_id]


def test_issuances_are_filtered(site_admin: Client) -> None:
    failed = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    production = make_issuance(make_mapping(connection=make_connection(environment="production")))
    ask = lambda **query: rows_shown(site_admin.get(listed("badging_issuance", **query)))  # noqa: E731
    assert ask(state__exact="failed") == [failed.pk]
    assert ask(reason="forbidden") == [failed.pk]
    assert ask(reason="gave_up") == []
    assert ask(environment="production") == [production.pk]
    assert ask(course=failed.course_id) == [failed.pk]
    assert ask(connection__id__exact=production.connection_id) == [production.pk]
    assert ask(learner__id__exact=failed.learner_id) == [failed.pk]
    assert ask(course="x") == [production.pk, failed.pk]


def test_a_course_without_mapping_can_be_filtered_by_too(site_admin: Client) -> None:
    issuance = make_issuance(state=State.CANCELLED)
    Issuance.objects.update(mapping=None)
    CourseBadgeMapping.objects.all().delete()
    response = site_admin.get(listed("badging_issuance", course=issuance.course_id))
    assert rows_shown(response) == [issuance.pk]
    assert f"Course number {issuance.course_id}" in response.content.decode()


def test_an_issuance_says_what_happened_what_to_do_and_leads_to_its_learner_and_completion(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    attempt_of(issuance, outcome=Outcome.FORBIDDEN, status=403, detail="not allowed here")
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert issuance.meaning
    for text in (str(issuance.meaning.what), str(issuance.meaning.todo), "not allowed here"):
        assert escape(text) in page
    assert page_of("moodle_sync_learner", issuance.learner_id) in page
    assert page_of("moodle_sync_completion", issuance.completion_id) in page
    learner = site_admin.get(page_of("moodle_sync_learner", issuance.learner_id)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in learner
    completion = site_admin.get(page_of("moodle_sync_completion", issuance.completion_id)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in completion


def test_a_score_is_shown_without_zeros_at_its_end(site_admin: Client) -> None:
    completion = make_completion(score=Decimal("59.5"))
    for address in (
        listed("moodle_sync_completion"),
        page_of("moodle_sync_completion", completion.pk),
        page_of("moodle_sync_learner", completion.learner_id),
    ):
        page = site_admin.get(address).content.decode()
        assert "59.5 %" in page
        assert "59.500000" not in page


def test_completed_again_is_shown_beside_the_badge(site_admin: Client) -> None:
    completion = make_completion(completed_again_at=NOW + timedelta(days=365))
    row = make_issuance(completion=completion, state=State.ISSUED, assertion_id="1", issued_at=NOW)
    for address in (page_of("badging_issuance", row.pk), page_of("moodle_sync_completion", completion.pk)):
        page = site_admin.get(address).content.decode()
        assert "ompleted again" in page
        assert re.search(r"23 Nov\w* 2027|2027-11-23", page)


def test_an_issued_badge_links_to_its_page_in_navigatr(site_admin: Client) -> None:
    url = "https://navigatr.example/assertion/9"
    issuance = make_issuance(
        state=State.ISSUED, next_attempt_at=None, assertion_id="9", assertion_url=url, issued_at=NOW
    )
    assert f'<a href="{url}">9</a>' in site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()


# Sending again, cancelling


def test_sending_again_asks_first(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN, failures=3)
    page = run(site_admin, "badging_issuance", "send_again", issuance.pk)
    assert "What will happen" in page.content.decode()
    issuance.refresh_from_db()
    assert issuance.state == State.FAILED
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    assert "1 queued, 0 left alone" in said(done)
    entry = AuditEntry.objects.get(action="sent_again")
    assert entry.actor is not None
    assert entry.actor.get_username() == "site-admin"


def test_issued_badges_are_never_sent_again(site_admin: Client) -> None:
    issuance = make_issuance(state=State.ISSUED, next_attempt_at=None, assertion_id="9", issued_at=NOW)
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert issuance.state == State.ISSUED
    assert "0 queued, 1 left alone" in said(done)


def test_cancelling_asks_first(site_admin: Client) -> None:
    issuance = make_issuance()
    assert "What will happen" in run(site_admin, "badging_issuance", "cancel", issuance.pk).content.decode()
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    confirm(site_admin, "badging_issuance", "cancel", issuance.pk)
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.CANCELLED, Outcome.BY_HAND)


def test_a_button_on_the_issuances_page_leads_back_to_it(site_admin: Client) -> None:
    issuance = make_issuance()
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert 'name="action" value="cancel"' in page
    asked = run(site_admin, "badging_issuance", "cancel", issuance.pk, back=str(issuance.pk)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in asked
    done = run(site_admin, "badging_issuance", "cancel", issuance.pk, back=str(issuance.pk), confirmed="yes")
    assert done.redirect_chain == [(page_of("badging_issuance", issuance.pk), 302)]


def test_too_many_chosen_rows_are_refused_and_nothing_is_done(site_admin: Client) -> None:
    mapping = many_issuances(MOST_CHOSEN + 1)
    more = {"select_across": "1", "index": "0"}
    first = Issuance.objects.filter(mapping=mapping).values_list("pk", flat=True)[0]
    for action in ("send_again", "cancel"):
        done = run(site_admin, "badging_issuance", action, first, confirmed="yes", **more)
        assert f"at most {MOST_CHOSEN}" in said(done)
    assert set(Issuance.objects.values_list("state", flat=True)) == {State.FAILED}


def test_who_may_only_look_has_no_buttons_and_no_actions(officer: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    mapping_id, connection_id = issuance.mapping_id, issuance.connection_id
    for name, action, pk in (
        ("badging_issuance", "send_again", issuance.pk),
        ("badging_issuance", "cancel", issuance.pk),
        ("badging_coursebadgemapping", "disable", mapping_id),
        ("badging_coursebadgemapping", "remove", mapping_id),
        ("badging_navigatrconnection", "test_connection", connection_id),
        ("badging_navigatrconnection", "remove_connection", connection_id),
        ("moodle_sync_moodlesite", "check_now", issuance.course.site_id),
        ("moodle_sync_moodlesite", "poll_now", issuance.course.site_id),
    ):
        assert f'value="{action}"' not in officer.get(page_of(name, pk)).content.decode()
        confirm(officer, name, action, pk)
    assert officer.post(page_of("badging_navigatrconnection", connection_id), {"name": "x"}).status_code == 403
    issuance.refresh_from_db()
    assert issuance.state == State.FAILED
    assert CourseBadgeMapping.objects.get().active
    assert NavigatrConnection.objects.get().state == "active"
    assert not AuditEntry.objects.exists()


def test_without_a_broker_the_page_says_when_it_will_be_sent(
    site_admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    # Celery takes the address from the environment first; nothing listens on port 1.
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(celery_app.amqp, "_producer_pool", None)
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    assert "will be sent when the worker is back" in said(done)
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    asked = run(site_admin, "moodle_sync_moodlesite", "poll_now", issuance.course.site_id)
    assert "the worker cannot be reached" in said(asked)


def test_an_implausible_date_is_shown_and_released_by_sending_again(site_admin: Client) -> None:
    completion = make_completion(completed_at=IN_2028, implausible=True)
    issuance = make_issuance(None, completion, state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE)
    for address in (listed("badging_issuance"), page_of("badging_issuance", issuance.pk)):
        page = site_admin.get(address).content.decode()
        assert date_format(IN_2028, "DATETIME_FORMAT") in page
        assert escape(issuance.course.full_label) in page
    asked = run(site_admin, "badging_issuance", "send_again", issuance.pk).content.decode()
    assert "held for an implausible date are sent all the same" in asked
    confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert (issuance.state, issuance.date_accepted) == (State.QUEUED, True)


def test_what_waits_for_an_answer_about_its_site_says_so(site_admin: Client) -> None:
    issuance = make_issuance(make_mapping(make_course(make_site(doubt="Is this still the same Moodle?"))))
    assert "Question about the Moodle site" in site_admin.get(listed("badging_issuance")).content.decode()
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert "nothing is read from it and nothing is sent" in page
    assert page_of("moodle_sync_moodlesite", issuance.course.site_id) in page


def test_a_possible_double_is_told_with_a_link(site_admin: Client) -> None:
    mapping = make_mapping()
    one, other = (make_issuance(mapping) for _ in range(2))
    for row, double in ((one, other), (other, one)):
        page = site_admin.get(page_of("badging_issuance", row.pk)).content.decode()
        assert f'<a href="{page_of("badging_issuance", double.pk)}">{double.learner.full_label}</a>' in page


def test_rows_of_one_name_are_told_apart_on_every_list(site_admin: Client) -> None:
    site, connection = make_site(), make_connection()
    courses = [make_course(site, moodle_id=n, shortname="GDPR", fullname="Data Protection") for n in (8, 9)]
    rows = [make_issuance(make_mapping(course, connection)) for course in courses]
    for row in rows:
        attempt_of(row)
        CourseManager.objects.create(user=User.objects.create_user(f"mo{row.pk}"), course=row.course)
    labels = [f"Data Protection (GDPR · id {n} · {site})" for n in (8, 9)]
    for name in ("issuance", "issuanceattempt", "coursebadgemapping", "coursemanager"):
        page = site_admin.get(listed(f"badging_{name}")).content.decode()
        assert all(label in page for label in labels), name
    for address in (
        listed("moodle_sync_completion"),
        page_of("badging_navigatrconnection", connection.pk),
        page_of("badging_coursebadgemapping", rows[0].mapping_id or 0),
        page_of("moodle_sync_learner", rows[0].learner_id),
    ):
        assert labels[0] in site_admin.get(address).content.decode(), address
    for name in ("badging_issuance", "badging_issuanceattempt", "moodle_sync_completion"):
        page = site_admin.get(listed(name)).content.decode()
        assert all(f"Ana Lee (id {row.learner.moodle_id})" in page for row in rows), name
    asked = run(site_admin, "badging_issuance", "cancel", *[row.pk for row in rows]).content.decode()
    assert all(label in asked for label in labels)
    asked = run(site_admin, "badging_coursebadgemapping", "disable", *[row.mapping_id or 0 for row in rows])
    assert all(label in asked.content.decode() for label in labels)


def test_odd_completions_are_shown_and_filtered(site_admin: Client) -> None:
    course = make_course()
    make_completion(course)
    implausible = make_completion(course, implausible=True)
    undone = make_completion(course, undone_at=NOW)
    name = "moodle_sync_completion"
    assert rows_shown(site_admin.get(listed(name, odd="implausible"))) == [implausible.pk]
    assert rows_shown(site_admin.get(listed(name, odd="undone"))) == [undone.pk]
    assert len(rows_shown(site_admin.get(listed(name, odd="other")))) == 3
    with CaptureQueriesContext(database) as seen:
        site_admin.get(listed(name, odd="undone"))
    # As without the filter: nothing is counted to its end.
    assert len(seen) == LISTS[name]
    assert all("LIMIT" in row["sql"] for row in seen if "COUNT(" in row["sql"])


def test_a_change_of_the_feed_reads_as_sentences_in_the_audit(site_admin: Client) -> None:
    details = {"feed": "B", "before": "A", "reason": "Make the report."}
    entry = AuditEntry.objects.create(action="feed_changed", subject="Main", details=details)
    AuditEntry.objects.create(action="cancelled", subject="1 issuance(s)", details={"count": 1})
    told = "From “A: report feed” to “B: per learner”. Make the report."
    assert told in site_admin.get(listed("badging_auditentry")).content.decode()
    assert told in site_admin.get(page_of("badging_auditentry", entry.pk)).content.decode()
    assert "count: 1" in site_admin.get(listed("badging_auditentry")).content.decode()


# Mappings


def test_a_mapping_is_disabled_and_enabled_after_asking(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.mapping_id
    assert pk
    assert "1 queued badge(s) are held" in run(site_admin, name, "disable", pk).content.decode()
    assert CourseBadgeMapping.objects.get().active
    confirm(site_admin, name, "disable", pk)
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert "What will happen" in run(site_admin, name, "enable", pk).content.decode()
    assert "1 badge(s) that waited go on" in said(confirm(site_admin, name, "enable", pk))
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED


def test_removing_a_mapping_cancels_what_waits_and_is_recorded(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.mapping_id
    assert pk
    assert "1 badge(s) that were not sent yet" in run(site_admin, name, "remove", pk).content.decode()
    assert CourseBadgeMapping.objects.exists()
    done = run(site_admin, name, "remove", pk, confirmed="yes", back=str(pk))
    assert done.status_code == 200
    assert not CourseBadgeMapping.objects.exists()
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)
    assert AuditEntry.objects.get().action == "mapping_removed"


def test_a_mapping_leads_to_the_pages_where_it_is_changed(site_admin: Client) -> None:
    mapping = make_mapping(badge_url="https://navigatr.example/badge/111")
    page = site_admin.get(page_of("badging_coursebadgemapping", mapping.pk)).content.decode()
    assert f'href="/courses/{mapping.course_id}/"' in page
    assert 'href="https://navigatr.example/badge/111"' in page


def test_too_many_mappings_and_connections_are_refused(site_admin: Client) -> None:
    connection = make_connection()
    site = make_site()
    for number in range(2, MOST_CHOSEN + 3):
        make_mapping(make_course(site, moodle_id=number), connection)
    first = CourseBadgeMapping.objects.values_list("pk", flat=True)[0]
    for action in ("enable", "disable", "remove"):
        done = run(
            site_admin, "badging_coursebadgemapping", action, first, confirmed="yes", select_across="1", index="0"
        )
        assert f"at most {MOST_CHOSEN}" in said(done)
    assert CourseBadgeMapping.objects.filter(active=True).count() == MOST_CHOSEN + 1


def test_a_course_manager_is_chosen_from_searched_users_and_courses(site_admin: Client) -> None:
    course, user = make_course(fullname="Fire Safety"), User.objects.create_user("mo")
    for field, term, row, name in (("course", "fire", course, "Fire Safety"), ("user", "mo", user, "mo")):
        query = {"app_label": "badging", "model_name": "coursemanager", "field_name": field, "term": term}
        (found,) = site_admin.get(reverse("admin:autocomplete"), query).json()["results"]
        assert found["id"] == str(row.pk)
        assert found["text"].startswith(name)
    site_admin.post(reverse("admin:badging_coursemanager_add"), {"user": user.pk, "course": course.pk})
    assert CourseManager.objects.get().course == course
    assert "mo" in site_admin.get(listed("moodle_sync_course")).content.decode()


def test_a_site_admin_sees_users_and_can_neither_make_nor_change_them(site_admin: Client) -> None:
    user = User.objects.create_user("mo")
    assert "Save" not in site_admin.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()
    changed = site_admin.post(reverse("admin:auth_user_change", args=[user.pk]), {"is_superuser": "on"})
    assert changed.status_code == 403
    assert site_admin.get(reverse("admin:auth_user_add")).status_code == 403


@pytest.mark.parametrize("number", ["9" * 23, "9" * 5000])
@pytest.mark.parametrize("model", MODELS)
def test_a_number_that_no_column_holds_is_a_made_up_filter_and_no_server_error(
    site_admin: Client, model: str, number: str
) -> None:
    make_issuance(make_mapping(), make_completion())
    for name in (
        *("id", "course", "connection", "site", "learner", "issuance__exact", "completion__in", "user", "actor"),
        *("connection__id__exact", "site__id__exact", "course__site__id__exact", "at__gte", "p", "q", "reason"),
    ):
        for query in ({name: number}, {name: number, "e": "1"}):
            done = site_admin.get(listed(model, **query))
            assert done.status_code in (200, 302, 400), name
            if done.status_code == 302:
                assert done["Location"].endswith("?e=1")


def test_a_course_number_that_no_column_holds_is_no_choice_of_the_filter(site_admin: Client) -> None:
    make_issuance()
    page = site_admin.get(listed("badging_issuance", course="9" * 23))
    assert page.status_code == 200
    assert "Course number 9" not in page.content.decode()


# Connections


def entered(token: str, **fields: Any) -> dict[str, Any]:
    return {"name": "Main", "environment": "staging", "new_token": token, "timeout": "30", "send_score": "on"} | fields


ADD = "admin:badging_navigatrconnection_add"


def test_a_connection_is_saved_after_its_token_passed(site_admin: Client, sandbox: Sandbox) -> None:
    done = site_admin.post(reverse(ADD), entered(f"  {sandbox.pat}\n"), follow=True)
    connection = NavigatrConnection.objects.get()
    assert connection.pat == sandbox.pat
    assert connection.pat_hint == f"…{sandbox.pat[-4:]}"
    assert (connection.test_ok, connection.send_evidence) == (True, False)
    assert "The token belongs to" in said(done)
    assert AuditEntry.objects.get().action == "connection_saved"


@pytest.mark.parametrize("token", ["wrong-token-wrong-token", "two words", "töken", ""])
def test_a_token_that_fails_saves_nothing(token: str, site_admin: Client, sandbox: Sandbox) -> None:
    answer = site_admin.post(reverse(ADD), entered(token))
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["new_token"]
    assert not NavigatrConnection.objects.exists()
    assert not token or token not in answer.content.decode()


def test_navigatr_is_not_asked_while_something_else_is_wrong(site_admin: Client, sandbox: Sandbox) -> None:
    make_connection(name="Main")
    before = len(sandbox.navigatr.ledger)
    for wrong in ({}, {"name": "Other", "timeout": "301"}, {"name": "Other", "environment": "moon"}):
        assert site_admin.post(reverse(ADD), entered(sandbox.pat, **wrong)).status_code == 200
    assert len(sandbox.navigatr.ledger) == before
    assert NavigatrConnection.objects.count() == 1


def test_a_new_token_that_fails_leaves_the_old_one_in_use(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    answer = site_admin.post(page_of("badging_navigatrconnection", connection.pk), entered("wrong", name="Other"))
    assert "Nothing was saved" in answer.content.decode()
    connection.refresh_from_db()
    assert (connection.name, connection.pat, connection.state) == ("Main", sandbox.pat, "active")
    assert not AuditEntry.objects.exists()


def test_without_a_new_token_the_stored_one_is_kept_and_nobody_is_asked(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat, state="paused")
    before = len(sandbox.navigatr.ledger)
    changed = entered("", name="Renamed", timeout="7", environment="production")
    site_admin.post(page_of("badging_navigatrconnection", connection.pk), changed)
    connection.refresh_from_db()
    assert (connection.name, connection.timeout, connection.pat) == ("Renamed", 7, sandbox.pat)
    assert (connection.environment, connection.state) == ("staging", "paused")
    assert len(sandbox.navigatr.ledger) == before


def test_navigatr_being_down_saves_nothing_and_says_so(site_admin: Client, sandbox: Sandbox) -> None:
    sandbox.faults.on("down", call="all")
    answer = site_admin.post(reverse(ADD), entered(sandbox.pat))
    assert "could not be reached" in answer.content.decode()
    assert not NavigatrConnection.objects.exists()


def test_no_call_to_navigatr_holds_a_transaction(site_admin: Client, sandbox: Sandbox) -> None:
    with CaptureQueriesContext(database) as seen:
        site_admin.post(reverse(ADD), entered("wrong"))
    assert not [row["sql"] for row in seen if re.match("SAVEPOINT|BEGIN", row["sql"])]


def test_removing_a_connection_holds_what_waits_and_a_new_token_takes_it_up_again(
    site_admin: Client, sandbox: Sandbox
) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    issuance = make_issuance(make_mapping(connection=connection))
    name, pk = "badging_navigatrconnection", connection.pk
    asked = run(site_admin, name, "remove_connection", pk).content.decode()
    assert "1 mapping(s) are disabled" in asked
    assert "1 queued badge(s) are held" in asked
    connection.refresh_from_db()
    assert connection.pat == sandbox.pat
    confirm(site_admin, name, "remove_connection", pk)
    connection.refresh_from_db()
    issuance.refresh_from_db()
    assert (connection.pat, connection.state) == ("", "removed")
    assert (issuance.state, issuance.reason) == (State.HELD, Outcome.CONNECTION_REMOVED)
    assert "Reconnect it" in site_admin.get(page_of(name, pk)).content.decode()
    done = site_admin.post(page_of(name, pk), entered(sandbox.pat, enable_mappings="on"), follow=True)
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    assert "1 badge that waited goes on" in said(done)
    assert CourseBadgeMapping.objects.get().active


def test_reconnecting_can_leave_the_mappings_disabled(site_admin: Client, sandbox: Sandbox) -> None:
    issuance = make_issuance()
    name, pk = "badging_navigatrconnection", issuance.connection_id
    confirm(site_admin, name, "remove_connection", pk)
    site_admin.post(page_of(name, pk), entered(sandbox.pat))
    issuance.refresh_from_db()
    assert NavigatrConnection.objects.get().state == "active"
    assert not CourseBadgeMapping.objects.get().active
    assert issuance.state == State.HELD


def test_test_connection_resumes_a_paused_one(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(pat=sandbox.pat, state="paused")
    done = run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk, back=str(connection.pk))
    assert "The token belongs to" in said(done)
    connection.refresh_from_db()
    assert (connection.state, connection.test_ok) == ("active", True)


def test_a_failing_test_changes_only_its_note(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(pat="wrong")
    done = run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk)
    assert "Navigatr refused the token" in said(done)
    connection.refresh_from_db()
    assert (connection.state, connection.pat, connection.test_ok) == ("active", "wrong", False)


def test_an_account_without_providers_is_saved_with_a_warning(site_admin: Client, sandbox: Sandbox) -> None:
    for provider in sandbox.navigatr.providers:
        sandbox.navigatr.set_provider(provider, admin=False)
    done = site_admin.post(reverse(ADD), entered(sandbox.pat), follow=True)
    assert "no provider administrator" in said(done)
    assert NavigatrConnection.objects.exists()


def test_a_token_that_cannot_be_decrypted_is_a_message_everywhere(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main")
    NavigatrConnection.objects.update(pat=Sealed("gAAAA-of-another-key"))
    name, pk = "badging_navigatrconnection", connection.pk
    assert site_admin.get(listed(name)).status_code == 200
    assert site_admin.get(page_of(name, pk)).status_code == 200
    assert "cannot be read with the keys" in said(run(site_admin, name, "test_connection", pk))
    assert site_admin.post(page_of(name, pk), entered("", timeout="9")).status_code == 302
    assert site_admin.post(page_of(name, pk), entered(sandbox.pat)).status_code == 302
    connection.refresh_from_db()
    assert (connection.timeout, connection.pat) == (30, sandbox.pat)


def test_only_an_unused_connection_may_be_deleted(site_admin: Client) -> None:
    used, unused = make_mapping().connection, make_connection()
    name = "badging_navigatrconnection"
    assert "so it is kept" in site_admin.get(page_of(name, used.pk)).content.decode()
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[used.pk]), {"post": "yes"}).status_code == 403
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[unused.pk]), {"post": "yes"}).status_code == 302
    assert list(NavigatrConnection.objects.all()) == [used]
    assert AuditEntry.objects.get().details == {"deleted": True}


def test_no_page_ever_holds_a_token(site_admin: Client, sandbox: Sandbox) -> None:
    ids = one_of_each()
    pat, moodle_token = "navigatr-secret-5f2c9a", "moodle-secret-77d1e0"
    NavigatrConnection.objects.update(pat="placeholder")
    connection, site = NavigatrConnection.objects.get(), MoodleSite.objects.get()
    connection.pat, site.token = pat, moodle_token
    connection.save()
    site.save()
    pages = [site_admin.get(reverse("admin:index"))]
    for name, pk in ids.items():
        pages += [site_admin.get(listed(name)), site_admin.get(page_of(name, pk))]
        pages.append(site_admin.get(reverse(f"admin:{name}_history", args=[pk])))
    pages.append(site_admin.post(page_of("badging_navigatrconnection", connection.pk), entered(pat, timeout="999")))
    pages.append(site_admin.post(page_of("moodle_sync_moodlesite", site.pk), {"new_token": moodle_token}))
    pages.append(run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk))
    pages.append(run(site_admin, "badging_navigatrconnection", "remove_connection", connection.pk))
    pages.append(confirm(site_admin, "moodle_sync_learner", "export", ids["moodle_sync_learner"]))
    for page in pages:
        assert page.status_code == 200
        assert pat not in page.content.decode()
        assert moodle_token not in page.content.decode()


# The first page


def test_the_first_page_tells_what_needs_a_person(site_admin: Client) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_issuance(state=State.HELD, reason=Outcome.CONNECTION_PAUSED)
    make_connection(name="Tired", state="paused")
    resting = {"not_before": NOW + timedelta(days=999), "last_outcome": Outcome.UNAVAILABLE}
    make_connection(name="Resting", **resting)
    make_mapping(badge_problem="The badge is Draft in Navigatr.")
    make_site(name="Left alone", feed="A", next_poll_at=NOW - timedelta(hours=1))
    page = site_admin.get(reverse("admin:index")).content.decode()
    for text in (
        "1 · Failed, needs a person: Account may not issue this badge",
        "1 · Held: Connection paused",
        "Tired (Staging)",
        "Resting (Staging)",
        "cannot be read",
        "Left alone: not polled",
        "The badge is Draft in Navigatr.",
    ):
        assert text in page
    assert rows_shown(site_admin.get(listed("badging_issuance", state__exact="failed", reason="forbidden")))


DOUBT = "Is this still the same Moodle? It was a.example, and now it is b.example."


def test_an_open_question_stands_first_and_once(site_admin: Client) -> None:
    make_connection(name="Tired", state="paused")
    site = make_site(name="Moved", feed="A", doubt=DOUBT, error=DOUBT, next_poll_at=NOW - timedelta(hours=1))
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert page.count(DOUBT) == 1
    assert page_of("moodle_sync_moodlesite", site.pk) in page
    assert page.index("Moved waits for your answer") < page.index("Tired (Staging)")
    # It is not polled for that reason, and not because something stands still.
    assert "Moved: not polled" not in page
    assert "Moved: cannot be read" not in page


def test_falling_back_to_the_slower_feed_is_told_with_the_reason(site_admin: Client) -> None:
    finding = {"check": "report", "ok": False, "message": "Make the report.", "values": {}}
    make_site(name="Slow", feed="B", findings=[finding])
    make_site(name="Quick", feed="A")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Slow: read by the slower feed B" in page
    assert "Make the report." in page
    assert "Quick" not in page


def test_the_first_page_tells_a_site_that_fails_from_one_that_works_with_something_wrong(site_admin: Client) -> None:
    make_site(name="Down", feed="A", failures=2, error="No answer.")
    make_site(name="Untidy", feed="A", error="The report lacks its condition.")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Down: cannot be read" in page
    assert "Untidy: is read, but something is wrong" in page


def test_a_deleted_course_is_told_with_its_successor_and_a_link_to_map_it(site_admin: Client) -> None:
    site = make_site(feed="A")
    gone = make_course(site, shortname="GDPR26", fullname="Data Protection", gone_at=NOW)
    make_mapping(gone)
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"{gone.full_label}: deleted in Moodle" in page
    assert "If another course took its place" in page
    new = make_course(site, shortname="GDPR26", fullname="Data Protection (new)")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"successor seems to be “{new.full_label}”" in page
    assert f'href="{reverse("choose-provider", args=[new.pk])}"' in page
    make_course(site, gone_at=NOW, fullname="Never mapped")
    assert "Never mapped" not in site_admin.get(reverse("admin:index")).content.decode()


def test_trouble_is_found_behind_many_sites_that_are_well_and_the_queries_stay_few(site_admin: Client) -> None:
    for number in range(25):
        make_site(name=f"Fine {number:02}", feed="A")
    make_site(name="Zed", feed="A", failures=1, error="Something is wrong.")

    def asked() -> int:
        with CaptureQueriesContext(database) as seen:
            assert "Zed: cannot be read" in site_admin.get(reverse("admin:index")).content.decode()
        return len(seen)

    asked()
    before = asked()
    site = MoodleSite.objects.get(name="Zed")
    for number in range(5):
        make_site(name=f"Odd {number}", feed="B", error="Wrong.")
        make_site(name=f"Moved {number}", doubt="Is this still the same Moodle?")
        make_mapping(make_course(site, gone_at=NOW, shortname=f"S{number}"), badge_problem="Draft.")
    # One more: the successors of all deleted courses at once.
    assert asked() == before + 1


def test_the_first_page_counts_no_further_than_a_thousand(site_admin: Client) -> None:
    many_issuances(1100)
    assert "1001+ · Failed" in site_admin.get(reverse("admin:index")).content.decode()


def test_the_first_page_says_when_all_is_well(site_admin: Client) -> None:
    assert "Nothing: all is well." in site_admin.get(reverse("admin:index")).content.decode()


def test_staff_without_the_rights_are_not_told(django_user_model: Any) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    client = Client()
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert "What needs a person" not in page
