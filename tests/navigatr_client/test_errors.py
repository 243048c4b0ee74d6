"""What an error says, and what it keeps to itself."""

import pytest

from navigatr_client import NavigatrError, NavigatrUnavailable
from navigatr_client.errors import detail_fields, detail_text


def test_message_is_method_path_status_and_failure() -> None:
    assert str(NavigatrError("PUT", "/badge/51/issue", status=503)) == "PUT /badge/51/issue: HTTP 503"
    assert str(NavigatrError("GET", "/badge/", failure="connection lost")) == "GET /badge/: connection lost"
    assert str(NavigatrError("GET", "/badge/", status=200, failure="odd")) == "GET /badge/: HTTP 200, odd"


def test_detail_is_kept_short_and_out_of_the_texts() -> None:
    error = NavigatrUnavailable("GET", "/badge/", status=503, detail="ada@example.org" * 100)

    assert len(error.detail) == 500
    assert "ada" not in str(error) + repr(error)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"detail": "Badge  is\nunpublished"}, "Badge is unpublished"),
        ({"detail": [{"loc": ["body", "score", 0], "msg": "too high", "type": "x"}]}, "body.score.0: too high"),
        ({"detail": [{"msg": "too high"}, "and late", 7, {"type": "x"}]}, "too high; and late"),
        ({"detail": {"msg": "paused"}}, "paused"),
        ({"detail": None}, ""),
        ({"message": "no"}, ""),
        (["detail"], ""),
        (None, ""),
        ({"detail": "x" * 900}, "x" * 500),
    ],
)
def test_detail_of_every_shape_becomes_one_line(answer: object, text: str) -> None:
    assert detail_text(answer) == text


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        ({"detail": [{"loc": ["body", "score"]}, {"loc": ["body", "recipient_email"]}]}, ("score", "recipient_email")),
        ({"detail": [{"loc": ["body", "score"], "msg": "a"}, {"loc": ["body", "score"], "msg": "b"}]}, ("score",)),
        ({"detail": [{"loc": ["body", "recipient", 0, "email"]}]}, ("recipient", "email")),
        ({"detail": [{"loc": ["body"]}, {"loc": ["recipient_email"]}]}, ("recipient_email",)),
        ({"detail": {"loc": ["query", "body"]}}, ("body",)),
        # What is no name may be what was sent.
        ({"detail": [{"loc": ["body", "ana@example.org", "Ana Lee", "x" * 61, "", None, {}, "é"]}]}, ()),
        ({"detail": [{"loc": "body"}, {"loc": None}, {"msg": "x"}, "score", 7]}, ()),
        ({"detail": "score"}, ()),
        ({"detail": [{"loc": [f"f{number}" for number in range(50)]}]}, tuple(f"f{number}" for number in range(20))),
        (["detail"], ()),
        (None, ()),
    ],
)
def test_the_names_of_malformed_fields_are_kept_and_nothing_else(answer: object, fields: tuple[str, ...]) -> None:
    assert detail_fields(answer) == fields
