"""Patterns and look-ups in addresses: none of them keeps the process busy, and none reads a stored token."""

from urllib.parse import urlencode

import pytest

from .attacking import PAGE_SECONDS, Answer, Web

# Takes a time that doubles with each letter of what it is compared with.
BAD_PATTERN = r"^(([a-z:/.])+.)+[A-Z]([a-z])+$"
LISTS = {
    "moodle_sync/moodlesite": ("url__regex", "name__iregex", "token__startswith", "token__regex", "token"),
    "badging/navigatrconnection": ("name__regex", "pat__startswith", "pat__gt", "pat__contains", "pat__exact"),
    "badging/auditentry": ("subject__regex", "actor__password__startswith"),
    "badging/issuance": ("connection__pat__startswith", "course__site__token__startswith", "learner__email__regex"),
    "moodle_sync/learner": ("email__iregex", "site__url__regex", "site__token__startswith"),
    "auth/user": ("username__regex", "password__startswith", "email__contains"),
    "badging/scheduledtask": ("name__regex", "task__iregex", "args__contains"),
}


@pytest.mark.parametrize("person", ["officer", "site-admin", "root"])
@pytest.mark.parametrize("name", LISTS)
def test_a_look_up_that_no_list_offers_is_an_invalid_filter(web: Web, name: str, person: str) -> None:
    for parameter in LISTS[name]:
        answer = web.ask(f"/admin/{name}/?{urlencode({parameter: BAD_PATTERN})}", person=person)
        # Some may not see the list at all.
        assert (answer.status, answer.headers.get("Location")) in (
            (302, f"/admin/{name}/?e=1"),
            (403, None),
        ), parameter
    assert web.seconds_for("/admin/", person="root") < PAGE_SECONDS


def test_the_lists_themselves_are_open_to_a_superuser(web: Web) -> None:
    """Else the answers above would say nothing."""
    assert {name: web.ask(f"/admin/{name}/", person="root").status for name in LISTS} == dict.fromkeys(LISTS, 200)


ODD_VALUES = [
    *("o=1e9", "o=-99999999999999999999", "o=1.-1.1.x", "p=-1", "p=99999999999999999999999", "p=1e3", "p=%00"),
    *("all=", "all=1", "_facets=True", "_popup=1", "_to_field=id", "_to_field=token", "_to_field=pk__regex"),
    *("q=%00", "q=" + "%22" * 3000, "q=" + "a+" * 3000, "q=" + "%25_" * 60, "q=(a%2B)%2B%24", "e=1", "e=x&o=2"),
    *("q=%ff%fe", "%00=1", "=1", "&&&", "enabled__exact=1&enabled__exact=x", "enabled__exact[]=1", "site=%27"),
]


@pytest.mark.parametrize("name", ["moodle_sync/moodlesite", "badging/auditentry", "auth/user"])
def test_odd_values_of_what_lists_accept_are_no_server_error(web: Web, name: str) -> None:
    for query in ODD_VALUES:
        assert web.ask(f"/admin/{name}/?{query}", person="root").status in (200, 302, 303, 400), query


@pytest.mark.parametrize(
    "query",
    [
        *("", "app_label=moodle_sync&model_name=moodlesite&field_name=token", "app_label=x&model_name=y&field_name=z"),
        "app_label=badging&model_name=coursemanager&field_name=course&term=%00",
        "app_label=badging&model_name=coursemanager&field_name=course&term=" + "a+" * 3000,
        "app_label=badging&model_name=coursemanager&field_name=course__regex&term=a",
        "app_label=badging&model_name=issuance&field_name=connection__pat&term=a",
    ],
)
def test_search_fields_answer_for_their_own_relations_only(web: Web, query: str) -> None:
    assert search_for(web, query).status == 403


def test_a_search_field_finds_what_it_is_for(web: Web) -> None:
    query = "app_label=badging&model_name=coursemanager&field_name=user&term=root"
    answer = search_for(web, query)
    assert (answer.status, '"text": "root"' in answer.body) == (200, True)


def search_for(web: Web, query: str) -> Answer:
    """What a search field posts."""
    form = [("Content-Type", "application/x-www-form-urlencoded"), ("X-CSRFToken", "x" * 32)]
    return web.ask("/admin/autocomplete/", method="POST", person="root", body=query.encode(), headers=form)
