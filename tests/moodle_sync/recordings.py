"""Answers recorded from a real Moodle, and a way to give them to a client."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import requests
import responses

FOLDER = Path(__file__).parent.parent / "replies" / "moodle"
SITE = "http://moodle.example"
SERVER = f"{SITE}/webservice/rest/server.php"
TOKEN = "f00dfeed-secret-token"


def recording(name: str) -> dict[str, Any]:
    """One recording, parsed anew so that a test may change it, without the notes on what was left out of it."""
    found: dict[str, Any] = _without_notes(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
    return found


def _without_notes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_notes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_notes(item) for item in value if not (isinstance(item, dict) and "_trimmed" in item)]
    return value


def answer_with(moodle: responses.RequestsMock, name: str) -> None:
    """Let the next call be answered as recorded."""
    found = recording(name)
    response = found["response"]
    is_json = found["content_type"] == "application/json"
    moodle.post(
        SERVER,
        body=json.dumps(response) if is_json else response,
        status=found["http_status"],
        content_type=found["content_type"],
    )


def answer_json(moodle: responses.RequestsMock, answer: Any, **more: Any) -> None:
    """Let the next call be answered with this JSON."""
    moodle.post(SERVER, json=answer, **more)


def answer_by(moodle: responses.RequestsMock, function: Callable[[dict[str, str]], Any]) -> None:
    """Let every call be answered with what `function` returns, as JSON, for the fields of the form."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps(function(form(request)))

    moodle.add_callback(responses.POST, SERVER, callback=answer, content_type="application/json")


def form(request: requests.PreparedRequest) -> dict[str, str]:
    """The fields that were sent; fails if one was sent twice."""
    body = request.body or ""
    pairs = parse_qsl(body if isinstance(body, str) else body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def sent(moodle: responses.RequestsMock) -> list[dict[str, str]]:
    """The forms of all calls so far, without what is in every call."""
    always = {"wstoken", "moodlewsrestformat", "moodlewssettingraw", "moodlewssettinglang", "moodlewssettingtimezone"}
    return [{name: value for name, value in form(call.request).items() if name not in always} for call in moodle.calls]
