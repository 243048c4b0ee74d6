"""Pictures of badges: fetched once by the portal, checked, and served by itself."""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.core.signing import Signer
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from badging import pictures
from badging.pictures import Picture, picture_at, picture_path
from moodle_sync.models import Course
from sandbox import DEMO_BADGE_ID, Sandbox
from tests.builders import make_mapping
from tests.outbound_http.wire import Answer, drips, floods, replies, says_nothing, sends_and_hangs_up, wire

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
GOOD = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 20,
    "image/gif": b"GIF89a" + b"\0" * 20,
    "image/webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "image/svg+xml": b"<?xml version='1.0'?>\n<!-- made --><svg xmlns='http://www.w3.org/2000/svg'></svg>",
}
PLACEHOLDER = "no-picture.svg"


@pytest.fixture(autouse=True)
def _own_cache(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Pictures of this test only."""
    cache: Any = settings.CACHES["pictures"]
    settings.CACHES = {**settings.CACHES, "pictures": {**cache, "LOCATION": str(tmp_path / "pictures")}}
    yield
    caches["pictures"].clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short time-outs."""
    monkeypatch.setattr(pictures, "TIMEOUT", 0.3)
    monkeypatch.setattr(pictures, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(pictures, "LONGEST_WAIT", 0.1)


def picture(content: bytes, content_type: str, *, status: str = "200 OK") -> Answer:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
    return sends_and_hangs_up((head + "Location: /b.png\r\nConnection: close\r\n\r\n").encode() + content)


def is_placeholder(answer: HttpResponse) -> bool:
    return answer.status_code == 302 and PLACEHOLDER in answer["Location"] and "no-store" in answer["Cache-Control"]


def test_a_page_shows_a_badges_picture_through_the_portal(web: Client, course: Course, sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/navigatr/images/{DEMO_BADGE_ID}.svg"
    make_mapping(course, badge_image_url=url)
    page = web.get(reverse("course", args=[course.pk])).content.decode()
    assert f'src="{picture_path(url)}"' in page
    assert url not in page
    answer = web.get(picture_path(url))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    assert answer.content.startswith(b"<svg")
    assert answer["Cache-Control"] == "private, max-age=86400"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("content_type", GOOD)
def test_a_picture_is_fetched_once_and_kept_for_a_day(settings: Any, content_type: str) -> None:
    with wire(picture(GOOD[content_type], content_type)) as server:
        settings.NAVIGATR_URLS = {"staging": server.url}
        url = f"{server.url}/b?size=1"
        for _time in range(3):
            assert picture_at(url) == Picture(GOOD[content_type], content_type)
        (asked,) = server.requests
        assert asked.startswith(b"GET /v1/b?size=1 HTTP/1.1\r\n")
        assert b"Cookie" not in asked
        assert b"Token" not in asked
        with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
            assert picture_at(url) is not None
        assert len(server.requests) == 2


NO_PICTURES: dict[str, Answer] = {
    "a page": picture(b"<!DOCTYPE html><html><script>alert(1)</script></html>", "image/png"),
    "a page with its type": picture(b"<html></html>", "text/html"),
    "a picture named a page": picture(PNG, "text/html"),
    "a picture of another type": picture(PNG, "image/jpeg"),
    "svg with entities": picture(b'<!DOCTYPE svg [<!ENTITY a "b">]><svg></svg>', "image/svg+xml"),
    "html that holds svg": picture(b"<html><svg></svg></html>", "image/svg+xml"),
    "nothing": picture(b"", "image/png"),
    "not found": picture(PNG, "image/png", status="404 Not Found"),
    "a redirect": picture(PNG, "image/png", status="302 Found"),
    "too large": drips(f"HTTP/1.1 200 OK\r\nContent-Length: {pictures.LARGEST_PICTURE + 1}\r\n\r\n".encode()),
    "endless": floods(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG, b"\0"),
    "silence": says_nothing,
    "drips": drips(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n", b"\0"),
    "no HTTP": sends_and_hangs_up(b"SSH-2.0\r\n"),
}


@pytest.mark.parametrize("answer", NO_PICTURES.values(), ids=NO_PICTURES.keys())
def test_what_is_no_picture_is_the_placeholder_and_not_asked_for_again(
    answer: Answer, settings: Any, web: Client, quick: None
) -> None:
    with wire(answer) as server:
        settings.NAVIGATR_URLS = {"staging": server.url}
        for _time in range(2):
            assert is_placeholder(web.get(picture_path(f"{server.url}/b.png")))
        assert len(server.requests) == 1
        with time_machine.travel(timezone.now() + timedelta(minutes=6)):
            assert picture_at(f"{server.url}/b.png") is None
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{port}/b.png", "https://127.0.0.1:{port}/b.png", "https://[::ffff:127.0.0.1]:{port}/b.png",
     "https://localhost:{port}/b.png", "https://2130706433:{port}/b.png"],
)  # fmt: skip
def test_nothing_inside_is_fetched_at_others_word(url: str, settings: Any) -> None:
    connections: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        settings.NAVIGATR_URLS = {"staging": "https://stagapi.navigatr.app/v1"}
        assert picture_at(url.format(port=listener.getsockname()[1])) is None
        with pytest.raises(TimeoutError):
            connections.append(listener.accept())
    assert connections == []


def test_the_portal_fetches_only_what_its_own_pages_show(web: Client, sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/navigatr/images/{DEMO_BADGE_ID}.svg"
    genuine = picture_path(url)
    for signed in (genuine.replace("pictures/", "pictures/x"), Signer(salt="other").sign_object(url), "x", url):
        path = signed if signed.startswith("/") else f"/pictures/{signed}/"
        assert web.get(path).status_code == 404
    assert Client().get(genuine).status_code == 302
    assert "sign-in" in Client().get(genuine)["Location"]
    assert web.post(genuine).status_code == 405


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:image/png;base64,x", "", None, "//host/b.png"])
def test_what_is_no_web_address_is_shown_as_the_placeholder(url: str | None, web: Client, course: Course) -> None:
    assert picture_path(url or "") == ""
    make_mapping(course, badge_image_url=url or "")
    page = web.get(reverse("course", args=[course.pk])).content.decode()
    assert "placeholder" in page
    assert '<img class="picture' not in page


@pytest.mark.django_db(transaction=True)
def test_slow_pictures_keep_few_requests_waiting(settings: Any, quick: None) -> None:
    """Of many requests at once, four fetch, four wait a moment, and the others have their answer at once."""
    with wire(says_nothing) as server:
        settings.NAVIGATR_URLS = {"staging": server.url}
        found: list[Picture | None] = []
        threads = [
            threading.Thread(target=lambda n=n: found.append(picture_at(f"{server.url}/{n}.png"))) for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        assert found == [None] * 20
        assert len(server.requests) <= 8


def test_the_cache_keeps_a_limited_number_of_pictures(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache: Any = settings.CACHES["pictures"]
    settings.CACHES = {**settings.CACHES, "pictures": {**cache, "OPTIONS": {"MAX_ENTRIES": 5}}}
    with wire(replies(b"no picture")) as server:
        settings.NAVIGATR_URLS = {"staging": server.url}
        for number in range(12):
            assert picture_at(f"{server.url}/{number}.png") is None
    assert 1 <= len(list(Path(cache["LOCATION"]).iterdir())) <= 5
