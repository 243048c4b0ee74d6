"""Courses in the admin."""

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging.models import CourseManager
from tests.builders import NOW, make_course, make_mapping, make_site

from .browsing import listed, page_of

pytestmark = pytest.mark.django_db


def test_the_courses_show_badge_and_managers_in_few_queries(site_admin: Client) -> None:
    site = make_site()
    mapping = make_mapping(make_course(site))
    for name in ("ada", "ben"):
        CourseManager.objects.create(user=User.objects.create_user(name), course=mapping.course)
    for _number in range(20):
        make_course(site)
    with CaptureQueriesContext(database) as seen:
        page = site_admin.get(listed("moodle_sync_course")).content.decode()
    # Eight: session, user, permissions of the user and of the groups, sites, count, courses with mappings, managers.
    assert len(seen) == 8, [row["sql"] for row in seen]
    assert "ada, ben" in page
    assert "Safeguarding" in page


def test_a_course_leads_to_moodle_and_to_its_managers(site_admin: Client) -> None:
    course = make_course()
    manager = CourseManager.objects.create(user=User.objects.create_user("ada"), course=course)
    page = site_admin.get(page_of("moodle_sync_course", course.pk)).content.decode()
    assert course.url in page
    assert reverse("admin:badging_coursemanager_change", args=[manager.pk]) in page


def test_a_deleted_course_is_marked_and_leads_to_its_successor(site_admin: Client) -> None:
    gone = make_course(shortname="GDPR26", gone_at=NOW)
    page = site_admin.get(page_of("moodle_sync_course", gone.pk)).content.decode()
    assert "No course of this name was found." in page
    assert f"{gone} (deleted in Moodle)" in site_admin.get(listed("moodle_sync_course")).content.decode()
    new = make_course(gone.site, shortname="GDPR26")
    page = site_admin.get(page_of("moodle_sync_course", gone.pk)).content.decode()
    assert new.full_label in page
    assert f'href="{reverse("choose-provider", args=[new.pk])}"' in page
    assert "what took its place" not in site_admin.get(page_of("moodle_sync_course", new.pk)).content.decode().lower()


def test_courses_are_filtered_by_whether_they_award_a_badge(site_admin: Client) -> None:
    site = make_site()
    mapped = make_mapping(make_course(site)).course
    unmapped, gone = make_course(site), make_mapping(make_course(site, gone_at=NOW)).course
    for kind, course in (("mapped", mapped), ("unmapped", unmapped), ("gone", gone)):
        answer = site_admin.get(listed("moodle_sync_course", badge=kind))
        assert [row.pk for row in answer.context["cl"].result_list] == [course.pk]
    page = site_admin.get(page_of("moodle_sync_course", unmapped.pk)).content.decode()
    assert f'href="{reverse("choose-provider", args=[unmapped.pk])}"' in page
    page = site_admin.get(page_of("moodle_sync_course", mapped.pk)).content.decode()
    assert f'href="{reverse("course", args=[mapped.pk])}"' in page
