"""A real OpenID Connect provider on loopback, and a person who signs in there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from django.test import Client

CLIENT_SECRET = "the secret of the client"


@contextmanager
def provider() -> Iterator[str]:
    """The address of a running provider, which anybody may sign in to by name."""
    # Imported here: the provider brings a web framework of its own.
    from oidc_provider_mock import run_server_in_thread

    with run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def use(settings: Any, url: str, **more: Any) -> None:
    """Have the portal's settings name this provider, as OIDC_SERVER_URL would."""
    settings.OIDC_SERVER_URL = url
    settings.OIDC_NAME = "Northgate"
    app = {"provider_id": "oidc", "name": "Northgate", "client_id": "portal", "secret": CLIENT_SECRET}
    app |= {"settings": {"server_url": url}}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    for name, value in more.items():
        setattr(settings, name, value)


def add_person(url: str, subject: str, **claims: Any) -> None:
    """Somebody whom the provider knows."""
    requests.put(f"{url}/users/{subject}", json=claims, timeout=10).raise_for_status()


def sign_in(client: Client, url: str, subject: str, **more: str) -> Any:
    """Press the button, sign in at the provider as this person, and come back; returns the portal's answer."""
    away = client.post("/sign-in/with/oidc/", more)
    assert away["Location"].startswith(url), away["Location"]
    back = requests.post(away["Location"], data={"sub": subject}, allow_redirects=False, timeout=10)
    address = urlsplit(back.headers["Location"])
    return client.get(f"{address.path}?{address.query}")
