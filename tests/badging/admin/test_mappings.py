"""Course badge mappings in the admin: enabled, disabled, removed."""

import pytest
from django.test import Client

from badging.admin.base import MOST_CHOSEN
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, Issuance
from tests.builders import (
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
)

from .browsing import confirm, page_of, run, said

State = Issuance.State
pytestmark = pytest.mark.django_db


def test_a_mapping_is_disabled_and_enabled_after_asking(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.course.mapping.pk
    assert pk
    assert "1 queued badge(s) are held" in run(site_admin, name, "disable", pk).content.decode()
    assert CourseBadgeMapping.objects.get().active
    confirm(site_admin, name, "disable", pk)
    issuance.refresh_from_db()
    assert (issuance.standing, issuance.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert "What will happen" in run(site_admin, name, "enable", pk).content.decode()
    assert "1 badge(s) that waited go on" in said(confirm(site_admin, name, "enable", pk))
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED


def test_removing_a_mapping_cancels_what_waits_and_is_recorded(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.course.mapping.pk
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
