"""Things that happen in the middle of our own code, at a function's name: what another worker does, a database away."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.db import connection as database


def just_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], object]) -> None:
    """Let something happen each time before `module.name` runs."""
    real = getattr(module, name)

    def after_something_else(*arguments: Any, **options: Any) -> Any:
        act()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, after_something_else)


def database_away_in(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, statement: int = 0, once: Callable[[], bool]
) -> list[str]:
    """Let one statement fail in the first run of `module.name` for which `once()` holds; returns what has failed."""
    real = getattr(module, name)
    failed: list[str] = []

    def on_a_bad_day(*arguments: Any, **options: Any) -> Any:
        if failed or not once():
            return real(*arguments, **options)
        left = statement

        def fail(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
            nonlocal left
            if not failed and left == 0:
                failed.append(sql)
                raise OperationalError
            left -= 1
            return execute(sql, *more)

        with database.execute_wrapper(fail):
            return real(*arguments, **options)

    monkeypatch.setattr(module, name, on_a_bad_day)
    return failed
