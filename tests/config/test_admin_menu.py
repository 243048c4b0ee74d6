"""The admin's menu leads to everything, and shows nobody what they may not see."""

import pytest
from django.contrib import admin
from django.urls import reverse

from config.admin_menu import HEADER, MENU
from tests.access.people import browsers
from tests.builders import make_course

pytestmark = pytest.mark.django_db


def test_every_list_of_the_admin_is_in_the_menu() -> None:
    named = {entry.name for _title, entries in MENU for entry in entries}
    lists = {f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry}
    assert lists <= named


def test_menu_and_header_lead_only_to_pages_that_their_readers_may_see() -> None:
    signed_in = browsers(make_course(), make_course())
    for role in ("officer", "admin"):
        client = signed_in[role]
        links = [link for _title, entries in MENU for link in entries] + HEADER
        shown = client.get(reverse("admin:index")).content.decode()
        reached = [entry for entry in links if f'href="{reverse(entry.name)}"' in shown]
        assert len(reached) > 5, role
        for entry in reached:
            assert client.get(reverse(entry.name)).status_code == 200, (role, entry.name)
