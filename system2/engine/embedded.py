"""What is shipped inside the package, by name; light to import."""

from pathlib import Path

_TINY = Path(__file__).parent.parent / "tiny"
_COUNTDOWN = Path(__file__).parent.parent / "tiny_countdown"

EMBEDDED = {
    "tiny": _TINY / "base",
    "tiny-amateur": _TINY / "amateur",
    "tiny-sft": _TINY / "sft_control",
    "tiny-countdown": _COUNTDOWN / "base",
}
"""Checkpoints: the embedded model, a weaker one for contrast, the control of equal compute, and
the same model fine-tuned on Countdown, for searches."""

EMBEDDED_VERIFIERS = {
    f"tiny/{name}": _TINY / "verifiers" / name
    for name in ("separate", "shared", "vocab", "outcome")
}
"""Verifiers of `tiny`: a token verifier of each layout, and an outcome verifier."""
