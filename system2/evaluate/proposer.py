"""Who proposes and who judges, by the names that a command line gives them.

Place in the flow: options -> `Proposer` (small enough to be sent to another process) -> the
policy and the verifier that `solve` is given.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from system2.core import Task, UserError, Verifier
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.remote import RemotePolicy, is_remote, load_remote
from system2.engine.tokenizer import read_json
from system2.engine.weights import find_checkpoint, weight_files
from system2.evaluate.solve import equip
from system2.verify.combined import JudgeRule, combine
from system2.verify.exact import EXACT_VERIFIERS, exact_verifier
from system2.verify.folders import find_verifier

Loaded: TypeAlias = LocalPolicy | RemotePolicy


@dataclass(frozen=True, slots=True)
class Proposer:
    """A policy, what guides it and who judges what it finds.

    `policy` is tiny, a checkpoint folder, hub:NAME or a server's URL (which needs `tokenizer`);
    `verifiers`, `judge`, `alpha`, `beta` and `gate` are those of `equip`; `batch` rows are
    decoded at a time.
    """

    policy: str = "tiny"
    tokenizer: str | None = None
    verifiers: tuple[str, ...] = ()
    judge: JudgeRule = "product"
    alpha: float | None = None
    beta: float | None = None
    gate: float = 1.0
    batch: int = 64

    def load(self, task: Task) -> tuple[Loaded, Verifier | None]:
        """Return the policy, here or on a server, and who judges (None: nobody).

        Raises: `UserError` where a name leads nowhere, or a learned verifier is to work inside
        a server's policy.
        """
        if not is_remote(self.policy):
            if self.tokenizer is not None:
                raise UserError(f"--tokenizer is for servers; {self.policy} brings its own")
            return equip(
                load_policy(self.policy, max_rows=self.batch),
                self.verifiers,
                task=task,
                judge=self.judge,
                alpha=self.alpha,
                beta=self.beta,
                gate=self.gate,
            )
        if self.alpha is not None or any(n not in EXACT_VERIFIERS for n in self.verifiers):
            raise UserError(
                "a verifier works inside the policy, which a server keeps to itself; "
                "give it to the server: system2 serve --verifier"
            )
        key = os.environ.get("SYSTEM2_API_KEY") or os.environ.get("OPENAI_API_KEY")
        remote = load_remote(self.policy, self.tokenizer, api_key=key, concurrency=self.batch)
        judges = {name: exact_verifier(name, task, remote.tokenizer) for name in self.verifiers}
        return remote, combine(judges, self.judge, remote.tokenizer)

    def files(self) -> list[Path]:
        """Return the files of all weights that its draws and values depend on."""
        policy: list[Path] = []
        if not is_remote(self.policy):
            folder = find_checkpoint(self.policy)
            policy = [folder / "config.json", *weight_files(folder)]
        return [*policy, *verifier_files(self.verifiers)]


def verifier_files(names: Sequence[str]) -> list[Path]:
    """Return the files that verifiers are made of; exact ones have none. Raises: `UserError`."""
    folders = [find_verifier(name) for name in names if name not in EXACT_VERIFIERS]
    return [
        path for folder in folders for path in (folder / "verifier.json", *weight_files(folder))
    ]


def guides(name: str) -> bool:
    """Whether a verifier judges tokens, and so guides decoding, where others judge what is found.

    Raises: `UserError` where there is no verifier of the name.
    """
    if name in EXACT_VERIFIERS:
        return False
    return read_json(find_verifier(name) / "verifier.json").get("kind") == "token"
