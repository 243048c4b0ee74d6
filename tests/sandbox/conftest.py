"""A running sandbox and small ways to speak to it."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox import Sandbox

NOW = 1_795_437_000.0  # Monday, 23 November 2026, 12:30 UTC


class Portal:
    """What a portal would do, in single calls."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False

    def moodle(self, function: str, **params: Any) -> Any:
        """Call a web-service function with already flattened parameters; returns the JSON."""
        return self.moodle_raw(function, moodlewsrestformat="json", **params).json()

    def moodle_raw(self, function: str, **params: Any) -> requests.Response:
        """The same, returning the whole answer."""
        form = {"wstoken": self.sandbox.moodle_token, "wsfunction": function} | params
        address = f"{self.sandbox.moodle_url}/webservice/rest/server.php"
        return self.session.post(address, data=form, timeout=10)

    def navigatr(self, method: str, path: str, *, timeout: float = 10, **more: Any) -> requests.Response:
        """Call Navigatr's staging API."""
        headers = {"X-Access-Token": self.sandbox.pat} | more.pop("headers", {})
        address = f"{self.sandbox.navigatr_url}{path}"
        return self.session.request(method, address, headers=headers, timeout=timeout, allow_redirects=False, **more)

    def issue(self, email: str = "ana@example.org", badge_id: int = 111, **changes: Any) -> requests.Response:
        """Issue a badge; a field set to None is left out."""
        timeout = changes.pop("timeout", 10)
        body = {
            "provider_id": 11,
            "recipient_email": email,
            "recipient_firstname": "Ana",
            "recipient_lastname": "Lee",
        } | changes
        sent = {name: value for name, value in body.items() if value is not None}
        return self.navigatr("PUT", f"/badge/{badge_id}/issue", json=sent, timeout=timeout)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An empty Moodle and both Navigatr environments, of its own: at a time that stands still, its Date header too."""
    with Sandbox(clock=lambda: NOW) as running:
        yield running


@pytest.fixture
def portal(sandbox: Sandbox) -> Iterator[Portal]:
    """Something that speaks to the sandbox."""
    speaker = Portal(sandbox)
    yield speaker
    speaker.session.close()
