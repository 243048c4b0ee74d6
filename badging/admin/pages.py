"""Pages of the admin that belong to no model. `config.admin_site` gives them their addresses."""

from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpResponseBase

from .learner_badge import learner_badge
from .privacy import privacy
from . import start


class AdminPage(NamedTuple):
    """A page: its address under /admin/, its name in the namespace `admin`, and its view.

    Only staff reach the view; it asks itself for the permissions that it needs.
    """

    route: str
    name: str
    view: Callable[..., HttpResponseBase]


PAGES: list[AdminPage] = [
    AdminPage("learner-badge/", "learner_badge", learner_badge),
    AdminPage("privacy/", "privacy", privacy),
    AdminPage("start/", "start_parts", start.parts),
    AdminPage("problems/", "problems", start.problems),
]
