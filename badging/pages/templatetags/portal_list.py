"""The rows of a list of the admin.

unfold's own tag works out the headers of all columns for each row anew, and repeats the classes of its style sheet in
each cell: a list took twice the time, and was twice as large (benchmarks/admin.py). `admin.css` has the looks. Left out
is what no list here uses: editable cells, popups, row actions and sections.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django import template
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import lookup_field
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import ManyToOneRel, Model
from django.urls import NoReverseMatch
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from unfold.templatetags.unfold_list import result_headers
from unfold.utils import display_for_field, display_for_value
from unfold.widgets import CHECKBOX_CLASSES

register = template.Library()

_CHECKBOX = " ".join([*CHECKBOX_CLASSES, "action-select"])


@register.inclusion_tag("admin/portal_list.html")
def portal_list(cl: ChangeList) -> dict[str, Any]:
    """The headers and rows of a list. Each cell has its column's name, which a phone shows beside it."""
    headers = list(result_headers(cl))
    # Translated and escaped once, not for each cell.
    labels = [conditional_escape(capfirst(str(header["text"]))) for header in headers]
    return {
        "cl": cl,
        "result_headers": headers,
        "num_sorted_fields": sum(bool(header["sortable"] and header["sorted"]) for header in headers),
        "rows": [list(_cells(cl, row, labels)) for row in cl.result_list],
    }


def _cells(cl: ChangeList, row: Model, labels: Sequence[str]) -> Iterator[SafeString]:
    """The cells of a row: its checkbox if there are actions, then the columns, of which some lead to the row's page."""
    leading = cl.list_display_links or ()
    for name, label in zip(cl.list_display, labels, strict=True):
        if name == "action_checkbox":
            yield _checkbox(row, f"row-{row.pk}" if leading else "")
            continue
        shown = _shown(cl, row, name)
        if name in leading:
            shown = _link(cl, row, shown)
        column = name if isinstance(name, str) else name.__name__
        # The first column that leads to the row's page names the row.
        if leading and name == leading[0]:
            text = '<th scope="row" id="row-{}" class="field-{}" data-label="{}">{}</th>'
            yield format_html(text, row.pk, column, label, shown)
        else:
            yield format_html('<td class="field-{}" data-label="{}">{}</td>', column, label, shown)


def _checkbox(row: Model, named_by: str) -> SafeString:
    """What chooses the row for an action; `named_by` is the id of the cell that names the row, or ""."""
    own = f"choose-{row.pk}"
    return format_html(
        '<td class="action-checkbox" data-label="{}"><input type="checkbox" name="{}" value="{}" class="{}" id="{}"'
        ' aria-label="{}" aria-labelledby="{}"></td>',
        _("Select"),
        ACTION_CHECKBOX_NAME,
        row.pk,
        _CHECKBOX,
        own,
        _("Select this row"),
        f"{own} {named_by}".strip(),
    )


def _shown(cl: ChangeList, row: Model, name: Any) -> Any:
    """A value as unfold's lists show it."""
    empty = cl.model_admin.get_empty_value_display()
    try:
        field, attribute, value = lookup_field(name, row, cl.model_admin)
    except ObjectDoesNotExist:
        return empty
    empty = getattr(attribute, "empty_value_display", empty)
    if field is None or field.auto_created:
        return display_for_value(value, empty, getattr(attribute, "boolean", False))
    if isinstance(field.remote_field, ManyToOneRel):
        related = getattr(row, field.name)
        return empty if related is None else related
    return display_for_field(value, field, empty)


def _link(cl: ChangeList, row: Model, shown: Any) -> Any:
    """The value as a link to the row's page, which leads back to the list as it is filtered now."""
    try:
        url = cl.url_for_result(row)
    except NoReverseMatch:
        return shown
    url = add_preserved_filters({"preserved_filters": cl.preserved_filters, "opts": cl.opts}, url)
    return format_html('<a href="{}">{}</a>', url, shown)
