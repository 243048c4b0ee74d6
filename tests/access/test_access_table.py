"""Who gets what at every address: the table in `table.txt`, compared with what the portal does.

The rows are made from the URL configuration and the admin's registry, so a new page, model or action without a row
fails, and the failure prints the line to add. The words of the table are told at its top.
"""

from itertools import product
from pathlib import Path

import pytest
from django.test import Client
from django.urls import resolve

from sandbox import Sandbox

from . import asking
from .addresses import Asked, every_address, every_row
from .people import ROLES
from .world import CannotAsk, World, make_world

TABLE = Path(__file__).with_name("table.txt")
# Methods besides GET and POST.
OTHER_METHODS = ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")

# Thousands of requests, about 15 seconds of processor time.
pytestmark = [pytest.mark.django_db, pytest.mark.slow]

Line = dict[str, str]


def read_table() -> dict[Asked, Line]:
    """The rows of the table: what each role gets."""
    rows: dict[Asked, Line] = {}
    for text in TABLE.read_text(encoding="utf-8").splitlines():
        if not text.strip() or text.startswith("#"):
            continue
        address, method, *words = ("" if part == "(root)" else part for part in text.split())
        asked = Asked(address, method)
        assert asked not in rows, f"two rows: {text}"
        rows[asked] = dict(zip(ROLES, words, strict=True))
    return rows


def line(asked: Asked, words: Line) -> str:
    """A row as it stands in the table."""
    cells = "".join(f" {words[role]:>9}" for role in ROLES)
    return f"{asked.address or '(root)':<66} {asked.method:<22}{cells}"


@pytest.fixture
def world(sandbox: Sandbox) -> World:
    return make_world(sandbox)


def differences(world: World, rows: list[Asked]) -> list[str]:
    """What is not as the table says, each with the line to paste."""
    table = read_table()
    found = []
    for asked in rows:
        try:
            words = asking.ask_all(world, asked)
        except CannotAsk as error:
            found.append(f"{asked.method} {asked.address} cannot be asked. {error}")
            continue
        if asked not in table:
            found.append(f"No row for this. If each role shall get this, add:\n{line(asked, words)}")
        elif words != table[asked]:
            found.append(f"The table says\n{line(asked, table[asked])}\nand the portal\n{line(asked, words)}")
    return found


def test_the_table_has_no_row_too_many() -> None:
    assert set(read_table()) - set(every_row()) == set()


@pytest.mark.parametrize("kind", ["GET", "POST", "action"])
def test_every_role_gets_what_the_table_says(world: World, kind: str) -> None:
    rows = [row for row in every_row() if row.kind == kind]
    assert rows
    found = differences(world, rows)
    assert not found, "\n\n".join(found)


def test_other_methods_give_nobody_more_than_get(world: World) -> None:
    table, found = read_table(), []
    # The other test tells of addresses without a row.
    addresses = [address for address in every_address() if Asked(address, "GET") in table]
    # Two roles of few rights are enough here. GET and POST are asked as all roles.
    for address, method in product(addresses, OTHER_METHODS):
        for role in ("anonymous", "other"):
            word = asking.ask(world, role, Asked(address, method))
            # OPTIONS tells which methods there are, and nothing else.
            if word not in (table[Asked(address, "GET")][role], "405") and (method, word) != ("OPTIONS", "200"):
                found.append(f"{method} {address} as {role}: {word}")
    assert not found, "\n".join(found)


def test_other_methods_change_nothing_even_for_a_superuser(world: World) -> None:
    """A class has a method for each; a function knows POST and what is no POST, so one question is enough there."""
    questions = [
        Asked(address, method)
        for address in every_address()
        for method in (("PUT", "PATCH", "DELETE") if is_class(world.path(address)) else ("PUT",))
    ]
    assert [row for row in questions if asking.CHANGED in asking.ask(world, "super", row)] == []


def is_class(path: str) -> bool:
    return hasattr(resolve(path).func, "view_class")


def test_a_post_without_a_token_is_refused_at_every_address(world: World) -> None:
    forger = Client(enforce_csrf_checks=True)
    forger.cookies = world.clients["super"].cookies
    statuses = {address: forger.post(world.path(address)).status_code for address in every_address()}
    assert {address: status for address, status in statuses.items() if status != 403} == {}
