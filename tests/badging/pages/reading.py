"""What the tests of the pages share: the addresses of pages, and what is on a page."""

import re
from html import unescape
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

from badging.meanings import Outcome
from badging.models import (
    CourseBadgeMapping,
    Issuance,
    NavigatrConnection,
)
from moodle_sync.models import Course
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID
from tests.builders import (
    make_completion,
    make_issuance,
)

State = Issuance.State


def text(response: HttpResponse) -> str:
    """What a person reads on the page: no markup, single blanks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def links(response: HttpResponse, part: str = "") -> list[str]:
    """The addresses that the page links to and that hold a part."""
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', response.content.decode()) if part in link]


def choose_url(course: Course, via: NavigatrConnection, **more: Any) -> str:
    chosen = {"connection": via.pk, "provider": DEMO_PROVIDER_ID} | more
    return reverse("choose-badge", args=[course.pk], query=chosen)


def review_url(course: Course, via: NavigatrConnection, **more: Any) -> str:
    chosen = {"connection": via.pk, "provider": DEMO_PROVIDER_ID, "badge": DEMO_BADGE_ID} | more
    return reverse("review-badge", args=[course.pk], query=chosen)


def pages_of(course: Course, via: NavigatrConnection, issuance_pk: int = 1) -> list[str]:
    """Every address below a course."""
    return [
        reverse("course", args=[course.pk]),
        reverse("choose-provider", args=[course.pk]),
        choose_url(course, via),
        review_url(course, via),
        reverse("remove-badge", args=[course.pk]),
        reverse("issuance", args=[course.pk, issuance_pk]),
        reverse("send-again", args=[course.pk, issuance_pk]),
        reverse("course-news", args=[course.pk]),
    ]


def make_rows(mapping: CourseBadgeMapping, counts: dict[State, int]) -> None:
    """So many issuances of each state under the mapping."""
    for state, count in counts.items():
        for _number in range(count):
            fields: dict[str, Any] = {"assertion_id": "a1"} if state == State.ISSUED else {}
            if state == State.HELD:
                fields["reason"] = Outcome.CONNECTION_PAUSED
            make_issuance(mapping, make_completion(mapping.course), state=state, **fields)
