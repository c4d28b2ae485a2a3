"""What the documents say is true: commands parse, links lead somewhere, doctests hold."""

import ast
import doctest
import importlib
import os
import re
import shlex
from pathlib import Path

import pytest

from system2.cli.app import build_app

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "system2"
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?system2 (.*)")
MAP_HEAD = """# Modules

What each module says of itself, in its first line.

| module | is |
|---|---|
"""
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


def commands() -> list[str]:
    """Every line in a code block of a document that starts with the command's name."""
    found: list[str] = []
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                found += COMMAND.findall(line)
    return found


def test_the_readme_shows_commands() -> None:
    shown = {shlex.split(command)[0] for command in commands()}
    assert {name for name in build_app() if not name.startswith("-")} <= shown


@pytest.mark.parametrize("command", commands())
def test_a_documents_command_parses(command: str) -> None:
    words = shlex.split(command, comments=True)
    build_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_documents_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_map_says_of_each_module_what_it_says_of_itself() -> None:
    """SYSTEM2_UPDATE=1 writes the map anew."""
    lines = [MAP_HEAD]
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        if not path.name.startswith("__"):
            says = str(ast.get_docstring(ast.parse(path.read_text()))).splitlines()[0]
            lines.append(f"| `{path.relative_to(REPOSITORY).as_posix()}` | {says} |\n")
    written = REPOSITORY / "docs" / "modules.md"
    if os.environ.get("SYSTEM2_UPDATE"):
        written.write_text("".join(lines))
    assert written.read_text() == "".join(lines), "SYSTEM2_UPDATE=1 pytest tests/test_docs.py"


def test_the_index_has_a_line_for_every_document() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text()
    for document in (REPOSITORY / "docs").rglob("*.md"):
        if document.name != "README.md":
            assert f"]({document.relative_to(REPOSITORY / 'docs').as_posix()})" in index


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()],
    ids=lambda path: path.stem,
)
def test_doctests_hold(path: Path) -> None:
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0
