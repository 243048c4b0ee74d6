"""Pages of the admin that belong to no model. `config.admin_site` gives them their addresses."""

from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpResponseBase

from . import going_live


class AdminPage(NamedTuple):
    """A page: its address under /admin/, its name in the namespace `admin`, and its view.

    Only staff reach the view; it asks itself for the permissions that it needs.
    """

    route: str
    name: str
    view: Callable[..., HttpResponseBase]


PAGES: list[AdminPage] = [
    AdminPage("going-live/<int:pk>/", "going_live", going_live.view),
]
