"""The sandbox's page: complete courses, see issued badges, switch faults on. It is HTML without scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from .faults import KINDS, MOODLE, NAVIGATR, NAVIGATR_CALLS, NAVIGATR_PRODUCTION, SIDES
from .moodle import AGREED_COLUMNS, FILTERS, SITE_CHOICES, STUDENT, Course, Moodle, User
from .moodle_text import strip_tags
from .moodle_wire import FUNCTIONS
from .navigatr import Assertion, Entry, Navigatr
from .wire import Reply, Request, html_reply, redirect

if TYPE_CHECKING:
    from .app import Sandbox

# How many rows the page shows.
MOST_LEARNERS = 60
MOST_BADGES = 40
MOST_REQUESTS = 40
SERVICE_NAMES = {NAVIGATR: "Navigatr staging", NAVIGATR_PRODUCTION: "Navigatr production", MOODLE: "Moodle"}
# The contrast of #1f5f5b on white is 7.2:1, that of #5a2a6e 10:1; both are enough for text.
STYLE = """
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1c2326;background:#f4f5f2;overflow-wrap:anywhere}
header,main{max-width:72rem;margin:0 auto;padding:1rem}
header{padding-bottom:0}
h1{margin:.2em 0;font-size:1.8rem;line-height:1.2}
h2{margin:0 0 .5rem;font-size:1.35rem;line-height:1.25}
h3{margin:1.2rem 0 .4rem;font-size:1.05rem}
p{margin:.3rem 0 .8rem}
a{color:#1f5f5b}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:0;padding:0;list-style:none}
nav a{display:inline-block;padding:.4rem 0}
section{margin:0 0 1rem;padding:1rem;background:#fff;border:1px solid #d5d9d2;border-radius:10px}
.rows{margin:0;padding:0;list-style:none}
.rows>li{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:center;padding:.5rem 0;border-top:1px solid #e4e7e1}
.rows>li>*{min-width:0}
.who{flex:1 1 15rem}
.state{flex:1 1 13rem}
.dim{color:#565f5c;font-size:.9rem}
.done{color:#1f5f5b;font-weight:600}
.buttons{display:flex;flex-wrap:wrap;gap:.4rem}
details.course{border-top:1px solid #d5d9d2}
summary{padding:.6rem 0;font-weight:600;cursor:pointer}
button{min-height:2.4rem;padding:.3rem .9rem;font:inherit;color:#fff;background:#1f5f5b;border:1px solid #1f5f5b;
border-radius:6px;cursor:pointer}
button:hover{background:#17494a}
button.quiet{color:#1c2326;background:#fff;border-color:#87908b}
button.quiet:hover{background:#eceeea}
:focus-visible{outline:3px solid #c2570c;outline-offset:2px}
form.fields{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.8rem;align-items:end;
margin:.5rem 0}
label{display:block;font-weight:600;font-size:.95rem}
label .dim{font-weight:400}
input,select{width:100%;min-height:2.4rem;padding:.3rem .5rem;font:inherit;font-weight:400;color:inherit;
background:#fff;border:1px solid #87908b;border-radius:6px}
dl{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.3rem 1rem;margin:0}
dt{font-weight:600}
dd{margin:0}
code,pre{font:.92rem/1.45 ui-monospace,monospace}
code{padding:.1rem .3rem;background:#eef0ec;border-radius:4px}
pre{margin:.3rem 0;white-space:pre-wrap}
.alert{padding:.7rem 1rem;background:#fdeee3;border:1px solid #c2570c;border-radius:8px}
.tag{display:inline-block;padding:0 .5rem;font-size:.9rem;color:#5a2a6e;background:#f3ebf6;border-radius:99px}
img{flex:none;width:44px;height:44px}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media(min-width:60rem){.rows>li>form{flex:0 0 13rem;text-align:right}}
@media(min-width:45rem){.wide{grid-column:span 2}}
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}h1{font-size:1.5rem}}
"""


def handle(sandbox: Sandbox, request: Request) -> Reply:
    """Answer the page and its forms. After a form the browser returns to the form's section."""
    if request.path == "/" and request.method == "GET":
        return html_reply(render(sandbox, request.params()))
    action = ACTIONS.get(request.path) if request.method == "POST" else None
    if action is None:
        return html_reply('<!DOCTYPE html><html lang="en"><title>Not found</title><h1>Not found</h1></html>', 404)
    try:
        return redirect(action(sandbox, request.form()))
    except (KeyError, ValueError) as error:
        # KeyError: the page is old, and a reset has deleted the learner or the badge.
        problem = str(error) if isinstance(error, ValueError) else "This learner, course or badge no longer exists."
        return redirect(f"/?{urlencode({'problem': problem})}")


# The forms. Each function returns the address of the next page.


def _complete(sandbox: Sandbox, form: dict[str, str]) -> str:
    sandbox.moodle.complete(int(form["course"]), int(form["user"]))
    return _course_part(form)


def _uncomplete(sandbox: Sandbox, form: dict[str, str]) -> str:
    sandbox.moodle.uncomplete(int(form["course"]), int(form["user"]))
    return _course_part(form)


def _add_learner(sandbox: Sandbox, form: dict[str, str]) -> str:
    email = form["email"].strip()
    if "@" not in email:
        raise ValueError("An e-mail address needs an @.")
    course_id = int(form["course"])
    user_id = sandbox.moodle.add_learner(form["firstname"].strip(), form["lastname"].strip(), email)
    sandbox.moodle.enrol(course_id, user_id)
    return _course_part(form)


def _course_part(form: dict[str, str]) -> str:
    course_id = int(form["course"])
    return f"/?course={course_id}#course-{course_id}"


def _change_learner(sandbox: Sandbox, form: dict[str, str]) -> str:
    course_id, user_id = int(form["course"]), int(form["user"].split(" ")[0])
    LEARNER_CHANGES[form["change"]][1](sandbox.moodle, course_id, user_id)
    return _course_part(form)


def _change_course(sandbox: Sandbox, form: dict[str, str]) -> str:
    course_id = int(form["course"])
    COURSE_CHANGES[form["change"]][1](sandbox.moodle, course_id)
    return _course_part(form) if course_id in sandbox.moodle.courses else "/#moodle"


def _change_site(sandbox: Sandbox, form: dict[str, str]) -> str:
    zone = form["force_timezone"].strip()
    if zone and zone not in available_timezones():
        raise ValueError(f"There is no time zone {zone}.")
    sandbox.moodle.set_site(
        force_timezone=zone,
        date_form=form["date_form"],
        titles=form["titles"],
        version=form["version"],
        filter_headings=form["filter_headings"] == "yes",
    )
    return "/#site"


def _change_report(sandbox: Sandbox, form: dict[str, str]) -> str:
    REPORT_CHANGES[form["change"]][1](sandbox.moodle, min(sandbox.moodle.reports))
    return "/#site"


def _rebuild(sandbox: Sandbox, form: dict[str, str]) -> str:
    sandbox.moodle.rebuild(form["people"])
    return "/#moodle"


def _revoke(sandbox: Sandbox, form: dict[str, str]) -> str:
    sandbox.environment(form["side"]).revoke(int(form["assertion"]), "Revoked on the sandbox's page")
    return "/#badges"


def _fault_on(sandbox: Sandbox, form: dict[str, str]) -> str:
    side, _, kind = form["fault"].partition(" ")
    sandbox.faults.on(
        kind,
        side=side,
        call=form["call"],
        probability=float(form["percent"] or 100) / 100,
        count=int(form["count"]) if form["count"] else None,
        seconds=float(form["seconds"]) if form["seconds"] else None,
        retry_after=int(form["retry_after"]) if form["retry_after"] else None,
    )
    return "/#faults"


def _fault_off(sandbox: Sandbox, form: dict[str, str]) -> str:
    sandbox.faults.off(int(form["id"]))
    return "/#faults"


def _faults_off(sandbox: Sandbox, _form: dict[str, str]) -> str:
    sandbox.faults.clear()
    return "/#faults"


# The changes that the forms offer for a learner, a course and the report: label and function.
LEARNER_CHANGES: dict[str, tuple[str, Callable[[Moodle, int, int], object]]] = {
    "suspend": ("Account suspended", lambda moodle, _course, user: moodle.suspend(user)),
    "activate": ("Account active again", lambda moodle, _course, user: moodle.suspend(user, suspended=False)),
    "unconfirm": ("Account not confirmed", lambda moodle, _course, user: moodle.set_user(user, confirmed=False)),
    "confirm": ("Account confirmed", lambda moodle, _course, user: moodle.set_user(user, confirmed=True)),
    "delete": ("Account deleted", lambda moodle, _course, user: moodle.delete_user(user)),
    "clean_up": (
        "Account deleted, and the hourly task has run",
        lambda moodle, _course, user: moodle.delete_user(user, cleaned_up=True),
    ),
    "unenrol": ("Unenrolled", lambda moodle, course, user: moodle.unenrol(course, user)),
    "enrol": ("Enrolled (again)", lambda moodle, course, user: moodle.enrol(course, user)),
    "suspend_enrolment": (
        "Enrolment suspended",
        lambda moodle, course, user: moodle.enrol(course, user, active=False),
    ),
    "end_enrolment": ("Enrolment ended", lambda moodle, course, user: moodle.enrol(course, user, ended=True)),
    "two_enrolments": ("Enrolled in two ways", lambda moodle, course, user: moodle.enrol(course, user, ways=2)),
    "tag": (
        "Name with a tag",
        lambda moodle, _course, user: moodle.set_user(user, firstname=f"{moodle.users[user].firstname} <x>"),
    ),
    "rename": (
        "New name and e-mail address",
        lambda moodle, _course, user: moodle.set_user(
            user, firstname="Maxine", lastname="O'Connor & Söhne", email=f"m.o'connor{user}@example.org"
        ),
    ),
    "double": ("Second account of the same person", lambda moodle, _course, user: moodle.double_user(user)),
}
COURSE_CHANGES: dict[str, tuple[str, Callable[[Moodle, int], object]]] = {
    "any": ("Completed by any criterion", lambda moodle, course: moodle.set_course(course, aggregation=2)),
    "all": ("Completed by all criteria", lambda moodle, course: moodle.set_course(course, aggregation=1)),
    "groups": ("Separate groups", lambda moodle, course: moodle.set_course(course, groupmode=1)),
    "no_groups": ("No groups", lambda moodle, course: moodle.set_course(course, groupmode=0)),
    "hide": ("Hidden", lambda moodle, course: moodle.set_course(course, visible=0)),
    "show": ("Visible", lambda moodle, course: moodle.set_course(course, visible=1)),
    "hidden_total": ("Course total hidden", lambda moodle, course: moodle.set_course(course, hidden_total=True)),
    "hidden_work": ("Total over hidden work", lambda moodle, course: moodle.set_course(course, hidden_work=True)),
    "shown_total": (
        "Nothing hidden in the grades",
        lambda moodle, course: moodle.set_course(course, hidden_total=False, hidden_work=False),
    ),
    "scale": ("Total is a scale", lambda moodle, course: moodle.set_course(course, grade_type="scale")),
    "none": ("Total has no grade", lambda moodle, course: moodle.set_course(course, grade_type="none")),
    "points": ("Total in points", lambda moodle, course: moodle.set_course(course, grade_type="points")),
    "multilang": (
        "Name in two languages",
        lambda moodle, course: moodle.set_course(
            course,
            fullname='<span lang="en" class="multilang">First aid & rescue</span>'
            '<span lang="cy" class="multilang">Cymorth cyntaf</span>',
        ),
    ),
    "unlock": (
        "Completion settings unlocked: all completions deleted",
        lambda moodle, course: moodle.unlock_completion(course),
    ),
    "tasks": ("Completion tasks run", lambda moodle, _course: moodle.run_completion_tasks()),
    "delete": ("Deleted", lambda moodle, course: moodle.delete_course(course)),
}
REPORT_CHANGES: dict[str, tuple[str, Callable[[Moodle, int], object]]] = {
    "everybody": (
        "Condition Completed = Yes removed",
        lambda moodle, report: moodle.set_report(report, completed_only=False),
    ),
    "duplicates": ("Keeps duplicate rows", lambda moodle, report: moodle.set_report(report, unique=False)),
    "no_filters": ("Filters removed", lambda moodle, report: moodle.set_report(report, filters=())),
    "renamed": (
        "A column renamed",
        lambda moodle, report: moodle.set_report(report, headings={"Username": "Login & <name>"}),
    ),
    "moved": (
        "Columns in another order",
        lambda moodle, report: moodle.set_report(report, columns=AGREED_COLUMNS[::-1]),
    ),
    "missing": ("A column missing", lambda moodle, report: moodle.set_report(report, columns=AGREED_COLUMNS[:-1])),
    "extra": (
        "A column more",
        lambda moodle, report: moodle.set_report(report, columns=(*AGREED_COLUMNS, "ID number")),
    ),
    "agreed": (
        "As agreed",
        lambda moodle, report: moodle.set_report(
            report, columns=AGREED_COLUMNS, headings={}, filters=FILTERS, unique=True, completed_only=True
        ),
    ),
}

ACTIONS: dict[str, Callable[[Sandbox, dict[str, str]], str]] = {
    "/complete": _complete,
    "/uncomplete": _uncomplete,
    "/add-learner": _add_learner,
    "/change-learner": _change_learner,
    "/change-course": _change_course,
    "/change-site": _change_site,
    "/change-report": _change_report,
    "/rebuild": _rebuild,
    "/revoke": _revoke,
    "/fault-on": _fault_on,
    "/fault-off": _fault_off,
    "/faults-off": _faults_off,
}


# The page.


def render(sandbox: Sandbox, query: dict[str, str]) -> str:
    """The page. In the query, `course` is the course to open and `problem` a text to show at the top."""
    problem = query.get("problem", "")
    alert = f'<p class="alert" role="alert">{escape(problem)}</p>' if problem else ""
    active = sandbox.faults.listing()
    warning = f' <span class="tag">{len(active)} on</span>' if active else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sandbox: pretend Moodle and Navigatr</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Sandbox</h1>
<p>A pretend Moodle and a pretend Navigatr for trying the badge portal. No mail is sent and nobody here is real.</p>
<nav aria-label="Parts of this page"><ul>
<li><a href="#moodle">Moodle</a></li>
<li><a href="#badges">Navigatr</a></li>
<li><a href="#faults">Faults{warning}</a></li>
<li><a href="#connect">Addresses and tokens</a></li>
<li><a href="/">Reload</a></li>
</ul></nav>
{alert}
</header>
<main>
{_moodle(sandbox, query.get("course", ""))}
{_navigatr(sandbox)}
{_faults(sandbox)}
{_connect(sandbox)}
</main>
</body>
</html>
"""


def _moodle(sandbox: Sandbox, opened: str) -> str:
    moodle = sandbox.moodle
    with moodle.lock:
        courses = list(moodle.courses.values())
        shown = opened or (str(courses[0].id) if courses else "")
        parts = [_course(sandbox, course, open_=str(course.id) == shown) for course in courses]
    choices = "".join(f'<option value="{course.id}">{_title(course)}</option>' for course in courses)
    form = f"""<h3>Add a learner</h3>
<form class="fields" method="post" action="/add-learner">
<label>First name <input name="firstname" required></label>
<label>Last name <input name="lastname" required></label>
<label>E-mail address <input name="email" type="email" required></label>
<label>Course <select name="course">{choices}</select></label>
<div><button>Add learner</button></div>
</form>"""
    return f"""<section id="moodle" aria-labelledby="moodle-title">
<h2 id="moodle-title">1. Moodle</h2>
<p>Complete a course for a learner; the portal finds it at its next poll.</p>
{"".join(parts) if parts else "<p>There are no courses.</p>"}
{form if courses else ""}
{_change_forms(moodle, choices) if courses else ""}
{_site(moodle)}
</section>"""


def _change_forms(moodle: Moodle, courses: str) -> str:
    """The forms that change a learner or a course."""
    with moodle.lock:
        people = "".join(
            f'<option value="{user.id} {escape(user.fullname.strip())}">' for user in list(moodle.users.values())[:200]
        )
    return f"""<h3>Change a learner</h3>
<form class="fields" method="post" action="/change-learner">
<label>Learner <span class="dim">(id)</span> <input name="user" list="people" pattern="\\d.*" required></label>
<datalist id="people">{people}</datalist>
<label>Course <select name="course">{courses}</select></label>
<label>Change <select name="change">{_options(LEARNER_CHANGES)}</select></label>
<div><button>Change learner</button></div>
</form>
<h3>Change a course</h3>
<form class="fields" method="post" action="/change-course">
<label>Course to change <select name="course">{courses}</select></label>
<label>Change of the course <select name="change">{_options(COURSE_CHANGES)}</select></label>
<div><button>Change course</button></div>
</form>"""


def _site(moodle: Moodle) -> str:
    """The forms that change the site and its report."""
    site = moodle.site
    selects = "".join(
        f'<label>{label} <select name="{name}">'
        + "".join(f"<option{' selected' if word == getattr(site, name) else ''}>{word}</option>" for word in words)
        + "</select></label>"
        for (name, words), label in zip(
            SITE_CHOICES.items(), ("Date format", "Titles and the word for Yes", "Moodle version"), strict=True
        )
    )
    filters = "".join(
        f'<option value="{value}"{" selected" if site.filter_headings == (value == "yes") else ""}>{text}</option>'
        for value, text in (("yes", "also for names"), ("no", "not for names"))
    )
    return f"""<h3 id="site">The site and its report</h3>
<form class="fields" method="post" action="/change-site">
<label>Forced time zone <span class="dim">(blank: none)</span>
<input name="force_timezone" value="{escape(site.force_timezone)}" placeholder="Australia/Sydney"></label>
{selects}
<label>Text filters apply <select name="filter_headings">{filters}</select></label>
<div><button>Change site</button></div>
</form>
<form class="fields" method="post" action="/change-report">
<label>Report "Navigatr badge feed" <select name="change">{_options(REPORT_CHANGES)}</select></label>
<div><button>Change report</button></div>
</form>
<form class="fields" method="post" action="/rebuild">
<label>Rebuild with <select name="people"><option value="same">the same people and courses under other ids</option>
<option value="new">new people and courses</option></select></label>
<div><button class="quiet">Rebuild the site</button></div>
</form>"""


def _options(changes: Mapping[str, tuple[str, object]]) -> str:
    return "".join(f'<option value="{name}">{escape(text)}</option>' for name, (text, _) in changes.items())


def _course(sandbox: Sandbox, course: Course, *, open_: bool) -> str:
    moodle = sandbox.moodle
    members = moodle.members(course.id)
    learners = [number for number in moodle.member_ids(course.id) if members[number].role == STUDENT]
    done = sum(moodle.completion(course.id, number) is not None for number in learners)
    rows = "".join(_learner(sandbox, course, moodle.users[number]) for number in learners[:MOST_LEARNERS])
    hidden = len(learners) - MOST_LEARNERS
    more = f'<p class="dim">{hidden} more learners are not shown.</p>' if hidden > 0 else ""
    return f"""<details class="course" id="course-{course.id}"{" open" if open_ else ""}>
<summary>{_title(course)} <span class="dim">{escape(course.shortname)}, {done} of {len(learners)}
 completed</span></summary>
<ul class="rows">{rows}</ul>{more}
</details>"""


def _title(course: Course) -> str:
    """A course's name without tags, escaped."""
    return escape(strip_tags(course.fullname).strip() or course.fullname)


def _learner(sandbox: Sandbox, course: Course, user: User) -> str:
    completion = sandbox.moodle.completion(course.id, user.id)
    grade = sandbox.moodle.grade(course.id, user.id)
    points = f", {grade.raw:g} of {grade.maximum:g} points" if grade else ""
    name = escape(user.fullname.strip())
    hidden = (
        f'<input type="hidden" name="course" value="{course.id}"><input type="hidden" name="user" value="{user.id}">'
    )
    if completion:
        state = f'<span class="done">Completed</span> {_when(completion.time)}{points}'
        button = f'<button class="quiet">Undo<span class="hidden"> for {name}</span></button>'
        form = f'<form method="post" action="/uncomplete">{hidden}{button}</form>'
    else:
        state = f"Not completed{points}"
        button = f'<button>Complete this course<span class="hidden"> for {name}</span></button>'
        form = f'<form method="post" action="/complete">{hidden}{button}</form>'
    enrolment = sandbox.moodle.members(course.id)[user.id]
    conditions = {
        "suspended": user.suspended,
        "not confirmed": not user.confirmed,
        "enrolment suspended": not enrolment.active,
        "enrolment ended": enrolment.ended,
    }
    tags = "".join(f' <span class="tag">{label}</span>' for label, applies in conditions.items() if applies)
    return (
        f'<li><span class="who">{name}{tags}<br><span class="dim">{escape(user.email)}</span></span>'
        f'<span class="state">{state}</span>{form}</li>'
    )


def _navigatr(sandbox: Sandbox) -> str:
    parts = [_environment(sandbox.environment(side)) for side in (NAVIGATR, NAVIGATR_PRODUCTION)]
    return f"""<section id="badges" aria-labelledby="badges-title">
<h2 id="badges-title">2. Navigatr</h2>
<p>Issued badges, newest first, and received requests.</p>
{"".join(parts)}
</section>"""


def _environment(navigatr: Navigatr) -> str:
    with navigatr.lock:
        badges = "".join(_badge(navigatr, assertion) for assertion in navigatr.newest(MOST_BADGES))
        requests = "".join(_request(entry) for entry in list(navigatr.ledger)[: -MOST_REQUESTS - 1 : -1])
        issued, received = len(navigatr.assertions), len(navigatr.ledger)
    title = SERVICE_NAMES[navigatr.side]
    return f"""<h3>{title}: {issued} issued</h3>
<ul class="rows">{badges or '<li class="dim">No badge has been issued yet.</li>'}</ul>
<details><summary>Requests received: {received}</summary>
<ul class="rows">{requests or '<li class="dim">None yet.</li>'}</ul></details>"""


def _badge(navigatr: Navigatr, assertion: Assertion) -> str:
    badge = navigatr.badges.get(assertion.badge_id)
    name = escape(badge.name if badge else f"Badge {assertion.badge_id}")
    who = escape(f"{assertion.recipient_firstname} {assertion.recipient_lastname}")
    score = f", score {assertion.score} %" if assertion.score is not None else ""
    form = f"""<form method="post" action="/revoke"><input type="hidden" name="side" value="{navigatr.side}">
<input type="hidden" name="assertion" value="{assertion.id}">
<button class="quiet">Revoke<span class="hidden"> {name} of {who}</span></button></form>"""
    return (
        f'<li><img src="{navigatr.root}/images/{assertion.badge_id}.svg" alt="">'
        f'<span class="who">{name}<br>{who} <span class="dim">{escape(assertion.recipient_email)}</span></span>'
        f'<span class="state"><span class="tag">{escape(assertion.status)}</span> '
        f"{_when(assertion.time_created)}{score}"
        f'<br><span class="dim">dated {escape(assertion.issue_date)}</span></span>'
        f"{form if assertion.status != 'Revoked' else ''}</li>"
    )


def _request(entry: Entry) -> str:
    answer = str(entry.status) if entry.status else "no answer"
    fault = f' <span class="tag">fault: {escape(entry.fault)}</span>' if entry.fault else ""
    body = ""
    if entry.body is not None:
        text = escape(json.dumps(entry.body, ensure_ascii=False, indent=1))
        body = f"<details><summary>What was sent</summary><pre>{text}</pre></details>"
    query = f"?{entry.query}" if entry.query else ""
    return (
        f'<li><span class="who"><code>{escape(entry.method)} {escape(entry.path)}{escape(query)}</code>{body}</span>'
        f'<span class="state">{answer}{fault} <span class="dim">{_when(entry.time)}</span></span></li>'
    )


def _faults(sandbox: Sandbox) -> str:
    rows = "".join(
        f"""<li><span class="who">{SERVICE_NAMES[fault["side"]]}: {escape(KINDS[fault["side"]][fault["kind"]])}
<br><span class="dim">{_limits(fault)}, {fault["hits"]} so far</span></span>
<form method="post" action="/fault-off"><input type="hidden" name="id" value="{fault["id"]}">
<button class="quiet">Off<span class="hidden"> {escape(fault["kind"])}</span></button></form></li>"""
        for fault in sandbox.faults.listing()
    )
    return f"""<section id="faults" aria-labelledby="faults-title">
<h2 id="faults-title">3. Faults</h2>
<p>Errors on purpose. By default they affect issuing for Navigatr and all calls for Moodle.</p>
<ul class="rows">{rows or '<li class="dim">No fault is on.</li>'}</ul>
<form method="post" action="/faults-off"><p><button class="quiet">All off</button></p></form>
{_fault_form()}
</section>"""


def _fault_form() -> str:
    kinds = "".join(
        f'<optgroup label="{SERVICE_NAMES[side]}">'
        + "".join(f'<option value="{side} {kind}">{escape(text)}</option>' for kind, text in KINDS[side].items())
        + "</optgroup>"
        for side in SIDES
    )
    calls = (
        '<option value="">the default</option>'
        + "".join(f'<option value="{call}">{call}</option>' for call in NAVIGATR_CALLS)
        + '<optgroup label="Moodle">'
        + "".join(f'<option value="{function}">{function}</option>' for function in FUNCTIONS)
        + "</optgroup>"
    )
    return f"""<h3>Switch a fault on</h3>
<form class="fields" method="post" action="/fault-on">
<label class="wide">Fault <select name="fault">{kinds}</select></label>
<label>Calls <select name="call">{calls}</select></label>
<label>Number of requests <span class="dim">(blank: until switched off)</span>
<input name="count" type="number" min="1" inputmode="numeric"></label>
<label>Percent of requests <input name="percent" type="number" min="0" max="100" value="100"></label>
<label>Seconds <span class="dim">(slow, time-out: 5; drip: 1)</span>
<input name="seconds" type="number" min="0" step="0.1"></label>
<label>Retry-After, in seconds <span class="dim">(429, 502, 503)</span>
<input name="retry_after" type="number" min="0" inputmode="numeric"></label>
<div><button>Switch on</button></div>
</form>"""


def _limits(fault: dict[str, Any]) -> str:
    calls = "all calls" if fault["call"] == "all" else fault["call"]
    share = "" if fault["probability"] == 1 else f", {fault['probability'] * 100:g} % of them"
    duration = "until switched off" if fault["left"] is None else f"{fault['left']} more"
    return escape(f"{calls}{share}, {duration}")


def _connect(sandbox: Sandbox) -> str:
    rows = "".join(
        f"<dt>{label}</dt><dd><code>{escape(value)}</code></dd>"
        for label, value in (
            ("Moodle address", sandbox.moodle_url),
            ("Moodle token", sandbox.moodle_token),
            ("Navigatr staging", sandbox.navigatr_url),
            ("Staging token", sandbox.pat),
            ("Navigatr production", sandbox.production_url),
            ("Production token", sandbox.production_pat),
        )
    )
    return f"""<section id="connect" aria-labelledby="connect-title">
<h2 id="connect-title">4. Addresses and tokens</h2>
<p>Enter these into the portal. They open nothing but this sandbox.</p>
<dl>{rows}</dl>
</section>"""


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M:%S UTC")
