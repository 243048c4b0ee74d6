"""Runs `make` in a folder of its own, with small packages that are at hand: no network is needed."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The Python that the tests' own environment was made with.
OUTSIDE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: MIT\n"


class Folder:
    """A folder with our Makefile, and requirements of packages that it makes up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wheels = path / "wheels"
        self.wheels.mkdir()
        for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, path)
        shutil.copytree(ROOT / "tools", path / "tools", ignore=shutil.ignore_patterns("__pycache__"))

    def require(self, *names: str, file: str = "requirements.txt") -> None:
        """Write the pinned requirements, with the packages' hashes."""
        lines = [f"{name}==1.0 --hash=sha256:{self._wheel(name)}" for name in names]
        (self.path / file).write_text("\n".join(lines) + "\n")

    def _wheel(self, name: str) -> str:
        """Make a wheel with one module; returns its digest."""
        path = self.wheels / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": "",
            f"{info}/METADATA": METADATA.format(name=name),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        with zipfile.ZipFile(path, "w") as wheel:
            for file, content in {**files, f"{info}/RECORD": record}.items():
                wheel.writestr(zipfile.ZipInfo(file), content)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def make(
        self, target: str, *, python: str = OUTSIDE_PYTHON, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `make target`."""
        # `make test` sets MAKE… and MFLAGS, which let another make tell each folder that it enters.
        others = ("PIP_", "COVERAGE_", "MAKE", "MFLAGS")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        # No settings of this machine's pip, and no package index.
        offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri()}
        return subprocess.run(
            [str(shutil.which("make")), target, f"PYTHON={python}"],
            cwd=self.path,
            env={**inherited, **offline, **environment},
            capture_output=True,
            text=True,
            timeout=180,
        )

    def installed(self, venv: str = ".venv") -> set[str]:
        """The names of the packages in an environment of the folder."""
        code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        python = self.path / venv / "bin" / "python"
        return set(subprocess.check_output([python, "-I", "-c", code], text=True).split())
