"""The shape of the package: imports go downward, modules are small, public names documented."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "system2"

FLOORS = (
    ("system2", "core"),
    ("tree", "tasks", "engine"),
    ("verify", "search", "select", "run", "store"),
    ("synthesise", "jobs"),
    ("train", "curate", "evaluate"),
    ("view", "serve", "scale"),
    ("recipes",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
every_module = pytest.mark.parametrize("name", MODULES)


def parse(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def room(name: str) -> str:
    """The folder or module right under the package that a module belongs to."""
    return name.split(".")[1] if "." in name else name


def imported(name: str) -> set[str]:
    """Modules of ours that a module imports anywhere, in functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are written in full"
            whole = str(node.module)
            for alias in node.names:
                inner = f"{whole}.{alias.name}"
                found.add(inner if inner in MODULES else whole)
    return found & set(MODULES) - {name}


@every_module
def test_imports_go_downward(name: str) -> None:
    here = room(name)
    assert here in FLOOR_OF, f"{here} has no floor; give it one"
    for other in imported(name):
        above = FLOOR_OF[room(other)] >= FLOOR_OF[here]
        assert room(other) == here or not above, f"{name} imports {other}"


def test_no_import_comes_round_again() -> None:
    left = {name: imported(name) for name in MODULES}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"modules that import each other: {sorted(left)}"


@every_module
def test_modules_and_functions_are_small(name: str) -> None:
    num_lines = len(MODULES[name].read_text().splitlines())
    assert num_lines <= MAX_MODULE_LINES, f"{name} has {num_lines} lines"
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # What a command's docstring says of its options is documentation, not length.
            num_said = str(ast.get_docstring(node) or "").count("\n") + 1
            num_lines = int(node.end_lineno or 0) - node.lineno + 1 - num_said
            assert num_lines <= MAX_FUNCTION_LINES, f"{name}.{node.name} has {num_lines} lines"


def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}.{node.name}")


@every_module
def test_public_names_are_documented(name: str) -> None:
    module = parse(name)
    assert ast.get_docstring(module), f"{name} has no docstring"
    for where, node in public(module.body, name):
        assert ast.get_docstring(node), f"{where} has no docstring"


@every_module
def test_only_what_is_run_by_hand_prints_and_nobody_runs_what_was_read(name: str) -> None:
    forbidden = (
        {"eval", "exec"} if room(name) in ("cli", "recipes") else {"eval", "exec", "print", "input"}
    )
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in forbidden, f"{name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.Import):
            unsafe = {alias.name for alias in node.names} & {"pickle", "dill", "joblib", "marshal"}
            assert not unsafe, f"{name}:{node.lineno} imports {unsafe}"


@pytest.mark.parametrize(
    ("upper", "lower"), [("engine", "tree"), ("search", "engine"), ("search", "verify")]
)
def test_a_search_knows_no_model_and_an_engine_no_tree(upper: str, lower: str) -> None:
    for name in MODULES:
        if room(name) == upper:
            assert lower not in {room(other) for other in imported(name)}, f"{name} imports {lower}"


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (PACKAGE.parent / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
