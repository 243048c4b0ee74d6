"""How values are shown in the admin: links, times, durations, counts, and tables of related rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model, QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from outbound_http import web_address

from .. import moments
from ..counting import capped, count_up_to
from ..meanings import Outcome
from ..models import Issuance

Text = str | Promise

# How many related rows a page shows; a link leads to the list of all of them.
MOST_SHOWN = 50


def link(row: Model | None) -> str:
    """A link to the row's page in the admin, named as the row; "-" for None."""
    return link_to(row, str(row)) if row is not None else "-"


def link_to(row: Model, text: Text) -> SafeString:
    """A link to the row's page in the admin."""
    return format_html('<a href="{}">{}</a>', page_url(row), text)


def outside_link(url: str, text: Text = "") -> str:
    """A link to a page of Moodle or Navigatr; only the text, or "-", for what is no web address."""
    address = web_address(url)
    return format_html('<a href="{}">{}</a>', address, text or address) if address else str(text) or "-"


def page_url(row: Model) -> str:
    """The address of the row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def list_url(model: type[Model], **query: Any) -> str:
    """The address of the model's list, filtered."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", query=query or None)


def list_link(model: type[Model], text: Text, **query: Any) -> SafeString:
    """A link to the model's list, filtered."""
    return format_html('<a href="{}">{}</a>', list_url(model, **query), text)


def moment(at: datetime | None) -> str:
    """A time as all pages show it, or "-". On the page of a row Django formats only times that a field returns."""
    return moments.moment(at) if at else "-"


def seconds(duration: timedelta | None) -> str:
    """A duration, such as "1.5 s" or "0:02:10", or "-"."""
    return "-" if duration is None else moments.duration(duration)


def in_words(duration: timedelta | None) -> str:
    """A duration in one whole number, such as "12 s" or "3 min", or "-"."""
    return "-" if duration is None else moments.in_words(duration)


def yes_no(value: bool) -> str:
    """Yes or No."""
    return _("Yes") if value else _("No")


def counted(rows: QuerySet[Any]) -> str:
    """The number of rows, counted no further than COUNTED_UP_TO."""
    return capped(count_up_to(rows))


def rows_table(model: type[Model], headers: Sequence[Text], rows: Iterable[Sequence[Any]], **query: Any) -> SafeString:
    """A table of the newest related rows, at most MOST_SHOWN, with a link to the list of all of them."""
    lines = list(rows)
    context = {
        "label": model._meta.verbose_name_plural,
        "headers": headers,
        "rows": lines,
        "list_url": list_url(model, **query),
        "is_cut": len(lines) >= MOST_SHOWN,
    }
    return render_to_string("admin/portal_rows.html", context)


def badge_of(row: Issuance) -> str:
    """The badge's name as last seen, or its id."""
    badge = row.sent_as
    return badge.badge_name or str(badge.badge_id)


def state_of(row: Issuance) -> str:
    """The state of an issuance as the admin shows it."""
    return str(row.standing.label)


# How a state looks: the classes of the style sheet.
_LOOKS = {Issuance.State.ISSUED: "good", Issuance.State.FAILED: "bad", Issuance.State.CANCELLED: "quiet"}


def state_pill(row: Issuance) -> SafeString:
    """The state of an issuance, in its colour."""
    return format_html('<span class="state {}">{}</span>', _LOOKS.get(row.standing, "waiting"), state_of(row))


def reason_label(row: Issuance) -> str:
    """The reason of an issuance, or "-"."""
    return str(Outcome(row.standing_reason).label) if row.standing_reason else "-"


def reason_of(row: Issuance) -> str:
    """Why an issuance is in its state, in a few words; "-" where it needs no reason."""
    return _("Question about the Moodle site") if row.awaits_answer else reason_label(row)
