"""The calls: what is sent, what comes back, and which error each status becomes."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses

import navigatr_client.client
from navigatr_client import (
    NavigatrClient,
    NavigatrError,
    NavigatrRejected,
    NavigatrRequirementNotMet,
    NavigatrTokenMalformed,
    NavigatrTokenRefused,
    NavigatrUnavailable,
    NavigatrUnclear,
    NavigatrUnexpectedAnswer,
)
from outbound_http import VERSION
from tests.navigatr_client.replies import reply

API = "https://api.navigatr.test/v1"
TOKEN = "pat-0123456789-secret"
LEARNER: dict[str, Any] = {
    "provider_id": 7,
    "recipient_email": "ada@example.org",
    "recipient_firstname": "Ada",
    "recipient_lastname": "Lovelace",
}


@pytest.fixture
def client() -> NavigatrClient:
    return NavigatrClient(API, TOKEN)


def issue(client: NavigatrClient) -> Any:
    return client.issue(
        51, provider_id=7, recipient_email="ada@example.org", recipient_firstname="Ada", recipient_lastname="L"
    )


def sent(call: int = 0) -> requests.PreparedRequest:
    return responses.calls[call].request


def query(call: int = 0) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(sent(call).url)).query)


def badge_pages(count: int, *, size: int = 100) -> Any:
    """An endpoint that serves `count` badges in pages as API.md describes them."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        number = int(parse_qs(urlsplit(str(request.url)).query)["page"][0])
        items = [{"id": n, "name": f"Badge {n}"} for n in range(1, count + 1)][(number - 1) * size : number * size]
        page = {"items": items, "total": count, "page": number, "size": size, "pages": -(-count // size)}
        return 200, {}, json.dumps(page)

    return answer


@responses.activate
def test_every_request_carries_token_and_version() -> None:
    responses.get(f"{API}/user_detail/0", json=reply("account"))

    account = NavigatrClient(f"{API}/", f" \t{TOKEN}\r\n").current_user()

    assert account.firstname == "Grace"
    assert sent().headers["X-Access-Token"] == TOKEN
    assert sent().headers["Accept"] == "application/json"
    assert sent().headers["User-Agent"] == f"navigatr-badge-portal/{VERSION}"
    assert "Authorization" not in sent().headers


@responses.activate
def test_single_records_are_read(client: NavigatrClient) -> None:
    responses.get(f"{API}/user_detail/0/providers", json=reply("providers"))
    responses.get(f"{API}/provider/7", json=reply("providers")[0])
    responses.get(f"{API}/badge/51", json=reply("badge"))
    responses.get(f"{API}/badge_assertion/90210", json=reply("assertion"))

    assert [provider.name for provider in client.providers()] == ["Kent Adult Education", "Partner"]
    assert client.provider(7).id == 7
    assert client.badge(51).name == "First Aid"
    assert client.assertion("90210").id == "90210"


@responses.activate
def test_id_cannot_leave_its_place_in_the_path(client: NavigatrClient) -> None:
    responses.get(f"{API}/badge_assertion/1%2F..%2Frevoke", json=reply("assertion"))

    assert client.assertion("1/../revoke").id == "90210"


@responses.activate
def test_no_providers_is_an_empty_list_but_an_object_is_unexpected(client: NavigatrClient) -> None:
    responses.get(f"{API}/user_detail/0/providers", json=[])
    responses.get(f"{API}/user_detail/0/providers", json={})

    assert client.providers() == []
    with pytest.raises(NavigatrUnexpectedAnswer):
        client.providers()


@responses.activate
def test_badge_page_asks_for_what_it_was_given(client: NavigatrClient) -> None:
    responses.add_callback(responses.GET, f"{API}/badge/", badge_pages(120, size=50))

    page = client.badge_page(7, page=2, size=50, keyword="first aid & more")

    assert [badge.id for badge in page.items] == list(range(51, 101))
    assert query() == {
        "provider_id": ["7"],
        "status": ["Published"],
        "source": ["Internal"],
        "keyword": ["first aid & more"],
        "order_by": ["Name_Asc"],
        "page": ["2"],
        "size": ["50"],
    }


@responses.activate
def test_badges_follow_all_pages_to_the_end(client: NavigatrClient) -> None:
    responses.add_callback(responses.GET, f"{API}/badge/", badge_pages(230))

    badges = client.badges(7, status="", source="")

    assert [badge.id for badge in badges] == list(range(1, 231))
    assert client.calls == 3
    assert query().keys() == {"provider_id", "order_by", "page", "size"}


@responses.activate
@pytest.mark.parametrize("empty", [[], {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}])
def test_no_badges_is_no_error(client: NavigatrClient, empty: object) -> None:
    responses.get(f"{API}/badge/", json=empty)

    assert client.badges(7) == []
    assert client.calls == 1


@responses.activate
def test_bare_array_is_the_whole_list(client: NavigatrClient) -> None:
    responses.get(f"{API}/badge/", json=[reply("badge"), reply("badge")])

    assert [badge.id for badge in client.badges(7)] == [51]
    assert client.calls == 1


@responses.activate
def test_entry_that_moved_to_the_next_page_comes_once(client: NavigatrClient) -> None:
    for number, ids in ((1, [1, 2]), (2, [2, 3])):
        items = [{"id": n} for n in ids]
        responses.get(f"{API}/badge/", json={"items": items, "total": 4, "page": number, "size": 2, "pages": 2})

    assert [badge.id for badge in client.badges(7)] == [1, 2, 3]


@responses.activate
@pytest.mark.parametrize("pages", [2, 9])
def test_server_that_repeats_a_page_is_not_believed(client: NavigatrClient, pages: int) -> None:
    page = {"items": [{"id": 1}], "total": 2, "page": 1, "size": 1, "pages": pages}
    responses.get(f"{API}/badge/", json=page)

    with pytest.raises(NavigatrUnexpectedAnswer, match="page 2 has nothing new"):
        client.badges(7)
    assert client.calls == 2


@responses.activate
def test_last_page_that_was_emptied_meanwhile_ends_the_list(client: NavigatrClient) -> None:
    responses.get(f"{API}/badge/", json={"items": [{"id": 1}], "total": 2, "page": 1, "size": 1, "pages": 2})
    responses.get(f"{API}/badge/", json={"items": [], "total": 1, "page": 2, "size": 1, "pages": 1})

    assert [badge.id for badge in client.badges(7)] == [1]


@responses.activate
def test_server_that_makes_up_pages_is_stopped(client: NavigatrClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigatr_client.client, "MOST_PAGES", 4)
    responses.add_callback(responses.GET, f"{API}/badge/", badge_pages(900))

    with pytest.raises(NavigatrUnexpectedAnswer, match="more than 4 pages"):
        client.badges(7)
    assert client.calls == 4


@responses.activate
def test_assertions_come_page_by_page_only_when_asked_for(client: NavigatrClient) -> None:
    responses.add_callback(responses.GET, f"{API}/badge/51/assertions", badge_pages(150))

    pages = client.assertions(51, provider_id=7)
    assert client.calls == 0
    assert len(next(pages).items) == 100
    assert client.calls == 1
    assert [len(page.items) for page in pages] == [50]
    assert query() == {"provider_id": ["7"], "order_by": ["Time_Created_Desc"], "page": ["1"], "size": ["100"]}


@responses.activate
def test_a_page_after_the_first_is_asked_for_again_while_navigatr_is_unavailable(client: NavigatrClient) -> None:
    address, page = f"{API}/badge/51/assertions", badge_pages(150)
    responses.add_callback(responses.GET, address, page)
    responses.get(address, status=503)
    responses.get(address, status=500)
    responses.add_callback(responses.GET, address, page)

    assert [len(page.items) for page in client.assertions(51, provider_id=7, tries=3)] == [100, 50]
    assert client.calls == 4


@responses.activate
@pytest.mark.parametrize(("first", "calls"), [(503, 1), (200, 3)])
def test_a_navigatr_that_stays_unavailable_is_told(client: NavigatrClient, first: int, calls: int) -> None:
    address = f"{API}/badge/51/assertions"
    if first == 200:
        responses.add_callback(responses.GET, address, badge_pages(150))
    responses.get(address, status=503)

    with pytest.raises(NavigatrUnavailable):
        list(client.assertions(51, provider_id=7, tries=2))
    assert client.calls == calls


@responses.activate
@pytest.mark.parametrize("status", [200, 201])
def test_issue_sends_everything_and_returns_the_assertion(client: NavigatrClient, status: int) -> None:
    responses.put(f"{API}/badge/51/issue", json=reply("assertion"), status=status)

    assertion = client.issue(
        51,
        **LEARNER,
        score=0,
        min_score=50,
        issue_date=datetime(2026, 11, 20, 10, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))),
        end_date=datetime(2027, 11, 20, tzinfo=UTC),
        evidence_text="Recipient completed course Erste Hilfe – Grundkurs",
        evidence_url="https://moodle.example.org/course/view.php?id=4",
    )

    assert assertion.id == "90210"
    assert assertion.url == "https://navigatr.app/badge_assertion/90210/"
    assert sent().headers["Content-Type"] == "application/json"
    assert json.loads(sent().body or "") == {
        **LEARNER,
        "score": 0,
        "min_score": 50,
        "issue_date": "2026-11-20T08:00:00+00:00",
        "end_date": "2027-11-20T00:00:00+00:00",
        "evidence_text": "Recipient completed course Erste Hilfe – Grundkurs",
        "evidence_url": "https://moodle.example.org/course/view.php?id=4",
    }


@responses.activate
def test_issue_leaves_out_what_it_was_not_given(client: NavigatrClient) -> None:
    responses.put(f"{API}/badge/51/issue", json=reply("assertion"))

    client.issue(51, **LEARNER)

    assert json.loads(sent().body or "") == LEARNER


def test_issue_refuses_a_time_without_a_zone(client: NavigatrClient) -> None:
    with pytest.raises(ValueError, match="aware"):
        client.issue(51, **LEARNER, issue_date=datetime(2026, 11, 20))
    assert client.calls == 0


@responses.activate
def test_revoke_sends_its_reason_if_there_is_one(client: NavigatrClient) -> None:
    responses.put(f"{API}/badge_assertion/90210/revoke", json={**reply("assertion"), "status": "Revoked"})

    assert client.revoke("90210", "issued by mistake").status == "Revoked"
    client.revoke("90210")

    assert json.loads(sent(0).body or "") == {"revocation_reason": "issued by mistake"}
    assert json.loads(sent(1).body or "") == {}


# One row for each status of docs/navigatr-api.md, and the others that a proxy may make up: (status, a read, a change).
STATUSES = [
    (301, NavigatrUnavailable, NavigatrUnavailable),
    (302, NavigatrUnavailable, NavigatrUnavailable),
    (307, NavigatrUnavailable, NavigatrUnavailable),
    (400, NavigatrRejected, NavigatrRejected),
    (401, NavigatrTokenRefused, NavigatrTokenRefused),
    (403, NavigatrRejected, NavigatrRejected),
    (404, NavigatrRejected, NavigatrRejected),
    (405, NavigatrRejected, NavigatrRejected),
    (408, NavigatrUnavailable, NavigatrUnclear),
    (409, NavigatrRejected, NavigatrRejected),
    (413, NavigatrRejected, NavigatrRejected),
    (422, NavigatrRejected, NavigatrRejected),
    (425, NavigatrUnavailable, NavigatrUnavailable),
    (429, NavigatrUnavailable, NavigatrUnavailable),
    (500, NavigatrUnavailable, NavigatrUnclear),
    (502, NavigatrUnavailable, NavigatrUnclear),
    (503, NavigatrUnavailable, NavigatrUnclear),
    (504, NavigatrUnavailable, NavigatrUnclear),
    (520, NavigatrUnavailable, NavigatrUnclear),
    (600, NavigatrUnavailable, NavigatrUnclear),
]


@responses.activate
@pytest.mark.parametrize("body", ['{"detail": "ada@example.org is not welcome"}', "<html>ada@example.org</html>", ""])
@pytest.mark.parametrize(("status", "of_a_read", "of_a_change"), STATUSES)
def test_status_becomes_its_error(
    client: NavigatrClient,
    status: int,
    of_a_read: type[NavigatrError],
    of_a_change: type[NavigatrError],
    body: str,
) -> None:
    responses.get(f"{API}/badge/51", body=body, status=status)
    responses.put(f"{API}/badge/51/issue", body=body, status=status)

    with pytest.raises(NavigatrError) as read:
        client.badge(51)
    with pytest.raises(NavigatrError) as change:
        issue(client)

    assert type(read.value) is of_a_read
    assert type(change.value) is of_a_change
    assert change.value.status == status
    assert (change.value.method, change.value.path) == ("PUT", "/badge/51/issue")
    assert str(change.value).startswith(f"PUT /badge/51/issue: HTTP {status}")
    assert "ada" not in f"{change.value}{change.value!r}{read.value}{read.value!r}"
    if "detail" in body:
        assert change.value.detail == "ada@example.org is not welcome"
    else:
        assert change.value.detail == ""


@responses.activate
@pytest.mark.parametrize(
    ("status", "of_a_read", "of_a_change"),
    [(204, NavigatrUnexpectedAnswer, NavigatrUnclear), (304, NavigatrUnavailable, NavigatrUnavailable)],
)
def test_status_that_has_no_body_becomes_its_error(
    client: NavigatrClient, status: int, of_a_read: type[NavigatrError], of_a_change: type[NavigatrError]
) -> None:
    responses.get(f"{API}/badge/51", status=status)
    responses.put(f"{API}/badge/51/issue", status=status)

    with pytest.raises(NavigatrError) as read:
        client.badge(51)
    with pytest.raises(NavigatrError) as change:
        issue(client)

    assert type(read.value) is of_a_read
    assert type(change.value) is of_a_change


@responses.activate
def test_202_is_not_issued(client: NavigatrClient) -> None:
    responses.put(f"{API}/badge/51/issue", json={"detail": "min_score not met"}, status=202)

    with pytest.raises(NavigatrRequirementNotMet) as error:
        issue(client)
    assert str(error.value) == "PUT /badge/51/issue: HTTP 202"
    assert error.value.detail == "min_score not met"


@responses.activate
def test_validation_error_keeps_its_detail_as_one_line(client: NavigatrClient) -> None:
    responses.put(f"{API}/badge/51/issue", json=reply("validation_error"), status=422)

    with pytest.raises(NavigatrRejected) as error:
        issue(client)
    assert error.value.detail == ("body.recipient_email: value is not a valid email address; badge is unpublished")
    assert error.value.fields == ("recipient_email",)


@responses.activate
@pytest.mark.parametrize("status", [429, 503])
def test_wait_that_navigatr_asks_for_is_passed_on(client: NavigatrClient, status: int) -> None:
    responses.put(f"{API}/badge/51/issue", status=status, headers={"Retry-After": "90"})

    with pytest.raises(NavigatrError) as error:
        issue(client)
    assert error.value.retry_after == timedelta(seconds=90)


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        "<html>Maintenance</html>",
        "",
        "null",
        '"ok"',
        "[]",
        "{}",
        '{"id": null}',
        "[" * 100_000,
        '{"id": ' + "9" * 5000,
        "\xff",
    ],
)
def test_success_that_cannot_be_read_is_neither_success_nor_none_found(client: NavigatrClient, body: str) -> None:
    responses.get(f"{API}/badge/51", body=body.encode("latin-1"))
    responses.put(f"{API}/badge/51/issue", body=body.encode("latin-1"))
    responses.put(f"{API}/badge_assertion/9/revoke", body=body.encode("latin-1"))

    with pytest.raises(NavigatrUnexpectedAnswer, match="GET /badge/51: HTTP 200, "):
        client.badge(51)
    with pytest.raises(NavigatrUnclear, match="PUT /badge/51/issue: HTTP 200, "):
        issue(client)
    with pytest.raises(NavigatrUnclear, match="PUT /badge_assertion/9/revoke: HTTP 200, "):
        client.revoke("9")


@responses.activate
def test_redirect_is_not_followed(client: NavigatrClient) -> None:
    elsewhere = responses.get("https://elsewhere.test/badge/51", json=reply("badge"))
    responses.get(f"{API}/badge/51", status=302, headers={"Location": "https://elsewhere.test/badge/51"})

    with pytest.raises(NavigatrUnavailable, match="HTTP 302"):
        client.badge(51)
    assert elsewhere.call_count == 0


@pytest.mark.parametrize(
    "token", ["", " \n", "two words", "line\nbreak", "nul\0", "Schlüssel", "zero\u200bwidth", "\x7f"]
)
def test_what_cannot_be_a_token_is_refused_without_a_call(token: str) -> None:
    with pytest.raises(NavigatrTokenMalformed) as error:
        NavigatrClient(API, token)
    assert isinstance(error.value, NavigatrTokenRefused)
    assert isinstance(error.value, ValueError)
    assert str(error.value) == "GET /user_detail/0: not sent, this cannot be a token"


@pytest.mark.parametrize(
    "address",
    ["", "api.navigatr.app", "ftp://navigatr.test", "https://", "https://me:pw@api.test", f"{API}?a=1", f"{API}#x"],
)
def test_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="the address must"):
        NavigatrClient(address, TOKEN)


@pytest.mark.parametrize("timeout", [0, 0.5, -1, 301, float("nan"), float("inf")])
def test_timeout_outside_its_bounds_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match=re.escape("1 to 300 seconds")):
        NavigatrClient(API, TOKEN, timeout=timeout)


def test_repr_shows_the_address_and_never_the_token(client: NavigatrClient) -> None:
    assert repr(client) == f"<NavigatrClient {API}>"
