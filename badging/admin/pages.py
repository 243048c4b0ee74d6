"""Pages of the admin that belong to no model. `config.admin_site` gives them their addresses."""

from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpResponseBase

from .failed_together import failed_together
from .who_gets import who_gets_badge


class AdminPage(NamedTuple):
    """A page: its address under /admin/, its name in the namespace `admin`, and its view.

    Only staff reach the view; it asks itself for the permissions that it needs.
    """

    route: str
    name: str
    view: Callable[..., HttpResponseBase]


PAGES: list[AdminPage] = [
    AdminPage("badging/coursebadgemapping/<int:mapping_pk>/failed/", "failed_together", failed_together),
    AdminPage("badging/coursebadgemapping/<int:mapping_pk>/who/", "who_gets_badge", who_gets_badge),
]
