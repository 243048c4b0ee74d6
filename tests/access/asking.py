"""Asks an address as each role, and says what came of it in one word."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction
from django.shortcuts import resolve_url

from .addresses import Asked
from .people import ROLES
from .world import World

# Tables that every request may write to.
KEPT_FOR_REQUESTS = {"people_session", "portal_cache", "portal_navigatr_cache"}
WRITES = re.compile(r'\s*(INSERT|UPDATE|DELETE)\b(?:\s+(?:INTO|FROM|OR \w+))*\s+"?(\w+)"?', re.IGNORECASE)
SIGN_IN = "sign-in"
CHANGED = "*"


class Writes:
    """Notes the tables in which statements changed at least one row."""

    def __init__(self) -> None:
        self.tables: set[str] = set()

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        found = WRITES.match(sql)
        # An INSERT that returns its keys has counted no rows yet.
        if found and (found[1] == "INSERT" or context["cursor"].rowcount != 0):
            self.tables |= {found[2]} - KEPT_FOR_REQUESTS
        return result


def ask_all(world: World, asked: Asked) -> dict[str, str]:
    """What each role gets."""
    data = world.posted(asked) if asked.kind != "GET" else {}
    return {role: ask(world, role, asked, data) for role in ROLES}


def ask(world: World, role: str, asked: Asked, data: dict[str, Any] | None = None) -> str:
    """What the role gets: the status, or `sign-in` if it is sent there, with a star if rows were changed.

    Whatever was changed is undone, and the browser stays signed in.
    """
    client, writes = world.clients[role], Writes()
    method, path = asked.method.partition(":")[0], world.path(asked.address)
    with ExitStack() as stack:
        # A page that signs out would end this browser's session for the next question.
        stack.callback(setattr, client, "cookies", deepcopy(client.cookies))
        stack.enter_context(transaction.atomic())
        stack.enter_context(connection.execute_wrapper(writes))
        if method == "POST":
            response = client.post(path, data, query_params=world.query(asked.address))
        else:
            response = client.generic(method, path, query_params=world.query(asked.address))
        transaction.set_rollback(True)
    return _word(response) + (CHANGED if writes.tables else "")


def _word(response: Any) -> str:
    if response.status_code != 302:
        return str(response.status_code)
    path = urlsplit(response["Location"]).path
    signs_in = path in (resolve_url(settings.LOGIN_URL), "/admin/login/")
    return SIGN_IN if signs_in else "302"
