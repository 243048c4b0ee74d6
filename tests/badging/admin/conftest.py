"""Browsers of the people who use the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client

# This file is loaded before Django is, so the helper is imported in the fixtures.


@pytest.fixture
def site_admin() -> Client:
    """Somebody in the group of site admins, who is no superuser."""
    from badging.setup import SITE_ADMINS

    from .browsing import signed_in

    return signed_in(SITE_ADMINS, "site-admin")


@pytest.fixture
def officer() -> Client:
    """Somebody in the group of data protection officers."""
    from badging.setup import DATA_PROTECTION_OFFICERS

    from .browsing import signed_in

    return signed_in(DATA_PROTECTION_OFFICERS, "officer")
