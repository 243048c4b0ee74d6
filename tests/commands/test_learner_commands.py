"""`learner_export` and `learner_erase`: everything held about a person, and then nothing that names them."""

import json
import stat
from pathlib import Path

import pytest

from badging.models import AuditEntry, Issuance, IssuanceAttempt
from moodle_sync.models import Learner

from .calling import manage, succeed
from .conftest import Connected

NOBODY = "CommandError: Nobody is known under this address.\n"


def learner_with_a_badge(connected: Connected) -> str:
    connected.map()
    (email,) = connected.complete(1, grade=80)
    succeed("poll")
    assert succeed("issue")["issued"] == 1
    return email


def test_export_is_a_private_file_with_all_that_is_held(connected: Connected, tmp_path: Path) -> None:
    email = learner_with_a_badge(connected)
    output = tmp_path / "a person.json"
    answer = succeed("learner_export", "--output", str(output), stdin=f" {email.upper()}\n")
    assert answer == {"learners": 1, "output": str(output)}
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    (person,) = json.loads(output.read_text(encoding="utf-8"))["learners"]
    assert (person["moodle_site"], person["email"], person["lastname"]) == ("Moodle", email, "Example")
    assert person["completions"][0]["course"] == "Café & Éthique"
    (issuance,) = person["issuances"]
    assert (issuance["state"], len(issuance["attempts"])) == ("issued", 1)
    assert AuditEntry.objects.filter(action=AuditEntry.Action.LEARNER_EXPORTED).count() == 1


def test_export_overwrites_nothing(connected: Connected, tmp_path: Path) -> None:
    email = learner_with_a_badge(connected)
    output = tmp_path / "taken.json"
    output.write_text("kept")
    done = manage("learner_export", "--output", str(output), stdin=email)
    assert done.code == 1
    assert "cannot be written: File exists" in done.err
    assert output.read_text() == "kept"
    assert manage("learner_export", "--output", str(tmp_path / "no" / "folder.json"), stdin=email).code == 1


def test_who_is_unknown_is_told_and_no_file_is_made(connected: Connected, tmp_path: Path) -> None:
    output = tmp_path / "nobody.json"
    for email in ("nobody@example.org", ""):
        assert manage("learner_export", "--output", str(output), stdin=email).err == NOBODY
        assert manage("learner_erase", stdin=email).err == NOBODY
    assert not output.exists()


def test_erasing_blanks_the_person_and_cancels_what_waits(connected: Connected) -> None:
    connected.map()
    emails = connected.complete(2)
    succeed("poll")
    assert succeed("learner_erase", stdin=emails[0]) == {"learners": 1, "cancelled": 1}
    erased = Learner.objects.get(erased_at__isnull=False)
    assert (erased.firstname, erased.lastname, erased.email) == ("", "", "")
    succeed("poll")
    assert succeed("issue")["issued"] == 1
    assert [connected.badges(email) for email in emails] == [0, 1]
    assert Issuance.objects.get(learner=erased).state == Issuance.State.CANCELLED
    assert manage("learner_erase", stdin=emails[0]).err == NOBODY


@pytest.mark.parametrize("command", [("learner_erase",), ("learner_export", "--output", "never.json")])
def test_an_address_as_an_argument_is_refused_and_not_repeated(connected: Connected, command: tuple[str, ...]) -> None:
    connected.map()
    (email,) = connected.complete(1)
    succeed("poll")
    done = manage(*command, email, stdin=email)
    assert (done.code, done.out) == (1, "")
    assert "reads it from standard input" in done.err
    assert email not in done.err
    assert not Learner.objects.exclude(erased_at=None).exists()
    assert not Path("never.json").exists()


def test_export_needs_a_file(connected: Connected) -> None:
    assert "--output" in manage("learner_export", stdin="ana@example.org").err


def test_erasing_keeps_the_audit_and_says_what_is_left_to_do(connected: Connected) -> None:
    email = learner_with_a_badge(connected)
    done = manage("learner_erase", stdin=email)
    assert (done.code, done.err) == (0, "")
    assert "1 account(s) erased, 0 waiting badge(s) cancelled" in done.out
    assert "ask there to erase them too" in done.out
    assert email not in done.out
    assert IssuanceAttempt.objects.count() == 1
    assert email not in json.dumps(list(AuditEntry.objects.values("subject", "details")))
