"""How a log line reads, and what it never holds: the words of an exception, in which a learner's data may stand.

PostgreSQL quotes whole rows in its errors (“Key (email)=(…) already exists”), Python the text that it cannot read. The
type of an exception and the lines of code that it came through say where to look, and hold nobody's data.
"""

import copy
import logging
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from django.db import Error as DatabaseError

CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


class LineFormatter(logging.Formatter):
    """One line for a record; for one with an exception its traceback too, with types and code but without words."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line. The record itself stays as it is, for whoever else reads it."""
        record = copy.copy(record)
        # Another handler may have kept its own text of the exception here.
        record.exc_text = None
        told = bool(record.exc_info)
        record.msg = _unworded(record.msg, told)
        if isinstance(record.args, Mapping):
            # Celery names the exception by its words under this key, in the record that has its traceback.
            record.args = {
                key: _type_in(record) if told and key == "exc" else _unworded(value, told)
                for key, value in record.args.items()
            }
        elif record.args:
            record.args = tuple(_unworded(value, told) for value in record.args)
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback of the exception and of those that led to it, each ending in its type alone."""
        _type, error, trace = ei
        return "".join(_told(error, trace, set())).rstrip("\n") if error is not None else ""


def _unworded(value: Any, with_traceback: bool) -> Any:
    """An exception's type in its place where its words may hold data; anything else as it is."""
    if isinstance(value, DatabaseError) or (with_traceback and isinstance(value, BaseException)):
        return _name(value)
    return value


def _type_in(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return _name(error) if error is not None else "-"


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _told(error: BaseException, trace: TracebackType | None, seen: set[int]) -> Iterator[str]:
    """The lines of a traceback as Python writes them, the oldest exception first."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, before.__traceback__, seen)
        yield CAUSED if error.__cause__ else DURING
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(trace)
    yield f"{_name(error)}\n"
