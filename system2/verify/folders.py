"""Verifier folders: `verifier.json` and safetensors, tied to the policy they were trained for.

A verifier that reads the policy's hidden states is worth nothing on another policy's, and one
for another tokenizer judges other tokens than it is asked about: both are refused by name.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from system2.core import UserError
from system2.engine.embedded import EMBEDDED_VERIFIERS
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer, read_json
from system2.engine.weights import load_tensors, read_tensors, state_of, write_folder
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import LAYOUTS, TokenVerifier

LearnedVerifier: TypeAlias = TokenVerifier | OutcomeVerifier


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
    is_token = isinstance(verifier, TokenVerifier)
    description = {
        "kind": "token" if is_token else "outcome",
        "layout": verifier.layout if is_token else None,
        "num_adapted": verifier.top.num_adapted,
        "settings": dict(settings or {}),
        "tokenizer": tokenizer_print(tokenizer),
        "policy": policy_print(verifier.top.policy),
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


def load_verifier(name: str, policy: LocalPolicy) -> tuple[LearnedVerifier, dict[str, Any]]:
    """Load a verifier for a policy; return it with the settings chosen for it.

    Raises: `UserError` where it was trained for another tokenizer or another policy, or its
    folder is broken.
    """
    folder = find_verifier(name)
    path = folder / "verifier.json"
    raw = read_json(path)
    model = policy.model
    if raw.get("tokenizer") != tokenizer_print(policy.tokenizer):
        raise UserError(
            f"{folder}: this verifier was trained for another tokenizer than the policy's; "
            "train one for this policy (system2 train token-verifier)"
        )
    kind, layout, count = raw.get("kind"), raw.get("layout"), raw.get("num_adapted")
    if not isinstance(count, int) or isinstance(count, bool):
        raise UserError(f"{path}: num_adapted is {count!r}, not a whole number")
    if kind == "token" and layout in LAYOUTS:
        verifier: LearnedVerifier = TokenVerifier(model, layout, count)
    elif kind == "outcome":
        verifier = OutcomeVerifier(model, count)
    else:
        raise UserError(f"{path}: kind {kind!r} with layout {layout!r} is not known")
    if layout != "separate" and raw.get("policy") != policy_print(model):
        raise UserError(
            f"{folder}: this verifier reads the hidden states of another policy; "
            "train one for this policy (system2 train token-verifier)"
        )
    load_tensors(verifier, folder, read_tensors(folder))
    return verifier.eval(), _settings(raw, path)


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
