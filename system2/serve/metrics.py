"""Counters of the server as Prometheus reads them."""

from collections import Counter
from dataclasses import dataclass, field

from system2.serve.loop import DecoderLoop

PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/models", "/health", "/metrics")
"""Paths that are counted by name; all others are "other", for their number has no bound."""


@dataclass(slots=True)
class Metrics:
    """What was answered so far: requests and seconds by path, tokens."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_gone: int = 0

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count one request that has ended."""
        known = path if path in PATHS else "other"
        self.requests[known, status] += 1
        self.seconds[known] = self.seconds.get(known, 0.0) + seconds

    def text(self, loop: DecoderLoop) -> str:
        """Return all that is counted, in Prometheus's text format."""
        load = loop.load
        by_status = {
            f'{{path="{path}",status="{status}"}}': float(count)
            for (path, status), count in sorted(self.requests.items())
        }
        seconds = {f'{{path="{path}"}}': s for path, s in sorted(self.seconds.items())}
        reused = load.positions_requested - load.positions_computed
        rows: list[tuple[str, str, str, dict[str, float]]] = [
            ("requests_total", "counter", "Requests answered.", by_status),
            ("request_seconds_total", "counter", "Seconds from head to end of answer.", seconds),
            ("cancelled_total", "counter", "Requests whose client went away.", _one(self.num_gone)),
            ("prompt_tokens_total", "counter", "Tokens of prompts.", _one(self.prompt_tokens)),
            ("completion_tokens_total", "counter", "Tokens drawn.", _one(self.completion_tokens)),
            ("positions_requested_total", "counter", "Positions asked for.",
             _one(load.positions_requested)),
            ("positions_computed_total", "counter", "Positions run.",
             _one(load.positions_computed)),
            ("positions_reused_total", "counter", "Positions found or shared.",
             _one(max(0, reused))),
            ("decoder_failures_total", "counter", "Decoding steps that failed.",
             _one(load.num_failures)),
            ("requests_open", "gauge", "Requests waiting or under way.", _one(loop.num_requests)),
            ("draws_waiting", "gauge", "Draws that have not begun.", _one(load.num_waiting)),
            ("draws_live", "gauge", "Draws under way.", _one(load.num_live)),
        ]  # fmt: skip
        lines: list[str] = []
        for name, kind, says, values in rows:
            lines += [f"# HELP system2_{name} {says}", f"# TYPE system2_{name} {kind}"]
            lines += [f"system2_{name}{labels} {value:.15g}" for labels, value in values.items()]
        return "\n".join(lines) + "\n"


def _one(value: float) -> dict[str, float]:
    return {"": float(value)}
