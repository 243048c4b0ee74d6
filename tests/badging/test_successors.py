"""Which course took the place of a deleted one."""

from typing import Any

import pytest

from badging.successors import likely_successor, likely_successors
from tests.builders import NOW, make_course, make_mapping, make_site

pytestmark = pytest.mark.django_db

GONE = {"moodle_id": 10, "shortname": "GDPR26", "fullname": "Data Protection", "gone_at": NOW}
NEW: dict[str, Any] = {"moodle_id": 20, "shortname": "OTHER", "fullname": "Something else"}


@pytest.mark.parametrize(
    "names",
    [
        {"shortname": "GDPR26"},
        {"shortname": "gdpr26"},
        {"fullname": "Data Protection"},
        {"fullname": "DATA protection"},
        {"fullname": "Data Protection copy"},
        {"fullname": "Data Protection copy 1"},
        {"fullname": "Data Protection (copy)"},
    ],
)
def test_a_newer_course_of_the_same_or_a_copys_name_is_the_successor(names: dict[str, str]) -> None:
    gone = make_course(**GONE)
    new = make_course(gone.site, **NEW | names)
    assert likely_successor(gone) == new


def test_the_copy_of_a_copy_is_found() -> None:
    gone = make_course(**GONE | {"fullname": "Data Protection copy 1"})
    new = make_course(gone.site, **NEW | {"fullname": "Data Protection copy 2"})
    assert likely_successor(gone) == new


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"fullname": "Data Protection for Managers"},
        {"fullname": "Data Protection copyright"},
        {"shortname": "GDPR2"},
        {"shortname": "GDPR26", "moodle_id": 9},
        {"shortname": "GDPR26", "gone_at": NOW},
    ],
)
def test_other_older_and_deleted_courses_are_not(names: dict[str, Any]) -> None:
    gone = make_course(**GONE)
    make_course(gone.site, **NEW | names)
    assert likely_successor(gone) is None


def test_a_course_of_another_site_or_with_a_badge_of_its_own_is_not() -> None:
    gone = make_course(**GONE)
    make_course(make_site(), **NEW | {"shortname": "GDPR26"})
    make_mapping(make_course(gone.site, **NEW | {"shortname": "GDPR26"}))
    assert likely_successor(gone) is None


def test_the_short_name_counts_most_then_the_full_name_then_the_newest() -> None:
    gone = make_course(**GONE)
    copies = [
        make_course(gone.site, moodle_id=number, shortname=f"S{number}", fullname="Data Protection copy 1")
        for number in (30, 31)
    ]
    assert likely_successor(gone) == copies[1]
    same_name = make_course(gone.site, moodle_id=25, shortname="S25", fullname="Data Protection")
    assert likely_successor(gone) == same_name
    same_short_name = make_course(gone.site, moodle_id=22, shortname="GDPR26", fullname="Renamed")
    assert likely_successor(gone) == same_short_name


def test_courses_without_names_have_none() -> None:
    gone = make_course(moodle_id=10, shortname="", fullname="", gone_at=NOW)
    make_course(gone.site, moodle_id=20, shortname="", fullname="")
    assert likely_successor(gone) is None
    assert likely_successors([]) == {}


def test_many_courses_take_one_query(django_assert_num_queries: Any) -> None:
    site = make_site()
    gone = [make_course(site, **GONE | {"moodle_id": n, "shortname": f"S{n}", "fullname": f"N {n}"}) for n in range(9)]
    new = [make_course(site, moodle_id=100 + n, shortname=f"S{n}", fullname=f"N {n}") for n in range(9)]
    # One: the courses of these sites that could have taken their place.
    with django_assert_num_queries(1):
        found = likely_successors(gone)
    assert [found[course.pk] for course in gone] == new
