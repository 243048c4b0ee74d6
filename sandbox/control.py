"""Control calls for tests and scripts in other processes: JSON in, JSON out, below `/control/`.

| call | does |
| --- | --- |
| GET /control/info | addresses, tokens and first ids |
| POST /control/reset {"demo": true} | everything as at the first start |
| POST /control/moodle/METHOD {arguments} | a method of `Moodle`: add_course, complete, set_site … |
| POST /control/navigatr/METHOD {arguments} | a method of `Navigatr`: add_badge, set_badge, revoke … |
| GET /control/navigatr/assertions?email=&badge_id= | the assertions of a recipient, or all |
| GET /control/navigatr/ledger | the requests received |
| GET /control/navigatr/counts | assertions, requests, issue calls |
| GET /control/moodle/ledger | the web-service calls received |
| GET /control/faults | what is on |
| POST /control/faults {"kind": "429", "side": "navigatr", …} | switch a fault on (arguments of `Faults.on`) |
| POST /control/faults/plan {"recipients": [...], "kind": …} | plan a fault (arguments of `Faults.plan`) |
| DELETE /control/faults | all off |

`navigatr-production` in place of `navigatr` means that environment. Wrong arguments are answered with 400 and the
reason, unknown calls and ids with 404.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .faults import NAVIGATR, NAVIGATR_PRODUCTION
from .wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from .app import Sandbox

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
    steps = request.path.removeprefix("/control/").split("/")
    match [request.method, *steps]:
        case ["GET", "info"]:
            return info(sandbox)
        case ["POST", "reset"]:
            return sandbox.reset(**arguments)
        case ["GET", "faults"]:
            return sandbox.faults.listing()
        case ["POST", "faults"]:
            return asdict(sandbox.faults.on(**arguments))
        case ["POST", "faults", "plan"]:
            return sandbox.faults.plan(**arguments)
        case ["DELETE", "faults"]:
            return sandbox.faults.clear()
        case ["GET", "moodle", "ledger"]:
            with sandbox.moodle.lock:
                return [asdict(call) for call in sandbox.moodle.ledger]
        case ["POST", "moodle", method] if method in MOODLE_METHODS:
            return getattr(sandbox.moodle, method)(**arguments)
        case ["GET", side, what] if side in (NAVIGATR, NAVIGATR_PRODUCTION):
            return _told(sandbox, side, what, request.params())
        case ["POST", side, method] if side in (NAVIGATR, NAVIGATR_PRODUCTION) and method in NAVIGATR_METHODS:
            return getattr(sandbox.environment(side), method)(**arguments)
        case _:
            raise KeyError(f"{request.method} {request.path}")


def _told(sandbox: Sandbox, side: str, what: str, query: dict[str, str]) -> Any:
    navigatr = sandbox.environment(side)
    with navigatr.lock:
        match what:
            case "assertions":
                badge_id = int(query["badge_id"]) if "badge_id" in query else None
                found = (
                    navigatr.assertions_for(query["email"], badge_id)
                    if "email" in query
                    else [row for row in navigatr.assertions.values() if badge_id in (None, row.badge_id)]
                )
                return [asdict(assertion) for assertion in found]
            case "ledger":
                return [asdict(entry) for entry in navigatr.ledger]
            case "counts":
                counts = {"assertions": len(navigatr.assertions), "requests": len(navigatr.ledger)}
                return {**counts, "puts": len(navigatr.puts)}
            case _:
                raise KeyError(what)


def info(sandbox: Sandbox) -> dict[str, Any]:
    """Addresses, tokens and first ids, for whoever connects the portal."""
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
