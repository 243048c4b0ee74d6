"""Faults that can be switched on: which calls they affect, how often, and for which recipients."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

NAVIGATR = "navigatr"
NAVIGATR_PRODUCTION = "navigatr-production"
MOODLE = "moodle"
SIDES = (NAVIGATR, NAVIGATR_PRODUCTION, MOODLE)
# Defaults: the delay of slow replies and time-outs, and the pause between two bytes of a dripping one.
SECONDS = 5.0
DRIP_SECONDS = 1.0

# The faults of each service, with a text for the page. "after" means that the badge is issued although the reply does
# not say so.
NAVIGATR_KINDS: dict[str, str] = {
    "down": "Down: the connection is closed without an answer, nothing happens",
    "refuse": "Refused: the connection is reset at once, nothing happens",
    "slow": "Slow: the answer comes some seconds late",
    "401": "401: token refused",
    "429": "429: too many requests",
    "500_before": "500 before the badge is issued",
    "500_after": "500 after the badge is issued",
    "502": "502: HTML from a proxy",
    "503": "503: HTML from a proxy",
    "drop_before": "Answer dropped, badge not issued",
    "drop_after": "Answer dropped, badge issued",
    "timeout": "No answer for some seconds, then dropped; badge not issued",
    "timeout_after": "No answer for some seconds, then dropped; badge issued",
    "html_before": "200 with HTML, badge not issued",
    "html_after": "200 with HTML, badge issued",
    "202": "202: not issued, requirement not met",
    "400": "400: badge cannot be issued through the API",
    "403": "403: account may not issue this badge",
    "404": "404: badge not found",
    "422": "422: badge is unpublished",
    "422_recipient": "422: the recipient's address is malformed",
    "422_quotes": "422: the answer quotes the recipient in many spellings",
    "lookup_403": "Looking up assertions is refused (403)",
    "no_recipients": "Assertions come without their recipients",
}
# Faults that change the content of Moodle's answers.
MOODLE_CONTENT_KINDS: dict[str, str] = {
    "missing_function": "A function is missing from the service",
    "no_emails": "Missing capability: no e-mail addresses",
    "few_users": "Missing capability: only teachers are listed",
    "participants_refused": "Missing capability: participants are refused",
    "course_refused": "Missing capability: courses are not accessible",
    "report_refused": "Report not shared with the account",
    "reports_off": "Custom reports switched off",
    "report_changed": "The report's columns were changed",
    "grades_refused": "Missing capability moodle/grade:viewall: grades are refused",
    "gradereport_refused": "Missing capability gradereport/user:view: the grade report is refused",
    "no_viewhidden": "Missing capability moodle/grade:viewhidden: hidden totals are left out, totals over it empty",
    "no_viewfullnames": "Missing capability moodle/site:viewfullnames: no first and last names",
    "no_hidden_courses": "Missing capability moodle/course:viewhiddencourses: hidden courses are missing",
    "reportbuilder_refused": "Missing capability moodle/reportbuilder:view: all report functions are refused",
    "no_accessallgroups": "Missing capability moodle/site:accessallgroups: courses with separate groups show nobody",
    "separate_groups": "Separate groups in every course, and the account is in none: they show nobody",
    "completion_off": "Completion tracking switched off",
    "usernotfullysetup": "A required profile field of the account is empty: courses and reports are refused",
    "short_pages": "Short pages: half of the requested rows, although more follow",
    "odd_startdate": "Odd row: the first course's start date is in milliseconds",
    "odd_null": "Odd row: the first row has null in place of a name",
    "odd_id": "Odd row: the first row's id is beyond 2^63",
}
MOODLE_KINDS: dict[str, str] = {
    "down": "Down: the connection is closed without an answer",
    "refuse": "Refused: the connection is reset at once",
    "slow": "Slow: the answer comes some seconds late",
    "500": "500: HTML from the web server",
    "maintenance": "Maintenance mode, switched on in the browser",
    "maintenance_cli": "Maintenance mode, switched on by command line (503, HTML)",
    "token_expired": "Token expired: refused once, then unknown",
    "ws_disabled": "Web services switched off (403, empty)",
    "dbconnectionfailed": "Moodle's database is down: every call says so (200, JSON)",
    "drip_headers": "Drip: the answer's headers come byte by byte, some seconds apart",
    "drip_body": "Drip: the answer's body comes byte by byte, some seconds apart",
    "flood": "Flood: 20 MB of empty records in place of the answer",
    "junk_before": "Junk: PHP prints a notice before the JSON",
    "cut": "Cut: the JSON ends in the middle, the answer is otherwise whole",
    "cut_off": "Cut off: the connection is closed in the middle of the answer",
    **MOODLE_CONTENT_KINDS,
}
KINDS: dict[str, dict[str, str]] = {
    NAVIGATR: NAVIGATR_KINDS,
    NAVIGATR_PRODUCTION: NAVIGATR_KINDS,
    MOODLE: MOODLE_KINDS,
}
# The calls of Navigatr that a fault can be limited to.
NAVIGATR_CALLS = ("issue", "all", "lookup", "badges", "badge", "provider", "account", "revoke")
# Faults that change the content of a reply. The services ask for them with `meets` and `is_on`; `draw` ignores them.
CONTENT_KINDS = frozenset({"lookup_403", "no_recipients", *MOODLE_CONTENT_KINDS})
# Those of them that can be limited to one function.
LIMITABLE_KINDS = frozenset({"missing_function", "short_pages", "odd_startdate", "odd_null", "odd_id"})


@dataclass(slots=True)
class Fault:
    """A fault that is on. `left` is the number of requests it will still affect, None for no limit."""

    id: int
    side: str
    kind: str
    call: str
    probability: float = 1.0
    left: int | None = None
    seconds: float = SECONDS
    retry_after: int | None = None
    hits: int = 0


@dataclass(frozen=True, slots=True)
class Draw:
    """What happens to one request: a delay in seconds, and at most one fault."""

    delay: float = 0.0
    fault: Fault | None = None


NOTHING = Draw()


class Faults:
    """The faults of all services. Safe to use from several threads. `seed` makes the probabilities repeatable."""

    def __init__(self, seed: int = 1) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults: list[Fault] = []
        self._plans: dict[str, list[Fault]] = {}
        self._next_id = 1

    def on(
        self,
        kind: str,
        *,
        side: str = NAVIGATR,
        call: str = "",
        probability: float = 1.0,
        count: int | None = None,
        seconds: float | None = None,
        retry_after: int | None = None,
    ) -> Fault:
        """Switch a fault on and return it. Raises ValueError for an unknown side or kind, or a number out of range.

        - `call`: one of NAVIGATR_CALLS ("issue" by default), or a function of Moodle (all by default).
        - `count`: affect only this number of requests.
        - `seconds`: the delay of slow replies and time-outs, or the pause between two bytes of a dripping reply.
        - `retry_after`: the header of a reply with an error status.
        """
        with self._lock:
            fault = self._make(
                kind,
                side=side,
                call=call,
                probability=probability,
                count=count,
                seconds=seconds,
                retry_after=retry_after,
            )
            self._faults.append(fault)
            return fault

    def plan(
        self,
        recipients: str | Iterable[str],
        kind: str,
        *,
        times: int = 1,
        seconds: float | None = None,
        retry_after: int | None = None,
        side: str = NAVIGATR,
    ) -> None:
        """Let this fault affect the next `times` issue calls for each of these e-mail addresses.

        Several plans for one address take effect one after the other. Raises ValueError for an unknown kind and for
        CONTENT_KINDS.
        """
        if kind in CONTENT_KINDS:
            raise ValueError(f"{kind} cannot be planned for one recipient")
        with self._lock:
            for recipient in [recipients] if isinstance(recipients, str) else recipients:
                fault = self._make(kind, side=side, call="issue", count=times, seconds=seconds, retry_after=retry_after)
                self._plans.setdefault(f"{side} {recipient.casefold()}", []).append(fault)

    def off(self, fault_id: int) -> None:
        """Switch a fault off. Unknown ids are ignored, because the fault may have ended."""
        with self._lock:
            self._faults = [fault for fault in self._faults if fault.id != fault_id]

    def clear(self) -> None:
        """Switch everything off, also plans."""
        with self._lock:
            self._faults = []
            self._plans = {}

    def listing(self) -> list[dict[str, Any]]:
        """The faults that are on as dictionaries, oldest first."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    @property
    def planned(self) -> bool:
        """Whether there are plans. Without plans, `draw` needs no recipient."""
        return bool(self._plans)

    def draw(self, side: str, call: str, recipient: str = "") -> Draw:
        """Decide what happens to a request and count it. A plan for the recipient comes first."""
        if not self._faults and not self._plans:
            return NOTHING
        with self._lock:
            delay = 0.0
            fault = self._planned(side, recipient) if recipient and call == "issue" else None
            if fault is not None and fault.kind == "slow":
                delay, fault = fault.seconds, None
            for other in list(self._faults):
                if fault is not None:
                    break
                if other.kind in CONTENT_KINDS or other.side != side or other.call not in ("all", call):
                    continue
                if not self._applies(other):
                    continue
                if other.kind == "slow":
                    delay += other.seconds
                else:
                    fault = other
            return Draw(delay, fault)

    def meets(self, side: str, kind: str, call: str = "all") -> bool:
        """Whether a fault of CONTENT_KINDS affects this call; counts the call."""
        if not self._faults:
            return False
        with self._lock:
            return any(
                fault.side == side and fault.kind == kind and fault.call in ("all", call) and self._applies(fault)
                for fault in list(self._faults)
            )

    def is_on(self, side: str, kind: str, call: str = "all") -> bool:
        """Whether a fault of CONTENT_KINDS is on, without counting."""
        return any(
            fault.side == side and fault.kind == kind and fault.call in ("all", call) for fault in list(self._faults)
        )

    def _make(
        self,
        kind: str,
        *,
        side: str,
        call: str,
        count: int | None,
        seconds: float | None,
        retry_after: int | None,
        probability: float = 1.0,
    ) -> Fault:
        if side not in KINDS:
            raise ValueError(f"side must be one of {', '.join(SIDES)}")
        if kind not in KINDS[side]:
            raise ValueError(f"kind must be one of {', '.join(KINDS[side])}")
        if not 0 <= probability <= 1:
            raise ValueError("probability must be from 0 to 1")
        if count is not None and count < 1:
            raise ValueError("count must be 1 or more")
        if seconds is None:
            seconds = DRIP_SECONDS if kind.startswith("drip_") else SECONDS
        if seconds < 0:
            raise ValueError("seconds must not be negative")
        if kind == "missing_function":
            # Not all functions: by default the report feed's.
            call = call if call not in ("", "all") else "core_reportbuilder_retrieve_report"
        elif kind in CONTENT_KINDS and kind not in LIMITABLE_KINDS:
            # The service knows which calls these affect.
            call = "all"
        default_call = "all" if side == MOODLE else "issue"
        fault = Fault(self._next_id, side, kind, call or default_call, probability, count, seconds, retry_after)
        self._next_id += 1
        return fault

    def _applies(self, fault: Fault) -> bool:
        """Decide by the fault's probability and count; switch the fault off after its last request."""
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left < 1:
                self._faults.remove(fault)
        return True

    def _planned(self, side: str, recipient: str) -> Fault | None:
        key = f"{side} {recipient.casefold()}"
        plans = self._plans.get(key)
        if not plans:
            return None
        fault = plans[0]
        fault.hits += 1
        fault.left = (fault.left or 1) - 1
        if fault.left < 1:
            plans.pop(0)
            if not plans:
                del self._plans[key]
        return fault
