"""Takes the pictures of the documentation: starts the demo, lets a few learners complete courses, photographs pages.

    .venv/bin/python docs/take_pictures.py [NAME …]
    .venv/bin/python docs/take_pictures.py --every FOLDER

The second form takes every page of the admin and of course managers into a folder: in a window and on a phone, in light
and in dark colours. They are for looking at, and not part of the documentation.

The demo runs on free ports with a data folder of its own that is removed afterwards. Needs Chromium and `make
install-dev`. The pictures in `docs/pictures/` are written over; look at each before it is committed.
"""

import argparse
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLOURS = 128
LARGEST = 80 * 1024
WAIT_SECONDS = 90
Scheme = Literal["light", "dark"]
# For --every: the width of the window, and the colours.
LOOKS: dict[str, tuple[int, Scheme]] = {
    "wide-light": (1440, "light"),
    "wide-dark": (1440, "dark"),
    "phone-light": (390, "light"),
    "phone-dark": (390, "dark"),
}
# Learners of the first course, and the fault that the first call for each meets.
LEARNERS = [
    ("Aisha", "Williams", ""),
    ("Björn", "Lindström", ""),
    ("Zoë", "O’Brien", "drop_after"),
    ("Chloé", "Müller", "403"),
    ("Nguyễn", "Van der Berg", ""),
]
LOOKED_UP = "Zoë O’Brien"
# Unknown answers are looked up after a second and not after a minute.
SETTINGS = {"RETRY_FIRST_SECONDS": "1", "RETRY_FACTOR": "1", "TIME_ZONE": "Europe/London"}


def main() -> int:
    """Take all pictures, or only those named; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(PAGES)}")
    parser.add_argument("--every", type=Path, metavar="FOLDER", help="every page, four times, into this folder")
    arguments = parser.parse_args()
    if arguments.every:
        return take_every_page(arguments.every)
    names = arguments.names or list(PAGES)
    if unknown := set(names) - PAGES.keys():
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    PICTURES.mkdir(exist_ok=True)
    with demo() as (address, password), browser_page(address) as page:
        sign_in(page, password)
        for name in names:
            open_page, width, height = PAGES[name]
            page.set_viewport_size({"width": width, "height": height})
            open_page(page)
            page.wait_for_load_state("networkidle")
            path = PICTURES / f"{name}.png"
            save(page.screenshot(), path)
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1024} kB")
    too_large = [path.name for path in PICTURES.glob("*.png") if path.stat().st_size > LARGEST]
    if too_large:
        print(f"Larger than {LARGEST // 1024} kB: {', '.join(too_large)}", file=sys.stderr)
    return 1 if too_large else 0


def take_every_page(folder: Path) -> int:
    """Take each page in each of LOOKS; returns 1 if a page is wider than its window, else 0."""
    folder.mkdir(parents=True, exist_ok=True)
    wide = []
    with demo() as (address, password):
        for look, (width, scheme) in LOOKS.items():
            with browser_page(address, width=width, scheme=scheme) as page:
                sign_in(page, password)
                for path in every_page(page):
                    page.goto(path)
                    name = re.sub(r"\W+", "-", path).strip("-") or "home"
                    page.screenshot(path=folder / f"{name}.{look}.png", full_page=True)
                    if page.evaluate("document.documentElement.scrollWidth") > width:
                        wide.append(f"{path} ({look})")
    if wide:
        print("Wider than the window: " + ", ".join(wide), file=sys.stderr)
    return 1 if wide else 0


def every_page(page: Page) -> list[str]:
    """The addresses of what the menu leads to, and of the first row of each list and the form for a new one."""
    page.goto("/admin/")
    found = dict.fromkeys(links(page, "#nav-sidebar a, .site-nav a"))
    for path in list(found):
        page.goto(path)
        rows = links(page, "#result_list tbody a, a.addlink, main .row h2 a, main a.button")
        found |= dict.fromkeys(link for link in rows[:2] + rows[-1:] if link.startswith(("/admin/", "/courses/")))
    return list(found)


def links(page: Page, selector: str) -> list[str]:
    """Where the links of a page lead, without what filters."""
    hrefs = page.locator(selector).evaluate_all("links => links.map(link => link.pathname)")
    return [str(href) for href in hrefs]


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """A running demo in which something has happened: its address, and the password of its admin."""
    data = Path(tempfile.mkdtemp(prefix="portal-pictures-"))
    port = two_free_ports()
    environment = {**os.environ, **SETTINGS, "PORTAL_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}
    portal: subprocess.Popen[str] | None = None
    try:
        said = manage(environment, "setup_portal", "--print-password")
        found = re.search(r"with the password (\S+)", said)
        if found is None:
            raise RuntimeError(f"setup_portal told no password: {said}")
        portal = subprocess.Popen(  # noqa: S603 - the portal itself
            [sys.executable, "manage.py", "portal", "--port", str(port), "--sandbox"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_welcome(portal)
        let_things_happen(f"http://127.0.0.1:{port + 1}", environment)
        yield f"http://127.0.0.1:{port}", found[1]
    finally:
        if portal is not None and portal.poll() is None:
            portal.send_signal(signal.SIGTERM)
            portal.communicate(timeout=60)
        shutil.rmtree(data)


def two_free_ports() -> int:
    """A port that nobody listens on, nor on the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            second.bind(("127.0.0.1", port + 1))
            return port


def manage(environment: dict[str, str], *arguments: str, stdin: str = "") -> str:
    """What one management command says. Raises CalledProcessError."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(  # noqa: S603 - the portal itself
        command, cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def wait_for_welcome(portal: subprocess.Popen[str]) -> None:
    """Return once the portal has said that it is ready. Raises RuntimeError if it ends before."""
    said = []
    for line in portal.stdout or ():
        said.append(line)
        if "Ctrl-C stops everything" in line:
            return
    raise RuntimeError("the demo ended: " + "".join(said))


def let_things_happen(sandbox: str, environment: dict[str, str]) -> None:
    """Let learners complete two courses, some of them with trouble, and wait until the portal has dealt with it."""
    info = control(sandbox, "info")
    courses = info["courses"]
    # Chromium may have no font for the demo's Japanese name.
    control(sandbox, "moodle/set_course", course_id=courses["ÉTH-1"], fullname="Café & Éthique, niveau 1")
    chosen = ["--site", "Sandbox Moodle", "--course", "GDPR26", "--connection", "Sandbox Navigatr"]
    manage(environment, "map_course", *chosen, "--provider", "11", "--badge", "121", "--min-score", "60")
    for number, (firstname, lastname, fault) in enumerate(LEARNERS, start=1):
        email = f"learner.{number}@example.org"
        person = {"firstname": firstname, "lastname": lastname, "email": email}
        learner = control(sandbox, "moodle/add_learner", **person, course_id=courses["SAFE101"])
        if fault:
            control(sandbox, "faults/plan", recipients=[email], kind=fault)
        control(sandbox, "moodle/complete", course_id=courses["SAFE101"], user_id=learner, grade=70 + 5 * number)
    control(sandbox, "moodle/complete", course_id=courses["GDPR26"], user_id=learner, grade=12)
    wait_until_settled(environment, owed=len(LEARNERS) + 1)
    control(sandbox, "faults", kind="grades_refused", side="moodle")
    site = ["--name", "Sandbox Moodle", "--url", info["moodle_url"], "--token-stdin"]
    manage(environment, "connect_moodle", *site, stdin=info["moodle_token"])


def wait_until_settled(environment: dict[str, str], *, owed: int) -> None:
    """Return once so many badges are owed and none of them waits. Raises RuntimeError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        status = json.loads(manage(environment, "status", "--json"))
        if status["owed"] == owed and not status["issuances"]["queued"] + status["issuances"]["sending"]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the portal did not come to an end: {status}")
        time.sleep(1)


def control(sandbox: str, path: str, **arguments: Any) -> Any:
    """One call of the sandbox's control interface (`sandbox/control.py`)."""
    body = json.dumps(arguments).encode() if arguments else None
    with urllib.request.urlopen(f"{sandbox}/control/{path}", body, timeout=30) as answer:  # noqa: S310
        return json.load(answer)["result"]


@contextmanager
def browser_page(address: str, *, width: int = 1200, scheme: Scheme = "light") -> Iterator[Page]:
    """A window of a Chromium without a screen."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise RuntimeError("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=address, color_scheme=scheme, viewport={"width": width, "height": 900})
        yield context.new_page()
        browser.close()


def save(picture: bytes, path: Path) -> None:
    """Keep a screenshot with a palette of its own, which takes a third of the room."""
    few_colours = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few_colours.save(path, optimize=True)


def sign_in(page: Page, password: str) -> None:
    """Sign in as the admin."""
    page.goto("/sign-in/")
    page.get_by_label("User name or e-mail address").fill("admin")
    page.get_by_label("Password:").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def open_courses(page: Page) -> None:
    """The list of courses."""
    page.goto("/courses/")


def open_course(page: Page) -> None:
    """A course with badges."""
    open_courses(page)
    page.get_by_role("link", name="Safeguarding Essentials").click()


def open_choice_of_badge(page: Page) -> None:
    """The second step of choosing a badge, after a search."""
    open_course(page)
    page.get_by_role("link", name="Change badge").first.click()
    page.get_by_label("Northgate College").check()
    page.get_by_role("button", name="Next: choose the badge").click()
    page.get_by_role("searchbox").or_(page.locator("input[name=q]")).fill("safeguarding")
    page.get_by_role("button", name="Search").click()


def open_review(page: Page) -> None:
    """The last step of choosing a badge."""
    open_choice_of_badge(page)
    page.get_by_role("link", name="Safeguarding Practitioner").click()


def open_issuance(page: Page) -> None:
    """A badge whose first answer was lost."""
    open_course(page)
    page.get_by_role("link", name=re.compile(f"^{LOOKED_UP}")).click()


def open_admin(page: Page) -> None:
    """The first page of the admin."""
    page.goto("/admin/")


def open_connection(page: Page) -> None:
    """The connection in the admin."""
    page.goto("/admin/badging/navigatrconnection/")
    page.get_by_role("link", name="Sandbox Navigatr").click()


def open_site(page: Page) -> None:
    """How a Moodle site is doing, in the admin."""
    page.goto("/admin/moodle_sync/moodlesite/")
    page.get_by_role("link", name="Sandbox Moodle").click()


# How to open each page, and how wide and high the picture is.
PAGES: dict[str, tuple[Callable[[Page], None], int, int]] = {
    "courses": (open_courses, 900, 490),
    "course": (open_course, 900, 1080),
    "choose-badge": (open_choice_of_badge, 900, 640),
    "review": (open_review, 900, 820),
    "issuance": (open_issuance, 900, 920),
    "admin": (open_admin, 900, 700),
    "connection": (open_connection, 1200, 820),
    "site": (open_site, 1200, 700),
    "course-phone": (open_course, 390, 760),
}

if __name__ == "__main__":
    sys.exit(main())
