"""Moodle sites in the admin: checked before they are saved, polled, confirmed as the same Moodle."""

import re
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from badging import sites, waiting
from badging.admin.sites import SiteForm
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance
from moodle_sync import poll_records
from moodle_sync.models import Course, MoodleSite, MoodleSiteState
from sandbox import MOODLE, Sandbox
from tests.builders import NOW, make_completion, make_course, make_issuance, make_learner, make_mapping, make_site
from vault.fields import Sealed

from .browsing import listed, page_of, run, said

State = Issuance.State
pytestmark = pytest.mark.django_db


ADD = "admin:moodle_sync_moodlesite_add"
DOUBT = "Is this still the same Moodle? It was a.example, and now it is b.example."


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    """A Moodle with the demo's courses and the agreed report."""
    sandbox.reset(demo=True)
    return sandbox


def entered(url: str, token: str, **fields: Any) -> dict[str, Any]:
    site = {"name": "Main", "url": url, "new_token": token, "enabled": "on", "send_suspended": "on"}
    return site | {"poll_interval": "00:01:00", "busy_interval": "00:00:05"} | fields


def connected(sandbox: Sandbox, **fields: Any) -> MoodleSite:
    return make_site(**{"name": "Main", "url": sandbox.moodle_url, "token": sandbox.moodle_token} | fields)


def test_a_site_is_saved_with_its_courses_after_the_check_passed(site_admin: Client, sandbox: Sandbox) -> None:
    pasted = f"{sandbox.moodle_url}/my/"
    done = site_admin.post(reverse(ADD), entered(pasted, f" {sandbox.moodle_token} "), follow=True)
    site = MoodleSite.objects.get()
    assert (site.url, site.token, site.state.feed) == (sandbox.moodle_url, sandbox.moodle_token, "A")
    assert Course.objects.filter(site=site).count() >= 3
    assert "Feed A: report feed" in said(done)
    assert AuditEntry.objects.get().actor is not None
    page = site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).content.decode()
    assert '<span class="visually-hidden">In order:</span> The token is accepted.' in page
    assert '<span class="visually-hidden">Note:</span> Moodle does not tell when a token expires' in page
    assert sandbox.moodle_token not in page


def test_a_site_whose_token_fails_is_not_saved(site_admin: Client, sandbox: Sandbox) -> None:
    answer = site_admin.post(reverse(ADD), entered(sandbox.moodle_url, "wrong-token"))
    assert "Nothing was saved" in answer.content.decode()
    assert "Moodle does not know this token" in answer.content.decode()
    assert "wrong-token" not in answer.content.decode()
    assert not MoodleSite.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_site_without_a_usable_feed_is_not_saved_and_says_what_to_do(site_admin: Client, sandbox: Sandbox) -> None:
    sandbox.faults.on("report_refused", side=MOODLE)
    sandbox.faults.on("participants_refused", side=MOODLE)
    answer = site_admin.post(reverse(ADD), entered(sandbox.moodle_url, sandbox.moodle_token))
    assert "Nothing was saved" in answer.content.decode()
    assert len(answer.context["adminform"].form.errors["new_token"]) > 1
    assert not MoodleSite.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"url": "https://somebody:word@moodle.example"}, {"url": "ftp://moodle.example"}, {"new_token": ""}, {"name": ""}],
)
def test_moodle_is_not_asked_while_something_else_is_wrong(
    wrong: dict[str, str], site_admin: Client, sandbox: Sandbox
) -> None:
    answer = site_admin.post(reverse(ADD), entered(sandbox.moodle_url, sandbox.moodle_token) | wrong)
    assert answer.status_code == 200
    assert sandbox.moodle.count() == 0
    assert not MoodleSite.objects.exists()


def test_moodle_being_down_saves_nothing(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    sandbox.faults.on("down", side=MOODLE)
    changed = entered(sandbox.moodle_url, "another-token", name="Renamed")
    answer = site_admin.post(page_of("moodle_sync_moodlesite", site.pk), changed)
    assert "Moodle cannot be reached" in answer.content.decode()
    site.refresh_from_db()
    assert (site.name, site.token, site.state.polling_until) == ("Main", sandbox.moodle_token, None)


def test_settings_change_without_a_token_and_without_asking_moodle(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox, next_poll_at=timezone.now() + timedelta(days=1), read_up_to=timezone.now())
    changed = entered(sandbox.moodle_url, "", name="Renamed", poll_interval="00:00:30")
    site_admin.post(page_of("moodle_sync_moodlesite", site.pk), changed)
    site.refresh_from_db()
    assert (site.name, site.poll_interval, site.token) == ("Renamed", timedelta(seconds=30), sandbox.moodle_token)
    assert site.state.next_poll_at is None
    assert site.state.read_up_to is not None
    assert sandbox.moodle.count() == 0
    assert AuditEntry.objects.get().action == "site_saved"


def test_the_stored_token_is_never_sent_to_a_new_address(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox, url="https://old.example")
    answer = site_admin.post(page_of("moodle_sync_moodlesite", site.pk), entered(sandbox.moodle_url, ""))
    assert "Enter the token again" in answer.content.decode()
    assert sandbox.moodle.count() == 0
    site.refresh_from_db()
    assert site.url == "https://old.example"


def test_allowing_suspended_accounts_releases_what_was_held_for_them(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox, send_suspended=False)
    course, learner = make_course(site), make_learner(site, suspended=True)
    completion = make_completion(course, learner)
    held = make_issuance(make_mapping(course), completion, state=State.HELD, reason=Outcome.LEARNER_SUSPENDED)
    site_admin.post(page_of("moodle_sync_moodlesite", site.pk), entered(sandbox.moodle_url, ""))
    held.refresh_from_db()
    assert held.state == State.QUEUED


def test_check_now_keeps_what_was_found(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    done = run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk, back=str(site.pk))
    assert "Feed A: report feed" in said(done)
    sandbox.moodle.token = "renewed"
    assert "Moodle does not know this token" in said(run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk))
    sandbox.moodle.token = site.token
    site.refresh_from_db()
    assert [finding["check"] for finding in site.state.findings if not finding["ok"]] == ["token"]
    assert site.state.feed == "A"
    page = site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).content.decode()
    assert '<span class="visually-hidden">Wrong:</span>' in page


def test_a_site_that_is_being_polled_is_not_checked_meanwhile(site_admin: Client, sandbox: Sandbox) -> None:
    until = timezone.now() + timedelta(minutes=5)
    site = connected(sandbox, polling_until=until)
    assert "being polled right now" in said(run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk))
    answer = site_admin.post(
        page_of("moodle_sync_moodlesite", site.pk), entered(sandbox.moodle_url, sandbox.moodle_token)
    )
    assert "being polled right now" in answer.content.decode()
    # The address was found, without the token.
    assert [call.errorcode for call in sandbox.moodle.ledger] == ["invalidtoken"]
    site.refresh_from_db()
    assert site.state.polling_until == until


def test_a_moodle_token_that_cannot_be_decrypted_is_a_message(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    MoodleSite.objects.update(token=Sealed("gAAAA-of-another-key"))
    assert site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).status_code == 200
    assert site_admin.get(listed("moodle_sync_moodlesite")).status_code == 200
    assert "cannot be read with the keys" in said(run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk))
    assert MoodleSite.objects.filter(state__findings=[], state__polling_until=None).exists()
    assert (
        site_admin.post(
            page_of("moodle_sync_moodlesite", site.pk), entered(sandbox.moodle_url, "", name="X")
        ).status_code
        == 302
    )
    new = entered(sandbox.moodle_url, sandbox.moodle_token)
    assert site_admin.post(page_of("moodle_sync_moodlesite", site.pk), new).status_code == 302
    site.refresh_from_db()
    assert site.token == sandbox.moodle_token


def test_what_is_typed_is_tested_and_nothing_is_saved(site_admin: Client, sandbox: Sandbox) -> None:
    course = sandbox.moodle_url.removeprefix("http://") + "/course/view.php?id=2"
    tested = {**entered(course, sandbox.moodle_token, name=""), "_test": "1"}
    page = site_admin.post(reverse(ADD), tested).content.decode()
    assert "This Moodle can be read. Nothing was saved yet." in page
    assert f'value="{sandbox.moodle_url}"' in page
    assert 'value="00:01:00"' in page
    assert '<span class="visually-hidden">In order:</span> The token is accepted.' in page
    assert sandbox.moodle_token not in page
    wrong = site_admin.post(reverse(ADD), {**tested, "new_token": "wrong-token"}).content.decode()
    assert "This Moodle needs changes first. Nothing was saved." in wrong
    assert "Moodle does not know this token" in wrong
    unknown = site_admin.post(reverse(ADD), {**tested, "url": "moodel.invalid"}).content.decode()
    assert "There is no host named moodel.invalid" in unknown
    assert not MoodleSite.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_stored_token_is_tested_at_its_own_address_only(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    tested = {**entered(f"{sandbox.moodle_url}/my/", "", name="Renamed"), "_test": "1"}
    assert "This Moodle can be read" in site_admin.post(page_of("moodle_sync_moodlesite", site.pk), tested).text
    before = sandbox.moodle.count()
    elsewhere = {**tested, "url": "https://other.invalid"}
    assert "Enter the token again" in site_admin.post(page_of("moodle_sync_moodlesite", site.pk), elsewhere).text
    assert sandbox.moodle.count() == before
    site.refresh_from_db()
    assert (site.name, site.url, site.state.checked_at) == ("Main", sandbox.moodle_url, None)
    MoodleSiteState.objects.update(polling_until=timezone.now() + timedelta(minutes=5))
    assert "being polled right now" in site_admin.post(page_of("moodle_sync_moodlesite", site.pk), tested).text


def test_who_may_only_look_tests_nothing(officer: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    page = page_of("moodle_sync_moodlesite", site.pk)
    assert officer.post(page, {**entered(sandbox.moodle_url, "t"), "_test": "1"}).status_code == 403
    assert sandbox.moodle.count() == 0
    assert 'name="_test"' not in officer.get(page).text


def test_an_address_with_a_password_is_refused_and_shown_without_it(site_admin: Client, sandbox: Sandbox) -> None:
    page = site_admin.post(reverse(ADD), entered("https://somebody:word@moodle.example/my", "t")).text
    assert "must not hold a user name or password" in page
    assert "word@" not in page
    assert 'value="https://moodle.example/my"' in page


def test_an_address_where_no_moodle_is_saves_nothing_and_the_token_goes_nowhere(
    site_admin: Client, sandbox: Sandbox, settings: Any
) -> None:
    settings.MOODLE_HOSTS = ["127.0.0.1"]
    # The sandbox's Navigatr is no Moodle, and refuses who does not sign in.
    answer = site_admin.post(reverse(ADD), entered(f"{sandbox.navigatr_url}/elsewhere", "secret-token"))
    assert "a password page, refuses the portal" in str(answer.context["adminform"].form.errors["url"])
    assert "The token was sent nowhere." in answer.text
    assert not MoodleSite.objects.exists()


def test_poll_now_asks_a_worker_and_pressing_it_again_does_no_harm(site_admin: Client) -> None:
    site = make_site()
    press = lambda: said(run(site_admin, "moodle_sync_moodlesite", "poll_now", site.pk))  # noqa: E731
    assert "a worker was asked to poll it now" in press()
    state = MoodleSiteState.objects.filter(site=site)
    later = timezone.now() + timedelta(minutes=1)
    for fields, told in (
        ({"last_poll_at": timezone.now()}, "was read a moment ago"),
        ({"polling_until": later}, "is being read right now"),
    ):
        state.update(next_poll_at=later, **fields)
        assert told in press()
        assert state.get().next_poll_at == later
    MoodleSite.objects.update(enabled=False)
    assert "switched off" in press()


def test_the_page_and_the_list_show_courses_and_lag(site_admin: Client) -> None:
    now = timezone.now()
    site = make_site(feed="A", last_poll_at=now, next_poll_at=now + timedelta(minutes=1))
    make_mapping(make_course(site))
    make_course(site)
    poll_records.note_poll(site, began_at=now, took=timedelta(seconds=1), read_up_to=now - timedelta(minutes=7), new=3)
    page = site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).text
    assert "<strong>1</strong> awards a badge" in page
    assert listed("moodle_sync_course", site__id__exact=site.pk, badge="unmapped").replace("&", "&amp;") in page
    assert "at most: 7 min." in page
    assert page.count("<rect") == 24
    rows = site_admin.get(listed("moodle_sync_moodlesite")).text
    assert "1 awards a badge" in rows
    assert "7 min" in rows


def test_the_question_stands_first_on_the_sites_page_and_is_answered_there(site_admin: Client) -> None:
    site = make_site(feed="A", doubt=DOUBT, error=DOUBT)
    waiting = make_issuance(make_mapping(make_course(site)))
    assert DOUBT in site_admin.get(listed("moodle_sync_moodlesite")).content.decode()
    page = site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).content.decode()
    assert page.count(DOUBT) == 1
    assert page.index(DOUBT) < page.index('name="url"')
    assert 'value="same_moodle"' in page
    assert DOUBT in said(run(site_admin, "moodle_sync_moodlesite", "poll_now", site.pk))
    asked = run(site_admin, "moodle_sync_moodlesite", "same_moodle", site.pk, back=str(site.pk))
    assert "its people would get badges that others have earned" in asked.content.decode()
    assert DOUBT in asked.content.decode()
    assert MoodleSiteState.objects.get(site=site).doubt == DOUBT
    assert not Issuance.objects.due(timezone.now()).exists()
    done = run(site_admin, "moodle_sync_moodlesite", "same_moodle", site.pk, back=str(site.pk), confirmed="yes")
    assert "is read again, and what waits is sent" in said(done)
    state = MoodleSiteState.objects.get(site=site)
    assert (state.doubt, state.error) == ("", "")
    assert list(Issuance.objects.due(timezone.now())) == [waiting]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor and entry.actor.get_username()) == ("site_confirmed", "site-admin")
    assert 'value="same_moodle"' not in done.content.decode()
    assert "there is no open question" in said(run(site_admin, "moodle_sync_moodlesite", "same_moodle", site.pk))


def test_a_site_that_was_connected_anew_stays_stopped(site_admin: Client) -> None:
    address = "https://moodle.example.org"
    old = make_site(name="Old", feed="A", doubt=DOUBT, error=DOUBT, wwwroot=address)
    make_site(name="The new one", feed="A", wwwroot=address)
    done = run(site_admin, "moodle_sync_moodlesite", "same_moodle", old.pk, confirmed="yes")
    assert "already connected as “The new one”" in said(done)
    assert MoodleSiteState.objects.get(site=old).doubt == DOUBT
    fields = {"name": "Old", "url": old.url, "poll_interval": "00:01:00", "busy_interval": "00:00:05"}
    site_admin.post(page_of("moodle_sync_moodlesite", old.pk), fields)
    assert not MoodleSite.objects.get(pk=old.pk).enabled
    assert DOUBT not in site_admin.get(reverse("admin:index")).content.decode()
    refused = site_admin.post(page_of("moodle_sync_moodlesite", old.pk), {**fields, "enabled": "on"})
    assert "already connected as “The new one”" in refused.content.decode()
    assert not MoodleSite.objects.get(pk=old.pk).enabled


def test_confirming_a_site_while_it_is_saved_is_audited_as_well(sandbox: Sandbox) -> None:
    site = connected(sandbox, doubt=DOUBT, error=DOUBT)
    assert sites.save_when_readable(site, actor=None, now=timezone.now(), same_moodle=True).saved
    assert MoodleSiteState.objects.get(site=site).doubt == ""
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["site_saved", "site_confirmed"]


def test_looking_does_not_answer_the_question(site_admin: Client) -> None:
    site = make_site(doubt=DOUBT)
    site_admin.get(listed("moodle_sync_moodlesite", action="same_moodle", _selected_action=site.pk, confirmed="yes"))
    assert MoodleSiteState.objects.get(site=site).doubt == DOUBT


def test_who_may_only_look_does_not_answer_the_question(officer: Client) -> None:
    site = make_site(doubt=DOUBT)
    assert 'value="same_moodle"' not in officer.get(page_of("moodle_sync_moodlesite", site.pk)).content.decode()
    run(officer, "moodle_sync_moodlesite", "same_moodle", site.pk, confirmed="yes")
    assert MoodleSiteState.objects.get(site=site).doubt == DOUBT
    assert not AuditEntry.objects.exists()


def test_a_site_on_the_slower_feed_says_why_in_the_list_and_on_its_page(site_admin: Client) -> None:
    finding = {"check": "report", "ok": False, "message": "Make the report.", "values": {}}
    site = make_site(feed="B", findings=[finding])
    for address in (listed("moodle_sync_moodlesite"), page_of("moodle_sync_moodlesite", site.pk)):
        page = site_admin.get(address).content.decode()
        assert "B: per learner (slower)" in page
        assert "Make the report." in page


def test_a_sites_page_shows_how_it_is_read(site_admin: Client) -> None:
    site = make_site(
        feed="A",
        zone="Australia/Sydney",
        last_poll_at=NOW,
        next_poll_at=NOW + timedelta(seconds=10),
        last_poll_took=timedelta(seconds=1.5),
        pace=timedelta(seconds=10),
    )
    page = site_admin.get(page_of("moodle_sync_moodlesite", site.pk)).content.decode()
    for text in ("Australia/Sydney", date_format(NOW, "DATETIME_FORMAT"), "1.5 s", "10 s"):
        assert text in page


def test_the_list_of_sites_takes_the_same_queries_however_many_there_are(site_admin: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(database) as seen:
            assert site_admin.get(listed("moodle_sync_moodlesite")).status_code == 200
        return len(seen)

    make_site(feed="B")
    asked()
    before = asked()
    for number in range(5):
        make_site(feed="B", doubt=DOUBT if number % 2 else "")
    assert asked() == before


def test_only_a_site_that_nothing_was_read_from_may_be_deleted(site_admin: Client) -> None:
    used, unused = make_course().site, make_site()
    delete = lambda site: site_admin.post(  # noqa: E731
        reverse("admin:moodle_sync_moodlesite_delete", args=[site.pk]), {"post": "yes"}
    )
    assert "so it is kept" in site_admin.get(page_of("moodle_sync_moodlesite", used.pk)).content.decode()
    assert delete(used).status_code == 403
    assert delete(unused).status_code == 302
    assert list(MoodleSite.objects.all()) == [used]


def test_a_site_leads_to_its_courses_and_learners(site_admin: Client) -> None:
    learner = make_learner()
    make_learner()
    page = site_admin.get(page_of("moodle_sync_moodlesite", learner.site_id)).content.decode()
    assert listed("moodle_sync_course", site__id__exact=learner.site_id) in page
    rows = site_admin.get(listed("moodle_sync_learner", site__id__exact=learner.site_id)).context["cl"].result_list
    assert [row.pk for row in rows] == [learner.pk]


def test_no_call_to_moodle_holds_a_transaction(site_admin: Client, sandbox: Sandbox) -> None:
    with CaptureQueriesContext(database) as seen:
        site_admin.post(reverse(ADD), entered(sandbox.moodle_url, "wrong-token"))
    begun = [number for number, row in enumerate(seen) if row["sql"].startswith(("SAVEPOINT", "BEGIN"))]
    # Only the session and the cache, where the typed token is kept, are written in one, after the call.
    assert all(re.search("people_session|portal_cache", seen[number + 1]["sql"]) for number in begun)


def test_checking_the_fields_of_the_form_asks_nobody_and_saves_nothing(sandbox: Sandbox) -> None:
    assert SiteForm(entered(sandbox.moodle_url, sandbox.moodle_token)).is_valid()
    assert sandbox.moodle.count() == 0
    assert not MoodleSite.objects.exists()


def test_without_a_place_no_site_is_checked(site_admin: Client, sandbox: Sandbox) -> None:
    site = connected(sandbox)
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(f"somebody {person}"))
        assert "slow just now" in said(run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk))
    assert MoodleSiteState.objects.get().checked_at is None
    assert "can be read" in said(run(site_admin, "moodle_sync_moodlesite", "check_now", site.pk))
