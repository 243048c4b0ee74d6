"""How Sphinx builds this folder: Markdown by MyST, furo's theme, nothing loaded from elsewhere."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Navigatr badge portal"
release = version = _PROJECT["version"]
copyright = "2026, Navigatr badge portal contributors"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]

# Headings down to the third level can be linked to, as in `page.md#a-heading`.
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_title = f"{project} {release}"
html_favicon = "../badging/pages/static/badging/mark.svg"
html_show_sphinx = False
html_copy_source = False
