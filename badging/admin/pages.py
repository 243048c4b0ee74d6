"""Pages of the admin that belong to no model. `config.admin_site` gives them their addresses."""

from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpResponseBase

from . import going_live, moodle_guide, set_up, start, verification
from .failed_together import failed_together
from .learner_badge import learner_badge
from .privacy import privacy
from .who_gets import who_gets_badge


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
    AdminPage("set-up/", "set_up", set_up.set_up),
    AdminPage("verification/", "verification", verification.verification),
    AdminPage("verification/stages/", "verification_stages", verification.stages),
    AdminPage("moodle-guide/", "moodle_guide_new", moodle_guide.moodle_guide),
    AdminPage("moodle-guide/<int:pk>/", "moodle_guide", moodle_guide.moodle_guide),
    AdminPage("going-live/<int:pk>/", "going_live", going_live.view),
    AdminPage("badging/coursebadgemapping/<int:mapping_pk>/failed/", "failed_together", failed_together),
    AdminPage("badging/coursebadgemapping/<int:mapping_pk>/who/", "who_gets_badge", who_gets_badge),
]
