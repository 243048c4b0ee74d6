"""What the page of a Moodle site shows above its settings: how it is doing, what was found, how far behind it was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from moodle_sync.client.findings import NOTES
from moodle_sync.models import Course, Feed, Learner, MoodleSite
from moodle_sync.poll_records import Hour, last_hours
from moodle_sync.site_check import feed_reason, finding_text

from .. import site_state
from ..counting import COUNTED_UP_TO
from ..status import slow_feed
from .display import in_words, list_url, moment, seconds
from .filters import CourseBadgeFilter

# The chart, in units of its own: the width of an hour and of its bar, and the height of the highest bar.
HOUR, BAR, HIGHEST = 14, 10, 80


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding as it is shown: the sign, the word for who cannot see it, and the text."""

    sign: str
    word: str
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found: what is wrong comes first, the rest can be folded away."""

    wrong: list[Finding]
    rest: list[Finding]


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour in the chart and in the table beside it. `kind` is "good", "bad" (some polls failed) or "none"."""

    at: str
    kind: str
    x: int
    y: int
    height: int
    lag: str
    polls: int
    failed: int
    new: int


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the page: what it is, and its value."""

    label: str
    value: str


def shown_findings(findings: Iterable[dict[str, Any]]) -> Findings:
    """Stored findings, ready to be shown."""
    shown = [(finding["ok"], _finding(finding)) for finding in findings]
    return Findings([row for ok, row in shown if not ok], [row for ok, row in shown if ok])


def _finding(finding: dict[str, Any]) -> Finding:
    if finding["check"] in NOTES:
        return Finding("i", _("Note:"), finding_text(finding))
    sign, word = ("✓", _("In order:")) if finding["ok"] else ("✗", _("Wrong:"))
    return Finding(sign, word, finding_text(finding))


def site_panel(site: MoodleSite, now: datetime) -> dict[str, Any]:
    """All that the page shows of the site. Seven queries, however much was read from it."""
    state = site_state.state_of_site(site, now)
    counts = site_state.count_courses(site)
    hours = last_hours(site, now)
    bars = _bars(hours)
    return {
        "state": state,
        "waiting": site_state.badges_waiting(site) if state.tone == "bad" else 0,
        "most": COUNTED_UP_TO,
        "findings": shown_findings(site.state.findings),
        "checked_at": moment(site.state.checked_at),
        "facts": _facts(site),
        "why_this_feed": slow_feed(site) or feed_reason(site.state),
        "courses": [
            (number, label, list_url(Course, site__id__exact=site.pk, **{CourseBadgeFilter.parameter_name: kind}))
            for number, label, kind in (
                (counts.mapped, ngettext("awards a badge", "award a badge", counts.mapped), "mapped"),
                (counts.unmapped, ngettext("awards none", "award none", counts.unmapped), "unmapped"),
                (counts.gone, _("deleted in Moodle"), "gone"),
            )
        ],
        "map_url": reverse("courses"),
        "learners_url": list_url(Learner, site__id__exact=site.pk),
        "bars": bars,
        "width": HOUR * len(bars),
        "height": HIGHEST,
        "has_polls": any(hour.polls for hour in hours),
        "longest_lag": in_words(max((hour.lag for hour in hours if hour.lag is not None), default=None)),
    }


def _facts(site: MoodleSite) -> list[Fact]:
    """How it is read, in the order in which people ask."""
    state = site.state
    return [
        Fact(_("Feed"), feed_label(site)),
        Fact(_("Last poll"), moment(state.last_poll_at)),
        Fact(_("It took"), seconds(state.last_poll_took)),
        Fact(_("Next poll"), moment(None if state.doubt or not site.enabled else state.next_poll_at)),
        Fact(_("Present poll interval"), seconds(state.pace or site.poll_interval)),
        Fact(_("Polls failed in a row"), str(state.failures)),
        Fact(_("Read up to"), moment(state.read_up_to)),
        Fact(_("Last full reading"), moment(state.read_whole_at)),
        Fact(_("Time zone of the report"), state.zone or _("unknown: each learner's exact time is asked for")),
        Fact(_("Clock difference"), seconds(state.clock_skew)),
        Fact(_("Address as Moodle names it"), state.wwwroot or "-"),
    ]


def feed_label(site: MoodleSite) -> str:
    """How completions are read, and whether that is the slower way."""
    label = str(site.state.get_feed_display())
    return _("%(feed)s (slower)") % {"feed": label} if site.state.feed == Feed.PER_LEARNER else label


def _bars(hours: Sequence[Hour]) -> list[Bar]:
    longest = max((hour.lag for hour in hours if hour.lag is not None), default=timedelta(0))
    return [_bar(number, hour, longest) for number, hour in enumerate(hours)]


def _bar(number: int, hour: Hour, longest: timedelta) -> Bar:
    kind = "none" if not hour.polls else "bad" if hour.failed else "good"
    # An hour with polls is seen, however short its lag.
    height = max(round(HIGHEST * hour.lag / longest), 2) if hour.lag is not None and longest else 2
    return Bar(
        at=date_format(timezone.localtime(hour.at), "TIME_FORMAT"),
        kind=kind,
        x=number * HOUR,
        y=HIGHEST - height,
        height=height,
        lag=in_words(hour.lag),
        polls=hour.polls,
        failed=hour.failed,
        new=hour.new,
    )
