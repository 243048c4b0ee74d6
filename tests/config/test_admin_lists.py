"""Lists of the admin take from an address only what they offer themselves, whoever has registered them."""

import re
from html import unescape
from itertools import cycle
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import User
from django.db.models import Field
from django.test import Client
from django.urls import reverse

from badging.models import AuditEntry
from badging.searches import LONGEST_SEARCH
from config.admin_lists import strict
from tests.badging.admin.browsing import listed, one_of_each, page_of, search

pytestmark = pytest.mark.django_db

LISTS = {f"{model._meta.app_label}_{model._meta.model_name}": found for model, found in admin.site._registry.items()}
LOOK_UPS = ("regex", "startswith", "gt")


@pytest.fixture
def root(admin_client: Client) -> Client:
    return admin_client


def columns(model: Any) -> list[str]:
    """The fields of a model, and of the models that it points to."""
    own = [field for field in model._meta.get_fields() if isinstance(field, Field)]
    return [field.name for field in own] + [
        f"{field.name}__{other.name}"
        for field in own
        if field.related_model
        for other in field.related_model._meta.get_fields()
        if isinstance(other, Field)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_no_list_takes_a_look_up_that_it_does_not_offer(name: str, root: Client) -> None:
    offered = {
        parameter
        for spec in root.get(listed(name)).context["cl"].filter_specs
        for parameter in spec.expected_parameters()
    }
    # Each column by one of them, in turn.
    for column, look_up in zip(columns(LISTS[name].model), cycle(LOOK_UPS), strict=False):
        if f"{column}__{look_up}" in offered:
            continue
        done = root.get(listed(name, **{f"{column}__{look_up}": "1"}))
        assert (done.status_code, done.headers.get("Location")) == (302, f"{listed(name)}?e=1"), (column, look_up)


@pytest.mark.parametrize("name", LISTS)
def test_what_a_list_offers_works(name: str, root: Client) -> None:
    """Every link beside a list and at the heads of its columns."""
    one_of_each()
    page = root.get(listed(name))
    links = {unescape(link) for link in re.findall(r'href="(\?[^"]*)"', page.content.decode())}
    assert links or not page.context["cl"].filter_specs
    for link in links:
        assert root.get(listed(name) + link).status_code == 200, link


def test_links_from_page_to_list_work(root: Client) -> None:
    pages = [reverse("admin:index"), *(page_of(name, pk) for name, pk in one_of_each().items())]
    followed = 0
    for page in pages:
        for link in re.findall(r'href="(/admin/[\w/]+/\?[^"]+)"', root.get(page).content.decode()):
            followed += 1
            assert root.get(unescape(link)).status_code == 200, f"{page} leads to {link}"
    assert followed >= 10


@pytest.mark.parametrize("name", LISTS)
def test_a_search_that_is_too_long_or_holds_nul_does_no_harm(name: str, root: Client) -> None:
    for term in ("a " * LONGEST_SEARCH, "\0", "a\0b"):
        assert search(root, name, term).status_code == 200
    assert root.get(listed(name, q="a\0b")).status_code == 302


class _ByDate(ModelAdmin):
    date_hierarchy = "at"


def test_a_list_by_date_can_be_narrowed_to_a_year(root: Client) -> None:
    AuditEntry.objects.create(action="site_saved", subject="Moodle")
    year = AuditEntry.objects.get().at.year
    model_admin = strict(_ByDate)(AuditEntry, admin.site)
    request = root.get(listed("badging_auditentry"), {"at__year": year}).wsgi_request
    request.user = User.objects.get()
    assert model_admin.get_changelist_instance(request).result_count == 1


def test_a_model_is_registered_once_and_keeps_the_name_of_its_class() -> None:
    assert type(LISTS["auth_user"]).__name__ == "UserAdmin"
    assert strict(type(LISTS["auth_user"])) is type(LISTS["auth_user"])
    assert strict(None).__name__ == "ModelAdmin"
