"""A page as people see it: wide and light, and on a phone and dark."""

import os
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# No preload: of the rules that run here only `no-autoplay-audio` uses it, and no page has sound. Halves the time.
AXE = {"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"], "preload": False}
# The narrowest phone that pages must fit (WCAG 2.2, 1.4.10).
LOOKS = {"wide": (1440, False), "phone": (320, True)}


def look_at(page: Page, name: str) -> None:
    """See that axe finds nothing, and that nothing scrolls to the side. Ends in the wide window."""
    page.wait_for_load_state()
    for look, (width, dark) in [*LOOKS.items()][::-1]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        # The page follows the system only when it is loaded.
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        found = Axe().run(page, options=AXE)
        keep_picture(page, f"{name}-{look}")
        assert found.violations_count == 0, f"{name}, {look}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{name} scrolls sideways, {look}"


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page in PORTAL_SCREENSHOTS, if that is set."""
    if folder := os.environ.get("PORTAL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
