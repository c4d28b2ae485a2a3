"""`system2 models`: what can be named as a policy, a verifier or a task."""

from pathlib import Path

from system2.cli.terminal import Json, finish, say

SHIPPED = Path(__file__).parent.parent / "tiny"
"""The folder of the embedded model; the verifiers shipped with it lie in its `verifiers/`."""


def models(*, json: Json = False) -> None:
    """List the policies, verifiers and tasks that commands can name.

    Parameters
    ----------
    json
        Print the list as one JSON object.
    """
    from system2.tasks import TASKS
    from system2.tasks.reasoning_gym import PREFIX

    policies = [SHIPPED.name] if (SHIPPED / "config.json").is_file() else []
    verifiers = sorted(f"tiny/{at.name}" for at in SHIPPED.glob("verifiers/*") if at.is_dir())
    tasks = sorted(TASKS)
    if not json:
        for heading, names in (
            ("policies, shipped", policies),
            ("policies, others", ["FOLDER (a Hugging Face checkpoint)", "hub:NAME (downloaded)"]),
            ("verifiers, shipped", verifiers),
            ("verifiers, others", ["FOLDER (made by: system2 train token-verifier)"]),
            ("tasks", [*tasks, f"{PREFIX}NAME (any dataset of reasoning-gym)"]),
        ):
            for number, name in enumerate(names or ["(none)"]):
                say(f"{'' if number else heading:20} {name}")
        return
    finish("", {"policies": policies, "verifiers": verifiers, "tasks": tasks}, as_json=json)
