"""The log formatter. It leaves out the messages of exceptions, because they may hold personal data.

PostgreSQL quotes rows in its errors ("Key (email)=(…) already exists"), and Python quotes text that it cannot parse.
The type of an exception and its traceback hold no personal data.
"""

import copy
import logging
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from django.db import Error as DatabaseError

# As Python's traceback module joins chained exceptions.
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


class LineFormatter(logging.Formatter):
    """Formats a record as one line, followed by the traceback of its exception without messages."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a copy of the record, so that other handlers get it unchanged."""
        record = copy.copy(record)
        # Another formatter may have stored its own traceback here.
        record.exc_text = None
        if record.name == "django.request" and getattr(record, "status_code", 500) < 500:
            # Somebody was refused or asked for what is not there: no fault to be looked for.
            record.exc_info = None
        has_traceback = bool(record.exc_info)
        record.msg = _without_message(record.msg, has_traceback)
        if isinstance(record.args, Mapping):
            # Under the key "exc" Celery gives the exception's message as text.
            arguments = {key: _without_message(value, has_traceback) for key, value in record.args.items()}
            if has_traceback and "exc" in arguments:
                arguments["exc"] = _exception_type(record)
            record.args = arguments
        elif record.args:
            record.args = tuple(_without_message(value, has_traceback) for value in record.args)
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback of the exception and of its causes, each ending with the type only."""
        _type, error, trace = ei
        return "".join(_traceback(error, trace, set())).rstrip("\n") if error is not None else ""


def _without_message(value: Any, has_traceback: bool) -> Any:
    """The type's name for an exception whose message may hold personal data, else the value unchanged."""
    if isinstance(value, DatabaseError) or (has_traceback and isinstance(value, BaseException)):
        return _name(value)
    return value


def _exception_type(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return _name(error) if error is not None else "-"


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _traceback(error: BaseException, trace: TracebackType | None, seen: set[int]) -> Iterator[str]:
    """The lines of the traceback as Python writes them, the first exception first."""
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _traceback(earlier, earlier.__traceback__, seen)
        yield CAUSED if error.__cause__ else DURING
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(trace)
    yield f"{_name(error)}\n"
