"""The pretend Navigatr: what it checks, what it lists, what it remembers."""

import pytest

from sandbox import Sandbox
from sandbox.navigatr import Navigatr

from .conftest import Portal

LEE = {"recipient_firstname": "Ana", "recipient_lastname": "Lee"}


def badge_named(navigatr: Navigatr, start: str) -> int:
    """The id of the first badge whose name starts like this."""
    return next(badge.id for badge in navigatr.badges.values() if badge.name.startswith(start))


def test_a_wrong_or_missing_token_is_refused(portal: Portal) -> None:
    assert portal.navigatr("GET", "/user_detail/0", headers={"X-Access-Token": "wrong"}).status_code == 401
    assert portal.session.get(f"{portal.sandbox.navigatr_url}/user_detail/0", timeout=10).status_code == 401


def test_the_account_and_its_providers(portal: Portal) -> None:
    account = portal.navigatr("GET", "/user_detail/0").json()
    providers = portal.navigatr("GET", "/user_detail/0/providers").json()
    assert account.keys() >= {"id", "firstname", "lastname", "email", "providers"}
    assert [provider["name"] for provider in providers] == ["Northgate College", "Südstadt Academy"]
    assert portal.navigatr("GET", "/provider/11").json()["name"] == "Northgate College"
    assert portal.navigatr("GET", "/provider/999").status_code == 404


def test_the_badge_list_needs_a_provider(portal: Portal) -> None:
    answer = portal.navigatr("GET", "/badge/")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "provider_id"]


def test_the_badge_list_has_pages_filters_and_an_order(portal: Portal) -> None:
    def listed(query: str) -> dict[str, object]:
        answer = portal.navigatr("GET", f"/badge/?provider_id=11{query}")
        assert answer.status_code == 200
        return answer.json()

    usual = listed("&status=Published&source=Internal")
    assert (usual["total"], usual["page"], usual["size"], usual["pages"], len(usual["items"])) == (127, 1, 50, 3, 50)
    assert len(listed("&status=Published&source=Internal&page=3")["items"]) == 27
    assert listed("&page=9")["items"] == []
    assert [badge["status"] for badge in listed("&status=Draft")["items"]] == ["Draft"]
    assert [badge["source"] for badge in listed("&source=Credly")["items"]] == ["Credly"]
    assert listed("&keyword=ÉTHIQUE")["total"] == 5
    names = [badge["name"] for badge in listed("&order_by=Name_Desc&size=100")["items"]]
    assert names == sorted(names, key=str.casefold, reverse=True)
    assert isinstance(listed("&paginated=false"), list)


@pytest.mark.parametrize("query", ["&size=101", "&size=0", "&page=0", "&page=x", "&order_by=Best"])
def test_bad_list_parameters_are_refused_as_fastapi_does(portal: Portal, query: str) -> None:
    answer = portal.navigatr("GET", f"/badge/?provider_id=11{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "query"


def test_a_badge_with_its_picture_and_page(portal: Portal) -> None:
    badge = portal.navigatr("GET", "/badge/111").json()
    assert (badge["name"], badge["status"], badge["source"]) == ("Safeguarding Essentials", "Published", "Internal")
    assert badge["provider_ids"] == [11]
    picture = portal.session.get(badge["image_url"], timeout=10)
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert picture.text.startswith("<svg")
    assert "Safeguarding Essentials" in portal.session.get(badge["url"], timeout=10).text
    assert portal.navigatr("GET", "/badge/99999").status_code == 404


def test_an_issued_badge_is_an_assertion_with_what_was_sent(portal: Portal) -> None:
    answer = portal.issue(score=80, issue_date="2026-11-20T09:00:00+00:00", evidence_url="http://127.0.0.1/course")
    assertion = answer.json()
    assert answer.status_code == 201
    assert assertion["recipient_email"] == "ana@example.org"
    assert assertion["issue_date"] == "2026-11-20T09:00:00+00:00"
    assert (assertion["status"], assertion["badge_id"], assertion["provider_id"]) == ("Pending", 111, 11)
    assert portal.navigatr("GET", f"/badge_assertion/{assertion['id']}").json() == assertion
    assert portal.sandbox.navigatr.assertions_for("ANA@example.org", 111)[0].score == 80


def test_the_same_badge_twice_is_two_assertions(portal: Portal) -> None:
    first, second = portal.issue().json(), portal.issue().json()
    assert first["id"] != second["id"]
    assert first["recipient_id"] == second["recipient_id"]
    assert len(portal.sandbox.navigatr.assertions_for("ana@example.org")) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"provider_id": None}, "provider_id"),
        ({"recipient_firstname": None}, "recipient_firstname"),
        ({"recipient_lastname": ""}, "recipient_lastname"),
        ({"email": None}, "recipient_email"),
        ({"email": "nobody"}, "recipient_email"),
        ({"score": "80"}, "score"),
        ({"score": 101}, "score"),
        ({"score": True}, "score"),
        ({"issue_date": "yesterday"}, "issue_date"),
        ({"evidence_url": "course 7"}, "evidence_url"),
        ({"evidence_text": 7}, "evidence_text"),
    ],
)
def test_malformed_fields_are_refused_by_name(portal: Portal, changes: dict[str, object], field: str) -> None:
    answer = portal.issue(**changes)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [["body", field]]
    assert not portal.sandbox.navigatr.assertions


def test_a_body_that_is_no_json_is_refused(portal: Portal) -> None:
    for body in (b"", b"not json", b"[]"):
        assert portal.navigatr("PUT", "/badge/111/issue", data=body).status_code == 422


def test_issuing_is_refused_for_each_documented_reason(portal: Portal) -> None:
    navigatr = portal.sandbox.navigatr
    foreign = badge_named(navigatr, "Not Yours")
    assert portal.issue(badge_id=99999).status_code == 404
    assert portal.issue(provider_id=999).status_code == 404
    assert portal.issue(provider_id=12).status_code == 404
    assert portal.issue(badge_id=foreign, provider_id=13).status_code == 403
    assert portal.issue(badge_id=badge_named(navigatr, "Cloud Basics (Credly)")).status_code == 400
    assert portal.issue(badge_id=badge_named(navigatr, "Cloud Basics (Open")).status_code == 400
    assert portal.issue(badge_id=badge_named(navigatr, "Evacuation Marshal (draft)")).status_code == 422
    navigatr.set_provider(11, active=False)
    assert portal.issue().status_code == 422
    assert not navigatr.assertions
    assert [entry.status for entry in navigatr.puts] == [404, 404, 404, 403, 400, 400, 422, 422]


def test_requirements_that_are_not_met_answer_202_and_issue_nothing(portal: Portal) -> None:
    navigatr = portal.sandbox.navigatr
    distinction, reflective = badge_named(navigatr, "Distinction"), badge_named(navigatr, "Reflective")
    assert portal.issue(score=49, min_score=50).status_code == 202
    assert portal.issue(badge_id=distinction, score=79).status_code == 202
    assert portal.issue(badge_id=distinction).status_code == 202
    assert portal.issue(badge_id=reflective).status_code == 202
    assert not navigatr.assertions
    assert portal.issue(score=50, min_score=50).status_code == 201
    assert portal.issue(min_score=50).status_code == 201
    assert portal.issue(badge_id=distinction, score=80).status_code == 201
    assert portal.issue(badge_id=reflective, evidence_text="An essay").status_code == 201


def test_assertions_of_a_badge_newest_first_in_pages(portal: Portal) -> None:
    navigatr = portal.sandbox.navigatr
    for number in range(130):
        navigatr.issue(111, 11, recipient_email=f"l{number}@example.org", **LEE)
    page = portal.navigatr("GET", "/badge/111/assertions?provider_id=11&size=100").json()
    assert (page["total"], page["pages"]) == (130, 2)
    assert page["items"][0]["recipient_email"] == "l129@example.org"
    oldest = portal.navigatr("GET", "/badge/111/assertions?order_by=Time_Created_Asc").json()["items"][0]
    assert oldest["recipient_email"] == "l0@example.org"
    assert portal.navigatr("GET", "/badge/111/assertions?provider_id=12").json()["total"] == 0
    assert portal.navigatr("GET", "/badge/99999/assertions").status_code == 404


def test_assertions_are_found_by_keyword_status_and_address(portal: Portal) -> None:
    portal.sandbox.navigatr.issue(111, 11, recipient_email="ümit@example.org", **LEE)
    portal.issue()
    listed = "/badge/111/assertions?keyword="
    assert portal.navigatr("GET", f"{listed}ANA@").json()["total"] == 1
    assert portal.navigatr("GET", f"{listed}lee").json()["total"] == 2
    assert portal.navigatr("GET", "/badge/111/assertions?status=Revoked").json()["total"] == 0
    across = "/badge_assertion/?recipient_email=Ana@Example.org"
    assert portal.navigatr("GET", across).json()["total"] == 1
    assert portal.navigatr("GET", f"{across}&badge_id=112").json()["total"] == 0
    assert portal.navigatr("GET", "/badge_assertion/?badge_id=111").json()["total"] == 2
    assert portal.navigatr("GET", "/badge_assertion/").json()["total"] == 2


def test_an_assertion_is_revoked_once(portal: Portal) -> None:
    path = f"/badge_assertion/{portal.issue().json()['id']}"
    revoked = portal.navigatr("PUT", f"{path}/revoke", json={"revocation_reason": "By mistake"}).json()
    assert (revoked["status"], revoked["revocation_reason"]) == ("Revoked", "By mistake")
    assert portal.navigatr("PUT", f"{path}/revoke").status_code == 422
    assert portal.navigatr("PUT", "/badge_assertion/1/revoke").status_code == 404


def test_unknown_calls_are_404_and_wrong_methods_405(portal: Portal) -> None:
    assert portal.navigatr("GET", "/nothing").status_code == 404
    assert portal.navigatr("POST", "/badge/111/issue").status_code == 405


def test_the_ledger_tells_every_request_with_its_outcome(portal: Portal) -> None:
    made = portal.issue().json()
    portal.navigatr("GET", "/badge/111")
    put, get = portal.sandbox.navigatr.ledger
    assert (put.method, put.path, put.status, put.assertion_id) == ("PUT", "/badge/111/issue", 201, made["id"])
    assert put.body["recipient_email"] == "ana@example.org"
    assert (get.method, get.status, get.assertion_id) == ("GET", 200, None)


def test_staging_and_production_share_no_id_and_no_token(sandbox: Sandbox, portal: Portal) -> None:
    staging, production = sandbox.navigatr, sandbox.production
    assert not staging.badges.keys() & production.badges.keys()
    assert not staging.providers.keys() & production.providers.keys()
    address = f"{sandbox.production_url}/badge/7111"
    assert portal.session.get(address, headers={"X-Access-Token": sandbox.pat}, timeout=10).status_code == 401
    own = portal.session.get(address, headers={"X-Access-Token": sandbox.production_pat}, timeout=10).json()
    assert own["name"] == "Safeguarding Essentials"
    assert own["image_url"].startswith(sandbox.production_url.removesuffix("/v1"))
