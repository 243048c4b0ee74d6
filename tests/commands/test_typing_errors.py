"""What a person mistypes at a shell: named, and never repeated where it may be a token."""

from datetime import timedelta

import pytest
from django.core.management import execute_from_command_line
from django.utils import timezone

from tests.builders import make_site

from .calling import manage

NAVIGATR = ["connect_navigatr", "--name", "College", "--environment"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*NAVIGATR, "staging", "--pat", "secret-token"], "--pat"),
        ([*NAVIGATR, "staging", "--pat=secret-token"], "--pat"),
        ([*NAVIGATR, "staging", "--pat-stdin=secret-token"], "--pat-stdin"),
        ([*NAVIGATR, "secret-token"], "choose from"),
        ([*NAVIGATR, "staging", "--timeout", "secret-token"], "--timeout"),
    ],
)
def test_a_token_typed_in_the_wrong_place_is_not_repeated(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", *arguments])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert named in said.err.splitlines()[-1]
    assert "secret-token" not in said.out + said.err


@pytest.mark.django_db
@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "soon"])
def test_issue_takes_a_number_of_seconds_above_0(limit: str) -> None:
    done = manage("issue", f"--timeout={limit}")
    assert (done.code, done.out) == (1, "")
    assert "a number above 0 is needed" in done.err


@pytest.mark.django_db
def test_poll_says_that_a_worker_is_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    make_site(polling_until=timezone.now() + timedelta(hours=1))
    monkeypatch.setattr("badging.management.base.LONGEST_WAIT", 0)
    done = manage("poll")
    assert done.code == 1
    assert done.err.count("A worker is polling this site right now") == 1
