"""`system2 recipe`: put a paper's claim to the test."""

import time
from pathlib import Path
from typing import Literal

from system2.cli.options import Json
from system2.cli.terminal import counter, finish


def recipe(
    name: str,
    /,
    *,
    out: Path,
    size: Literal["small", "paper"] = "small",
    json: Json = False,
) -> None:
    """Run a recipe: print its claim, our number and whether it holds.

    Writes results.json (claim, holds, figures) and, where there is something to see, figure.svg.
    Started again after a kill, it goes on where it was.

    Parameters
    ----------
    name
        The recipe's name; "system2 models" lists them.
    out
        The folder for the results, and for what is made on the way.
    size
        small takes minutes on two cores; paper is what docs/papers.md reports.
    """
    import json as json_text
    from dataclasses import asdict

    from system2.recipes.verdict import find_recipe
    from system2.store import make_manifest, whole_file

    run, started = find_recipe(name), time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    with counter(name) as show:
        verdict = run(out, size, lambda _, done, total: show(done, total))
    manifest = make_manifest(f"recipe {name}", {"recipe": name, "size": size}, seed=0)
    result = {
        "recipe": name,
        "size": size,
        "claim": verdict.claim,
        "holds": verdict.holds,
        "figures": dict(verdict.figures),
        "core_minutes": (time.process_time() - started) / 60,
        "manifest": asdict(manifest),
    }
    if verdict.figure is not None:
        with whole_file(out / "figure.svg") as file:
            file.write(verdict.figure.encode())
    with whole_file(out / "results.json") as file:
        file.write(json_text.dumps(result, indent=2, allow_nan=False).encode())
    said = "holds" if verdict.holds else "does not hold"
    finish(f"{verdict.claim}\n{said} here: {out / 'results.json'}", result, as_json=json)
