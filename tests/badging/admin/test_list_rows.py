"""The rows of lists: named cells, links that lead back to the list, and small pages."""

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils.html import strip_tags
from unfold.templatetags.unfold_list import result_headers, results

from badging.pages.templatetags.portal_list import _cells
from tests.builders import make_issuance, make_mapping

from .browsing import MODELS, listed, many_issuances, one_of_each

pytestmark = pytest.mark.django_db


def table_of(client: Client, address: str) -> str:
    """The table of a list."""
    page = client.get(address).content.decode()
    found = re.search(r'<table id="result_list".*?</table>', page, re.DOTALL)
    assert found, address
    return found[0]


def test_each_cell_has_the_name_of_its_column_for_phones(admin_client: Client) -> None:
    one_of_each()
    for name in MODELS:
        headers, rows = table_of(admin_client, listed(name)).split("</thead>")
        names = re.findall(r"<th [^>]*scope=\"col\"[^>]*>(.*?)</th>", headers, re.DOTALL)
        columns = [" ".join(unescape(re.sub("<[^>]+>", " ", text)).split()) for text in names]
        row = rows.partition("</tr>")[0]
        labels = [unescape(label) for label in re.findall(r'<t[dh] [^>]*data-label="([^"]*)"', row)]
        assert len(labels) == len(columns) > 1, name
        assert all(labels), name
        # What sorts a column has icons beside its name.
        assert [pair for pair in zip(columns, labels, strict=True) if not pair[0].startswith(pair[1])] == [], name


def test_a_row_is_named_by_a_link_that_leads_back_to_the_filtered_list(admin_client: Client) -> None:
    row = make_issuance()
    table = table_of(admin_client, listed("badging_issuance", state__exact="queued"))
    found = re.search(
        r'<th scope="row" id="row-\d+" class="field-badge" data-label="Badge"><a href="([^"]+)">Safeguarding</a></th>',
        table,
    )
    assert found
    url = urlsplit(unescape(found[1]))
    assert url.path.endswith(f"/{row.pk}/change/")
    assert parse_qs(url.query) == {"_changelist_filters": ["state__exact=queued"]}


def test_a_row_is_chosen_by_one_named_checkbox_and_only_where_there_are_actions(admin_client: Client) -> None:
    row = make_issuance()
    table = table_of(admin_client, listed("badging_issuance"))
    [box] = re.findall(r'<input type="checkbox" name="_selected_action" [^>]+>', table)
    assert f'value="{row.pk}"' in box
    # Its own name, then that of the row.
    assert f'id="choose-{row.pk}" aria-label="Select this row" aria-labelledby="choose-{row.pk} row-{row.pk}"' in box
    assert f'id="row-{row.pk}"' in table
    assert "_selected_action" not in table_of(admin_client, listed("moodle_sync_completion"))


def test_each_cell_shows_what_unfold_would_show(admin_client: Client) -> None:
    one_of_each()
    make_mapping(badge_name="<b>Bold & brave</b>", min_score=None, active=False)
    for name in MODELS:
        cl = admin_client.get(listed(name)).context["cl"]
        labels = [str(header["text"]) for header in result_headers(cl)]
        shown = [[strip_tags(cell) for cell in _cells(cl, row, labels)] for row in cl.result_list]
        assert shown, name
        assert shown == [[strip_tags(cell) for cell in row] for row in results(cl)], name
        named = [cell for row in cl.result_list for cell in _cells(cl, row, labels)]
        assert "<b>Bold" not in "".join(named)


def test_a_full_page_is_small(admin_client: Client) -> None:
    """unfold repeats its style sheet's classes in each cell: 200 kB."""
    many_issuances(30)
    page = admin_client.get(listed("badging_issuance"))
    assert len(page.context["cl"].result_list) == 25
    assert len(page.content) < 100_000
