"""Searches go by POST, and lists are found again by a number that only the person's own session understands."""

import json
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from badging import searches
from badging.searches import SearchByPost
from people.models import Session
from tests.builders import make_learner, make_site

from .browsing import listed, page_of, rows_shown, said, search, signed_in

pytestmark = pytest.mark.django_db

LEARNERS = "moodle_sync_learner"


def address_of(answer: Any) -> str:
    """Where the browser is after the search."""
    (address, status) = answer.redirect_chain[-1]
    assert status == 303
    return str(address)


def test_a_search_lands_on_an_address_of_numbers_and_goes_on_from_there(officer: Client) -> None:
    site = make_site()
    wanted = [make_learner(site, firstname="Zoë", lastname=f"Okafor{number}") for number in range(30)]
    make_learner(site)
    answer = search(officer, LEARNERS, "Zoë Okafor", site__id__exact=site.pk)
    address = address_of(answer)
    path, _mark, query = address.partition("?")
    assert path == listed(LEARNERS)
    assert all(part.partition("=")[2].isdecimal() for part in query.split("&")), query
    assert rows_shown(answer) == sorted(row.pk for row in wanted)[:25]
    # The words stand in the search box; paging, filters and links to rows carry the number.
    text = answer.content.decode()
    assert 'value="Zoë Okafor"' in text
    assert "Zo%C3%AB" not in text
    assert rows_shown(officer.get(f"{address}&p=2")) == sorted(row.pk for row in wanted)[25:]
    assert rows_shown(officer.get(address)) == rows_shown(answer)
    number = query.rpartition("q=")[2]
    assert f"_changelist_filters=site__id__exact%3D{site.pk}%26q%3D{number}" in text
    # Clear.
    assert 'href="?"' in text
    assert len(rows_shown(search(officer, LEARNERS, ""))) == 25
    assert address_of(search(officer, LEARNERS, "")) == listed(LEARNERS)


def test_the_number_means_nothing_to_somebody_else_or_after_signing_out(officer: Client, site_admin: Client) -> None:
    row = make_learner(email="zoe@example.org")
    address = address_of(search(officer, LEARNERS, "zoe@example.org"))
    assert rows_shown(officer.get(address)) == [row.pk]
    for client in (site_admin, signed_in("Data protection officers")):
        answer = client.get(address, follow=True)
        assert answer.redirect_chain == [(listed(LEARNERS), 303)]
        assert "This search is over" in said(answer)
        assert "zoe@" not in answer.content.decode().partition("result_list")[0]
    officer.logout()
    officer.force_login(User.objects.filter(groups__name="Data protection officers").earliest("pk"))
    assert officer.get(address).status_code == 303


def test_words_in_an_address_are_not_searched_for(officer: Client) -> None:
    make_learner(email="zoe@example.org")
    answer = officer.get(listed(LEARNERS, q="zoe@example.org", site__id__exact=1))
    assert (answer.status_code, answer["Location"]) == (303, listed(LEARNERS, site__id__exact=1))


def test_the_words_are_stored_encrypted_and_few_at_a_time(officer: Client) -> None:
    for number in range(searches.MOST_KEPT + 5):
        search(officer, LEARNERS, f"zoe{number}@example.org")
    (session,) = Session.objects.all()
    kept = session.get_decoded()
    assert len(kept[searches.SESSION_KEY]) == searches.MOST_KEPT
    assert "zoe" not in json.dumps(kept)


def test_words_that_the_present_key_cannot_read_are_a_search_that_is_over(officer: Client, settings: Any) -> None:
    address = address_of(search(officer, LEARNERS, "zoe@example.org"))
    settings.FIELD_ENCRYPTION_KEYS = ["A" * 43 + "="]
    assert officer.get(address).status_code == 303


def test_who_may_not_see_the_list_may_not_search_it() -> None:
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.post(listed(LEARNERS), {"_search": "1", "q": "zoe"}).status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post(listed(LEARNERS), {"_search": "1", "q": "zoe"}).status_code == 403


def test_every_list_of_the_admin_searches_by_post(admin_client: Client) -> None:
    """Also those of other packages, such as users."""
    for model, model_admin in admin.site._registry.items():
        assert isinstance(model_admin, SearchByPost), model
        page = admin_client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
        if model_admin.search_fields:
            assert '<form id="changelist-search" method="post"' in page.content.decode(), model


def test_users_are_found_by_post(admin_client: Client) -> None:
    wanted = User.objects.create_user("mina", email="mina@example.org")
    answer = search(admin_client, "auth_user", "mina@example.org")
    assert rows_shown(answer) == [wanted.pk]
    assert "mina" not in address_of(answer)
    assert admin_client.get(page_of("auth_user", wanted.pk)).status_code == 200


def test_search_fields_ask_by_post_only(admin_client: Client) -> None:
    query = {"app_label": "badging", "model_name": "coursemanager", "field_name": "user", "term": "mina"}
    assert admin_client.get(reverse("admin:autocomplete"), query).status_code == 405
    User.objects.create_user("mina")
    answer = admin_client.post(reverse("admin:autocomplete"), query)
    assert [row["text"] for row in answer.json()["results"]] == ["mina"]
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    assert strict.post(reverse("admin:autocomplete"), query).status_code == 403
