"""manage.py status: how the portal is doing."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ...models import Issuance
from ...moments import moment
from ...status import OVERDUE, status
from ..base import PortalCommand


class Command(PortalCommand):
    """Prints text for a person, or JSON for a monitor."""

    help = "Issuances by state, what is due, and the health of connections, sites and schedule."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status."""
        now = status(timezone.now())
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
        lines += [row["problem"] for row in (now["beat"], now["worker"], *now["schedule"]) if row["problem"]]
        self.say(options, now, *lines)


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
    problems = [row["question"], OVERDUE if row["overdue"] else "", row["feed_reason"]]
    # An open question is kept as the site's error as well.
    problems += [row["error"]] if row["error"] not in problems else []
    return ". ".join([reading, *(str(text).rstrip(".") for text in problems if text)])


def _time(iso: str | None) -> str:
    """A time of the status as the pages show it; "" without one."""
    return moment(datetime.fromisoformat(iso)) if iso else ""
