"""manage.py status: how the portal is doing."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ...models import Issuance
from ...moments import moment
from ...overview import look
from ...problems import Problem, problems_of
from ...status import status
from ..base import PortalCommand


class Command(PortalCommand):
    """Prints text for a person, or JSON for a monitor."""

    help = "Issuances by state, what is due, and the health of connections, sites and schedule."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status."""
        at = timezone.now()
        # What the start page of the admin shows.
        problems = problems_of(look(at))
        now = status(at) | {"problems": [_as_json(problem) for problem in problems]}
        lines = [_("Badges owed: %d, of them") % now["owed"]]
        lines += [f"  {Issuance.State(state).label}: {count}" for state, count in now["issuances"].items()]
        lines.append(_("Due: %s") % now["due"])
        if now["oldest_due_seconds"] is not None:
            lines.append(_("Oldest due for %d s") % now["oldest_due_seconds"])
        lines += [
            f"{row['name']} ({row['environment']}): {row['reason'] or row['state']}"
            + (_(", %d held") % row["held"] if row["held"] else "")
            for row in now["connections"]
        ]
        lines += [_site_line(row) for row in now["sites"]]
        lines += [_("What needs a person:")] if problems else [_("Nothing needs a person.")]
        lines += [_problem_line(problem) for problem in problems]
        self.say(options, now, *lines)


def _as_json(problem: Problem) -> dict[str, Any]:
    """One problem, for monitors."""
    return {"what": problem.what, "todo": problem.todo, "people": problem.people, "stops": problem.stops}


def _problem_line(problem: Problem) -> str:
    """One problem: what is wrong, who waits, and what to do."""
    waiting = f" ({problem.waiting})" if problem.waiting else ""
    return f"- {problem.what}{waiting}. {problem.todo}".strip()


def _site_line(row: dict[str, Any]) -> str:
    """One site: how and when it is read, and what is wrong with it."""
    if not row["enabled"]:
        when = _("disabled")
    elif row["question"]:
        when = _("waits for an answer")
    else:
        when = f"{_('next poll')} {_time(row['next_poll']) or _('now')}"
    reading = (
        f"{row['name']}: {_('feed')} {row['feed'] or '–'}, {_('last poll')} {_time(row['last_poll']) or '–'}, {when}"
    )
    # The other trouble of a site is among the problems, as it is on the start page.
    texts = [row["error"] if row["error"] != row["question"] else "", "" if row["feed"] else row["feed_reason"]]
    return ". ".join([reading, *(text.rstrip(".") for text in texts if text)])


def _time(iso: str | None) -> str:
    """A time of the status as the pages show it; "" without one."""
    return moment(datetime.fromisoformat(iso)) if iso else ""
