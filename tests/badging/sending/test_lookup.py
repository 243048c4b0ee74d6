"""The look-up before anything is sent again: what counts as found, and how far it reads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from badging.meanings import Outcome
from badging.sending.lookup import Question, look_up
from navigatr_client import NavigatrClient
from sandbox import NAVIGATR, Navigatr, Sandbox
from tests.builders import BADGE, PROVIDER, digest_of

WHEN = datetime.now(UTC)


@pytest.fixture
def navigatr(sandbox: Sandbox) -> Any:
    """The staging environment with a clock that a test can set."""
    service, usual = sandbox.navigatr, sandbox.navigatr.clock
    yield service
    service.clock = usual


def ask(service: Navigatr, *emails: str, since: datetime = WHEN) -> dict[int, Any]:
    questions = [Question(number, digest_of(email), since) for number, email in enumerate(emails)]
    with NavigatrClient(service.url, service.pat) as client:
        return look_up(client, badge_id=BADGE, provider_id=PROVIDER, questions=questions)


def issue(service: Navigatr, email: str, at: datetime = WHEN, provider: int = PROVIDER) -> int:
    service.clock = at.timestamp
    return service.issue(BADGE, provider, recipient_email=email).id


def pages_read(service: Navigatr) -> int:
    return sum(entry.path.endswith("/assertions") for entry in service.ledger)


def test_an_address_is_compared_without_case(navigatr: Navigatr) -> None:
    number = issue(navigatr, "Ana@Example.org")
    found = ask(navigatr, "ana@example.ORG")[0]
    assert (found.outcome, found.assertion.id) == (Outcome.FOUND, str(number))
    assert found.looked_up == f"assertions of badge {BADGE}: found {number} on page 1"


def test_an_address_is_found_however_navigatr_keeps_it(navigatr: Navigatr) -> None:
    kept = ["ana@xn--bcher-kva.example", "BO@BÜCHER.example", "jose\u0301@example.org"]
    numbers = [issue(navigatr, email) for email in kept]
    found = ask(navigatr, "Ana@bücher.example", "bo@xn--bcher-kva.example", "josé@example.org")
    assert [found[number].assertion.id for number in range(3)] == list(map(str, numbers))


def test_nothing_issued_is_not_there(navigatr: Navigatr) -> None:
    found = ask(navigatr, "ana@example.org")[0]
    assert (found.outcome, found.assertion) == (Outcome.NOT_THERE, None)
    assert found.looked_up == f"assertions of badge {BADGE}, newest first: 0 found, pages read: 1"


@pytest.mark.parametrize("status", ["Pending", "Claimed", "Failed", "Complained", "Expired"])
def test_every_status_but_revoked_counts_as_issued(navigatr: Navigatr, status: str) -> None:
    navigatr.set_assertion_status(issue(navigatr, "ana@example.org"), status)
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.FOUND


def test_what_was_issued_before_the_first_attempt_was_not_issued_by_it(navigatr: Navigatr) -> None:
    issue(navigatr, "ana@example.org", WHEN - timedelta(hours=1))
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.NOT_THERE


def test_clocks_may_differ_a_little(navigatr: Navigatr) -> None:
    issue(navigatr, "ana@example.org", WHEN - timedelta(minutes=9))
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.FOUND


def test_what_another_provider_issued_does_not_count(navigatr: Navigatr) -> None:
    issue(navigatr, "ana@example.org", provider=PROVIDER + 1)
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.NOT_THERE


def test_pages_are_read_until_older_than_the_first_attempt(navigatr: Navigatr) -> None:
    for number in range(250):
        issue(navigatr, f"old{number}@example.org", WHEN - timedelta(days=1, seconds=-number))
    for number in range(120):
        issue(navigatr, f"new{number}@example.org", WHEN + timedelta(seconds=number))
    found = ask(navigatr, "new0@example.org", "nobody@example.org")
    assert [found[0].outcome, found[1].outcome] == [Outcome.FOUND, Outcome.NOT_THERE]
    # 120 new ones stand on two pages; the second one also shows that the rest is too old.
    assert pages_read(navigatr) == 2


def test_reading_ends_when_everybody_is_found(navigatr: Navigatr) -> None:
    for number in range(250):
        issue(navigatr, f"new{number}@example.org", WHEN + timedelta(seconds=number))
    assert ask(navigatr, "new249@example.org")[0].outcome == Outcome.FOUND
    assert pages_read(navigatr) == 1


@pytest.mark.parametrize("spread", [1, 0])
def test_a_server_that_ignores_the_order_is_read_to_the_end(
    navigatr: Navigatr, monkeypatch: pytest.MonkeyPatch, spread: int
) -> None:
    """Oldest first; with a spread of nothing the old ones were all made in the same second."""
    monkeypatch.setattr("sandbox.navigatr._order", lambda *_: "Time_Created_Asc")
    for number in range(150):
        issue(navigatr, f"old{number}@example.org", WHEN - timedelta(days=1) + timedelta(seconds=number * spread))
    issue(navigatr, "ana@example.org", WHEN)
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.FOUND


def test_hidden_recipients_are_no_answer(sandbox: Sandbox, navigatr: Navigatr) -> None:
    issue(navigatr, "ana@example.org")
    sandbox.faults.on("no_recipients")
    found = ask(navigatr, "ana@example.org")[0]
    assert (found.outcome, found.error) == (Outcome.LOOKUP_REFUSED, None)


def test_an_empty_address_is_a_hidden_one(navigatr: Navigatr) -> None:
    issue(navigatr, "")
    assert ask(navigatr, "ana@example.org")[0].outcome == Outcome.LOOKUP_REFUSED


@pytest.mark.parametrize("kind", ["lookup_403", "404"])
def test_a_refusal_is_told_apart_from_none(sandbox: Sandbox, navigatr: Navigatr, kind: str) -> None:
    sandbox.faults.on(kind, side=NAVIGATR, call="lookup")
    found = ask(navigatr, "ana@example.org")[0]
    assert found.outcome == Outcome.LOOKUP_REFUSED
    assert found.error.status in (403, 404)


@pytest.mark.parametrize("kind", ["503", "down", "401", "429", "html_before"])
def test_a_failure_is_told_apart_from_none(sandbox: Sandbox, navigatr: Navigatr, kind: str) -> None:
    sandbox.faults.on(kind, call="lookup")
    found = ask(navigatr, "ana@example.org")[0]
    assert (found.outcome, found.assertion) == (Outcome.LOOKUP_FAILED, None)
    assert found.error is not None


def test_what_was_found_before_a_later_page_failed_stays_found(
    sandbox: Sandbox, navigatr: Navigatr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        issue(navigatr, f"new{number}@example.org", WHEN + timedelta(seconds=number))
    with NavigatrClient(navigatr.url, navigatr.pat) as client:
        reading = client.assertions

        def fails_on_page_two(*args: Any, **fields: Any) -> Any:
            pages = reading(*args, **fields)
            yield next(pages)
            sandbox.faults.on("503", call="lookup")
            yield next(pages)

        monkeypatch.setattr(client, "assertions", fails_on_page_two)
        found = look_up(
            client,
            badge_id=BADGE,
            provider_id=PROVIDER,
            questions=[
                Question(1, digest_of("new149@example.org"), WHEN),
                Question(2, digest_of("new0@example.org"), WHEN),
            ],
        )
    assert [found[1].outcome, found[2].outcome] == [Outcome.FOUND, Outcome.LOOKUP_FAILED]
