"""What is JSON, and how much of it is read."""

import json
import tracemalloc
from typing import Any

import pytest

from outbound_http import AnswerTooLarge, NotJson, decode_json
from outbound_http.decoding import MOST_PARTS

MEGABYTE = 1024 * 1024
LARGEST = 20 * MEGABYTE


def filled(pattern: str, size: int = LARGEST) -> bytes:
    """A JSON array of as many of these values as fit."""
    return f"[{','.join([pattern] * (size // (len(pattern) + 1) - 1))}]".encode()


@pytest.mark.parametrize("value", [None, True, "text", 7, [], {"a": [1.5, {"b": "é ✓ 😀"}]}])
def test_json_is_decoded(value: Any) -> None:
    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8-sig")) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a": ',
        b'{"a": 1} and more',
        b'<br />\n<b>Notice</b>:  Undefined index in <b>/m/x.php</b> on line <b>3</b><br />\n{"a":1}',
        b'{"a": NaN}',
        b"[Infinity, -Infinity]",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b"\xff",
        '{"a": 1}'.encode("utf-16"),
        b"\x1f\x8b\x08\x00",
    ],
)
def test_what_is_not_json_is_refused_without_its_text(body: bytes) -> None:
    with pytest.raises(NotJson) as error:
        decode_json(body)
    # A cause would keep the text, which may be of 20 MB and hold anything.
    assert str(error.value) == "not JSON"
    assert error.value.__cause__ is error.value.__context__ is None


@pytest.mark.parametrize(
    "pattern",
    ["{}", "[]", "[0]", '{"":0}', '"a"', '""', "0", "[[[[]]]]", r'"\""', r'"\\"', '",,,,",{"":{"":{}}}'],
)
def test_json_that_would_take_all_memory_is_refused_before_it_is_parsed(pattern: str) -> None:
    refused_cheaply(filled(pattern))


def test_a_text_that_takes_four_bytes_for_each_character_is_refused() -> None:
    refused_cheaply(f'["😀{"x" * (LARGEST - 8)}"]'.encode())


def refused_cheaply(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(AnswerTooLarge):
            decode_json(body)
        assert tracemalloc.get_traced_memory()[1] < 110 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_the_most_parts_are_still_read_and_one_more_is_not() -> None:
    # Each 0 but the first has its comma, and the array counts as one.
    assert len(decode_json(f"[{','.join(['0'] * MOST_PARTS)}]".encode())) == MOST_PARTS
    with pytest.raises(AnswerTooLarge):
        decode_json(f"[{','.join(['0'] * (MOST_PARTS + 1))}]".encode())


@pytest.mark.slow
def test_memory_stays_within_bounds_with_the_costliest_json() -> None:
    objects = [{f"😀{number}": "😀"} for number in range(MOST_PARTS // 4)]
    texts = [json.dumps(objects, ensure_ascii=ascii_only).encode() for ascii_only in (True, False)]
    del objects
    for text in texts:
        tracemalloc.start()
        try:
            assert len(decode_json(text)) == MOST_PARTS // 4
            assert tracemalloc.get_traced_memory()[1] < 150 * MEGABYTE
        finally:
            tracemalloc.stop()


def test_a_large_page_of_a_moodle_report_is_read() -> None:
    rows = [{"columns": [f'cell {row}: "a, b", {{c}}' for _ in range(10)]} for row in range(10_000)]
    answer = {"details": {"id": 4}, "data": {"headers": ["a"] * 10, "rows": rows, "totalrowcount": 10_000}}
    assert decode_json(json.dumps(answer).encode()) == answer


@pytest.mark.slow
def test_five_thousand_moodle_courses_with_long_summaries_are_read() -> None:
    summary = '<p style="font-family: Arial, sans-serif; color: #333;">{Name}: [one], "two", 😀\\</p>\r\n' * 29
    fields = {f"field{number}": number for number in range(60)}
    course = {"summary": summary, "customfields": [{"name": "a", "value": [1, 2]}] * 5, **fields}
    body = json.dumps({"courses": [course] * 5_000, "warnings": []}).encode()
    assert 15 * MEGABYTE < len(body) < LARGEST
    tracemalloc.start()
    try:
        assert len(decode_json(body)["courses"]) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 150 * MEGABYTE
    finally:
        tracemalloc.stop()
