"""`system2 models`: what can be named as a policy, a verifier, a task or a recipe."""

from system2.cli.options import Json
from system2.cli.terminal import finish, say


def models(*, json: Json = False) -> None:
    """List the policies, verifiers, tasks and recipes that commands can name.

    Parameters
    ----------
    json
        Print the list as one JSON object.
    """
    from system2.engine.embedded import EMBEDDED, EMBEDDED_VERIFIERS
    from system2.recipes.verdict import RECIPES
    from system2.tasks import TASKS
    from system2.tasks.reasoning_gym import PREFIX

    policies = [name for name, folder in EMBEDDED.items() if folder.is_dir()]
    verifiers = [name for name, folder in EMBEDDED_VERIFIERS.items() if folder.is_dir()]
    tasks = sorted(TASKS)
    if not json:
        for heading, names in (
            ("policies, shipped", policies),
            ("policies, others", ["FOLDER (a Hugging Face checkpoint)", "hub:NAME (downloaded)"]),
            ("verifiers, shipped", verifiers),
            ("verifiers, others", ["FOLDER (made by: system2 train token-verifier)"]),
            ("tasks", [*tasks, f"{PREFIX}NAME (any dataset of reasoning-gym)"]),
            ("recipes", [f"{name} ({about})" for name, about in RECIPES.items()]),
        ):
            for number, name in enumerate(names or ["(none)"]):
                say(f"{'' if number else heading:20} {name}")
        return
    found = {"policies": policies, "verifiers": verifiers, "tasks": tasks}
    finish("", {**found, "recipes": list(RECIPES)}, as_json=json)
