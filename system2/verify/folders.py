"""Verifier folders: `verifier.json` and safetensors, tied to the policy they were trained for.

A verifier that reads the policy's hidden states is worth nothing on another policy's, and one
for another tokenizer judges other tokens than it is asked about: both are refused by name.

A new kind of verifier is a module with `score` (or a guide's module) that has its `policy`, a
function that makes it of what its folder says, one that says it, and a line in `VERIFIERS`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from system2.core import UserError
from system2.engine.embedded import EMBEDDED_VERIFIERS
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer, read_json
from system2.engine.weights import load_tensors, read_tensors, state_of, write_folder
from system2.verify import advantage, generative, implicit, meta_critic, outcome, process, token
from system2.verify.advantage import AdvantageVerifier
from system2.verify.generative import GenerativeVerifier
from system2.verify.implicit import ImplicitVerifier
from system2.verify.meta_critic import MetaCritic
from system2.verify.outcome import OutcomeVerifier
from system2.verify.process import ProcessVerifier
from system2.verify.token import TokenVerifier

LearnedVerifier: TypeAlias = (
    TokenVerifier
    | OutcomeVerifier
    | ProcessVerifier
    | ImplicitVerifier
    | AdvantageVerifier
    | GenerativeVerifier
    | MetaCritic
)


@dataclass(frozen=True, slots=True)
class VerifierKind:
    """A kind of verifier that can be kept in a folder.

    `made` is its class. `make(policy, described)` returns it for a policy out of what its
    `verifier.json` says, before its weights are loaded, or raises a `UserError` that names the
    field at fault; `describe(verifier)` returns what `make` will need: a "layout" among it,
    "separate" where the verifier reads no hidden states of the policy, so that it may judge
    another policy of the same tokenizer. `changes` are the described fields that may be given
    another value as it is loaded. `command` makes one.
    """

    made: type[nn.Module]
    make: Callable[[LocalPolicy, Mapping[str, Any]], LearnedVerifier]
    describe: Callable[[Any], dict[str, Any]]
    command: str
    changes: tuple[str, ...] = ()


VERIFIERS: dict[str, VerifierKind] = {
    "token": VerifierKind(TokenVerifier, token.made, token.described, "train token-verifier"),
    "outcome": VerifierKind(
        OutcomeVerifier, outcome.made, outcome.described, "train outcome-verifier"
    ),
    "process": VerifierKind(
        ProcessVerifier,
        process.made,
        process.described,
        "train process-verifier",
        changes=("aggregation",),
    ),
    "implicit": VerifierKind(
        ImplicitVerifier, implicit.made, implicit.described, "train implicit-verifier"
    ),
    "pav": VerifierKind(
        AdvantageVerifier,
        advantage.made,
        advantage.described,
        "train advantage-verifier",
        changes=("aggregation", "alpha", "best_of"),
    ),
    "generative": VerifierKind(
        GenerativeVerifier,
        generative.made,
        generative.described,
        "train generative-verifier",
        changes=("chains", "chain_tokens", "temperature", "neighbours", "embedding", "seed"),
    ),
    "meta": VerifierKind(MetaCritic, meta_critic.made, meta_critic.described, "train meta-critic"),
}
"""Every kind of learned verifier, by the `kind` in its folder's `verifier.json`."""


def kind_of(verifier: nn.Module) -> str:
    """Return the name of a verifier's kind. Raises: `ValueError` where it is of none."""
    for name, kind in VERIFIERS.items():
        if type(verifier) is kind.made:
            return name
    raise ValueError(f"{type(verifier).__name__} is no kind of verifier that can be saved")


def tokenizer_print(tokenizer: Tokenizer) -> str:
    """Return a hash of a tokenizer's vocabulary, ids included."""
    vocabulary = sorted(tokenizer.rust.get_vocab(with_added_tokens=True).items())
    return hashlib.blake2b(json.dumps(vocabulary).encode(), digest_size=8).hexdigest()


def policy_print(model: LanguageModel) -> str:
    """Return a hash that tells checkpoints of one shape apart, the same in any dtype.

    Of the first 16 numbers of every parameter, in bfloat16: training moves some of them.
    """
    state = hashlib.blake2b(digest_size=8)
    for name, tensor in state_of(model).items():
        values = tensor.flatten()[:16].to("cpu", torch.bfloat16)
        state.update(name.encode() + values.view(torch.int16).numpy().tobytes())
    return state.hexdigest()


def save_verifier(
    folder: Path,
    verifier: LearnedVerifier,
    tokenizer: Tokenizer,
    *,
    settings: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a verifier folder, whole or not at all.

    `settings` are the alpha and beta to decode with, and the gate that costs no accuracy
    (chosen on validation problems);
    `dtype` None keeps the parameters' own.
    """
    kind = kind_of(verifier)
    description = {
        "kind": kind,
        **VERIFIERS[kind].describe(verifier),
        "settings": dict(settings or {}),
        "tokenizer": tokenizer_print(tokenizer),
        "policy": policy_print(verifier.policy),
        "manifest": dict(manifest or {}),
    }
    tensors: dict[str, Tensor] = state_of(verifier, dtype)
    write_folder(
        folder,
        {
            "verifier.json": json.dumps(description, indent=2).encode(),
            "model.safetensors": tensors,
        },
    )


def write_settings(folder: Path, settings: Mapping[str, Any], note: Mapping[str, Any]) -> None:
    """Write the settings chosen for a verifier into its folder; `note` joins its manifest."""
    described: dict[str, Any] = read_json(folder / "verifier.json")
    described["settings"] = dict(settings)
    described["manifest"] = {**described.get("manifest", {}), **note}
    weights = folder / "model.safetensors"
    content = json.dumps(described, indent=2).encode()
    write_folder(folder, {"verifier.json": content, "model.safetensors": weights})


def find_verifier(name: str) -> Path:
    """Return a verifier's folder: a path, or `tiny/NAME` for one shipped beside `tiny`.

    Raises: `UserError` where there is none.
    """
    folder = Path(name)
    if (folder / "verifier.json").is_file():
        return folder
    shipped = EMBEDDED_VERIFIERS.get(name)
    if shipped is not None and shipped.is_dir():
        return shipped
    known = ", ".join(EMBEDDED_VERIFIERS)
    raise UserError(f"no verifier {name!r}: no verifier.json there (shipped ones: {known})")


def load_verifier(
    name: str, policy: LocalPolicy, *, changes: Mapping[str, object] | None = None
) -> tuple[LearnedVerifier, dict[str, Any]]:
    """Load a verifier for a policy; return it with the settings chosen for it.

    `changes` are given instead of what the folder says (a process verifier's "aggregation").
    Raises: `UserError` where it was trained for another tokenizer or another policy, its
    folder is broken, or it has nothing of that name to change.
    """
    folder = find_verifier(name)
    path = folder / "verifier.json"
    raw = read_json(path)
    if raw.get("tokenizer") != tokenizer_print(policy.tokenizer):
        raise UserError(
            f"{folder}: this verifier was trained for another tokenizer than the policy's; "
            f"train one for this policy (system2 {_command(raw)})"
        )
    kind = VERIFIERS.get(str(raw.get("kind")))
    if kind is None:
        known = ", ".join(VERIFIERS)
        raise UserError(f"{path}: kind {raw.get('kind')!r} is not known; there are {known}")
    for change in changes or {}:
        if change not in kind.changes:
            raise UserError(f"{folder}: a verifier of kind {raw['kind']} has no {change} to change")
    try:
        verifier = kind.make(policy, {**raw, **(changes or {})})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if raw.get("layout") != "separate" and raw.get("policy") != policy_print(policy.model):
        raise UserError(
            f"{folder}: this verifier reads the hidden states of another policy; "
            f"train one for this policy (system2 {kind.command})"
        )
    load_tensors(verifier, folder, read_tensors(folder))
    return verifier.eval(), _settings(raw, path)


def _command(raw: Mapping[str, Any]) -> str:
    """Return the command that makes verifiers of the described kind."""
    kind = VERIFIERS.get(str(raw.get("kind")))
    return "train token-verifier" if kind is None else kind.command


def _settings(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings that a verifier was saved with: alpha, beta and gate checked."""
    settings: object = raw.get("settings") or {}
    if not isinstance(settings, dict):
        raise UserError(f"{path}: settings is no object")
    found = cast(dict[str, Any], settings)
    for name, highest in (("alpha", 1.0), ("beta", math.inf), ("gate", 1.0)):
        value = found.get(name, 0.0)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= highest or value == math.inf:
            raise UserError(f"{path}: {name} is {value!r}, not a number in its range")
    return found
