"""`make audit` against a small advisory service that speaks OSV's API, and against what only looks like one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.services import free_port
from tools import audit
from tools.requirements import SERVICE, pins

# Each runs pip-audit.
pytestmark = pytest.mark.slow

HASH = "sha256:" + "0" * 64
REQUIREMENTS = f"""\
six==1.17.0 \\
    --hash={HASH}
# via python-dateutil
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash={HASH}
psycopg[binary, pool]==3.3.9 \\
    --hash={HASH}
"""
ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "It lets anybody in.",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "NAME"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "9"}]}],
        }
    ],
}

Answer = tuple[int, bytes]
# What the service answers about a package of a version.
Service = Callable[[str, str], Answer]


def advisories_for(*vulnerable: tuple[str, str]) -> Service:
    """A service that knows of these."""

    def answer(name: str, version: str) -> Answer:
        advisory = json.dumps(ADVISORY).replace("NAME", name)
        return 200, f'{{"vulns": [{advisory}]}}'.encode() if (name, version) in vulnerable else b"{}"

    return answer


KNOWN = ("django", "3.2")


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """The address at which the service answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = service(asked["package"]["name"], asked["version"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(REQUIREMENTS)
    return path


def run(url: str, requirements: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = audit.main(["--url", url, str(requirements)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_nothing_known_is_a_success(requirements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(advisories_for(KNOWN)) as url:
        assert run(url, requirements, capsys) == (0, "No known vulnerability in 3 requirements.\n")


def test_a_vulnerable_requirement_is_told_also_one_for_another_system(
    requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(advisories_for(KNOWN, ("colorama", "0.4.6"))) as url:
        code, said = run(url, requirements, capsys)
    assert code == 1
    assert said == ("colorama 0.4.6: PYSEC-2026-1, CVE-2026-1; fixed in 9\nVULNERABLE: 1 of 3 requirements.\n")


def test_every_requirement_of_the_service_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    asked: dict[str, str] = {}

    def service(name: str, version: str) -> Answer:
        asked.setdefault(name, version)
        return advisories_for(KNOWN)(name, version)

    expected = pins(SERVICE.read_text())
    with serving(service) as url:
        code, said = run(url, SERVICE, capsys)
    assert (code, said) == (0, f"No known vulnerability in {len(expected)} requirements.\n")
    # Django was first asked about in another version.
    assert asked == expected | {"django": "3.2"}


def test_a_service_that_cannot_be_reached_is_no_success(requirements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(f"http://127.0.0.1:{free_port()}/v1/query", requirements, capsys)
    assert code == 3
    assert said.startswith("NOT AUDITED: the advisory service http://127.0.0.1:")
    assert "could not be asked (ConnectionError)" in said


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, b"{}"), "knows no advisory for Django 3.2"),
        ((200, b'{"vulns": []}'), "knows no advisory for Django 3.2"),
        ((200, b"[]"), "knows no advisory for Django 3.2"),
        ((200, b"<p>Please sign in</p>"), "could not be asked (JSONDecodeError)"),
        ((404, b"{}"), "could not be asked (HTTPError)"),
        ((503, b""), "could not be asked (HTTPError)"),
    ],
)
def test_what_only_answers_is_no_advisory_service(
    requirements: Path, capsys: pytest.CaptureFixture[str], answer: Answer, why: str
) -> None:
    with serving(lambda name, version: answer) as url:
        code, said = run(url, requirements, capsys)
    assert code == 3
    assert said.startswith("NOT AUDITED: ")
    assert why in said


@pytest.mark.parametrize("answer", [(503, b""), (200, b"<p>Please sign in</p>")])
def test_a_service_that_fails_midway_is_no_success(
    requirements: Path, capsys: pytest.CaptureFixture[str], answer: Answer
) -> None:
    with serving(lambda name, version: answer if name == "six" else advisories_for(KNOWN)(name, version)) as url:
        code, said = run(url, requirements, capsys)
    assert code == 3
    assert said.startswith("NOT AUDITED: pip-audit ended without a report")
