"""Control calls below `/control/` for tests and scripts in other processes, with JSON in both directions.

| call | does |
| --- | --- |
| GET /control/info | addresses, tokens and first ids |
| POST /control/reset {"demo": true} | the state of the first start |
| POST /control/moodle/METHOD {arguments} | a method of `Moodle`: add_course, complete, set_site … |
| POST /control/navigatr/METHOD {arguments} | a method of `Navigatr`: add_badge, set_badge, revoke … |
| GET /control/navigatr/assertions?email=&badge_id= | the assertions of a recipient, or all |
| GET /control/navigatr/ledger | the requests received |
| GET /control/navigatr/counts | assertions, requests, issue calls |
| GET /control/moodle/ledger | the web-service calls received |
| GET /control/faults | the faults that are on |
| POST /control/faults {"kind": "429", "side": "navigatr", …} | switch a fault on (arguments of `Faults.on`) |
| POST /control/faults/plan {"recipients": [...], "kind": …} | plan a fault (arguments of `Faults.plan`) |
| DELETE /control/faults | switch all faults off |

`navigatr-production` in place of `navigatr` is the other environment. Wrong arguments are answered with 400 and a
reason, unknown calls and ids with 404.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .faults import MOODLE, NAVIGATR, NAVIGATR_PRODUCTION
from .navigatr import Navigatr
from .wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from .app import Sandbox

# The methods of each service that can be called.
MOODLE_METHODS = frozenset(
    {
        "set_site",
        "add_category",
        "add_course",
        "set_course",
        "delete_course",
        "unlock_completion",
        "run_completion_tasks",
        "add_learner",
        "add_learners",
        "enrol",
        "unenrol",
        "complete",
        "complete_many",
        "set_criteria",
        "uncomplete",
        "set_grade",
        "set_email",
        "set_name",
        "set_user",
        "suspend",
        "delete_user",
        "clean_up_user",
        "double_user",
        "merge_users",
        "rebuild",
        "distort",
        "undistort",
        "add_report",
        "set_report",
        "count",
    }
)
NAVIGATR_METHODS = frozenset(
    {
        "add_provider",
        "set_provider",
        "add_badge",
        "set_badge",
        "delete_badge",
        "revoke",
        "set_assertion_status",
    }
)
METHODS = {MOODLE: MOODLE_METHODS, NAVIGATR: NAVIGATR_METHODS, NAVIGATR_PRODUCTION: NAVIGATR_METHODS}


def handle(sandbox: Sandbox, request: Request) -> Reply:
    """Answer one control call."""
    try:
        arguments = json.loads(request.body) if request.body else {}
        if not isinstance(arguments, dict):
            raise ValueError("arguments must be a JSON object")
        return json_reply({"result": _run(sandbox, request, arguments)})
    except KeyError as error:
        return json_reply({"error": f"unknown: {error.args[0]}"}, 404)
    except (TypeError, ValueError) as error:
        return json_reply({"error": str(error)}, 400)


def _run(sandbox: Sandbox, request: Request, arguments: dict[str, Any]) -> Any:
    call = request.path.removeprefix("/control/")
    if run := CALLS.get(f"{request.method} {call}"):
        return run(sandbox, **arguments)
    side, _, name = call.partition("/")
    if request.method == "POST" and name in METHODS.get(side, ()):
        service = sandbox.moodle if side == MOODLE else sandbox.environment(side)
        return getattr(service, name)(**arguments)
    if request.method == "GET" and side in (NAVIGATR, NAVIGATR_PRODUCTION):
        return _navigatr_state(sandbox.environment(side), name, request.params())
    raise KeyError(f"{request.method} {request.path}")


def _navigatr_state(navigatr: Navigatr, name: str, query: dict[str, str]) -> Any:
    with navigatr.lock:
        match name:
            case "assertions":
                badge_id = int(query["badge_id"]) if "badge_id" in query else None
                if "email" in query:
                    found = navigatr.assertions_for(query["email"], badge_id)
                else:
                    found = [row for row in navigatr.assertions.values() if badge_id in (None, row.badge_id)]
                return [asdict(assertion) for assertion in found]
            case "ledger":
                return [asdict(entry) for entry in navigatr.ledger]
            case "counts":
                counts = {"assertions": len(navigatr.assertions), "requests": len(navigatr.ledger)}
                return {**counts, "puts": len(navigatr.puts)}
            case _:
                raise KeyError(name)


def _moodle_ledger(sandbox: Sandbox) -> list[dict[str, Any]]:
    with sandbox.moodle.lock:
        return [asdict(call) for call in sandbox.moodle.ledger]


def info(sandbox: Sandbox) -> dict[str, Any]:
    """Addresses, tokens and first ids, to connect the portal."""
    return {
        "moodle_url": sandbox.moodle_url,
        "moodle_token": sandbox.moodle_token,
        "courses": {course.shortname: course.id for course in sandbox.moodle.courses.values()},
        "navigatr_url": sandbox.navigatr_url,
        "pat": sandbox.pat,
        "provider_id": next(iter(sandbox.navigatr.providers)),
        "badge_id": next(iter(sandbox.navigatr.badges)),
        "production_url": sandbox.production_url,
        "production_pat": sandbox.production_pat,
        "production_provider_id": next(iter(sandbox.production.providers)),
        "production_badge_id": next(iter(sandbox.production.badges)),
    }


# The calls that are not methods of a service.
CALLS: dict[str, Callable[..., Any]] = {
    "GET info": info,
    "POST reset": lambda sandbox, **arguments: sandbox.reset(**arguments),
    "GET faults": lambda sandbox: sandbox.faults.listing(),
    "POST faults": lambda sandbox, **arguments: asdict(sandbox.faults.on(**arguments)),
    "POST faults/plan": lambda sandbox, **arguments: sandbox.faults.plan(**arguments),
    "DELETE faults": lambda sandbox: sandbox.faults.clear(),
    "GET moodle/ledger": _moodle_ledger,
}
