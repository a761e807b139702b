"""The pages under ``docs/plugins`` do what they say: commands, snippets, transcripts.

Each page runs from top to bottom in an empty folder, in a virtual environment of its own that finds
what is installed here, so that ``pip install`` is the real one. What a block is follows from its
first word:

* ``sh``: every line must end with 0;
* ``console``: the same, and the output must be what is shown, but for numbers, and for ``...``,
  which stands for any text;
* ``python``: run with warnings as errors; with a comment ``# path`` in front it is not run but must
  be found in that file.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "plugins"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(\.\d+)?(e[-+]?\d+)?")
NO_MATTER = re.compile(
    r"(?<===)=+| \(\d+:\d\d:\d\d\)"
)  # pytest's rules; its minutes, if it took any
TEN_MINUTES = 600

pytest.importorskip("sklearn", reason="the pages' data sets need the extra sklearn")


class Reader:
    """Who follows a page: a folder, and an interpreter that installs into itself.

    Args:
        where: an empty folder.
    """

    def __init__(self, where: Path) -> None:
        self.folder = where / "work"
        self.folder.mkdir()
        environment = where / "venv"
        made = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(made, check=True, capture_output=True)
        self.bin = environment / ("Scripts" if os.name == "nt" else "bin")
        site = next(environment.rglob("site-packages"))
        parent = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
        (site / "parent.pth").write_text(parent, encoding="utf-8")

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of shell: variables, then one of the programs that a page may use."""
        variables = {}
        words = shlex.split(line, comments=True)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, variables[name] = words.pop(0).partition("=")
        program, *rest = words
        if program == "pip":  # what the extra dev asks for is here, and nothing is downloaded
            rest = [word.removesuffix("[dev]") for word in rest]
            rest = ["-m", "pip", *rest, "--no-deps", "--no-build-isolation", "--no-index", "-q"]
        elif program in ("flagstone", "pytest"):
            rest = ["-m", program, *rest]
        else:
            assert program == "python", f"a command unknown here: {line}"
            if rest[:2] == ["-m", "build"]:
                rest.append("--no-isolation")  # which would download what builds
        return self.python(*rest, **variables)

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # other tests run beside it
        return subprocess.run(
            [str(self.bin / "python"), *arguments],
            cwd=self.folder,
            env={**os.environ, **threads, "COLUMNS": "80", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def shell(self, text: str) -> None:
        for line in text.replace("\\\n", " ").splitlines():
            done = self.run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}"

    def console(self, text: str) -> None:
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            done = self.run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}"
            require_like(line, shown, done.stdout)

    def snippet(self, text: str) -> None:
        path, _, rest = text.partition("\n")
        if path.startswith("# ") and path.endswith(".py"):
            source = (self.folder / path.removeprefix("# ")).read_text(encoding="utf-8")
            assert rest in source, f"{path} holds no such lines:\n{rest}"
            return
        done = self.python("-W", "error", "-c", text)
        assert done.returncode == 0, f"{text}\n{done.stdout}"


def require_like(line: str, shown: str, printed: str) -> None:
    """``printed`` is what is shown, but for numbers, spaces, and ``...`` for any text."""

    def plain(text: str) -> str:
        text = NUMBER.sub("0", NO_MATTER.sub("", text))
        return "\n".join(" ".join(row.split()) for row in text.splitlines())

    pattern = re.escape(plain(shown.rstrip())).replace(re.escape("..."), r"(.|\n)*")
    found = plain(printed.rstrip())
    assert re.fullmatch(pattern, found), f"$ {line}\nshown:\n{shown}\nprinted:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    if not blocks:
        pytest.skip("nothing on it can be run")
    reader, started = Reader(tmp_path), time.monotonic()
    todo = {"sh": reader.shell, "console": reader.console, "python": reader.snippet}
    for language, text in blocks:
        todo[language](text)
    assert time.monotonic() - started < TEN_MINUTES


def test_there_is_a_page_for_every_kind_that_can_be_made() -> None:
    from flagstone.cli.scaffold import KINDS

    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"({kind}.md)" not in index] == []
    further = {"README", "reference", "versioning"}
    assert {*KINDS, *further} == {page.stem for page in PAGES}


def test_the_reference_is_what_the_code_says() -> None:
    page = runpy.run_path(str(FOLDER / "make_reference.py"))["page"]
    assert (FOLDER / "reference.md").read_text(encoding="utf-8") == page(), (
        "out of date: run python docs/plugins/make_reference.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    for target in targets:
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in anchors, target


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("a 1.5\n...\nb", "a  2\nx\ny\nb\n", True),
        ("a 1.5\nb", "a 2e-3\nb", True),
        ("a 1.5\nb", "a 2\nc", False),
        ("a\nb", "a\nx\nb", False),
        ("=== 2 passed in 1.5s ===", "===== 2 passed in 61.2s (0:01:01) ====", True),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_transcripts_are_compared(shown: str, printed: str, alike: bool) -> None:
    if alike:
        require_like("", shown, printed)
    else:
        with pytest.raises(AssertionError):
            require_like("", shown, printed)
