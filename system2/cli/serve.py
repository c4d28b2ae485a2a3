"""`system2 serve`: a policy, its verifier and searches behind the OpenAI API."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.options import (
    Count,
    Gate,
    Json,
    Judge,
    NonNegative,
    Plausible,
    Verifiers,
    Weight,
    check_scored,
)
from system2.cli.terminal import finish
from system2.core import UserError

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def serve(
    *,
    policy: str = "tiny",
    verifier: Verifiers = (),
    judge: Judge = "product",
    alpha: Plausible = None,
    beta: Weight = None,
    gate: Gate = 1.0,
    host: str = "127.0.0.1",
    port: Port = 8000,
    allowed_host: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    api_key: Annotated[str | None, Parameter(env_var="SYSTEM2_API_KEY")] = None,
    name: str | None = None,
    batch: Count = 64,
    cache_bytes: Annotated[int, Parameter(validator=Number(gte=0))] = 256 << 20,
    max_requests: Count = 512,
    max_tokens: Count = 4096,
    max_choices: Count = 128,
    max_prompt_tokens: Count | None = None,
    max_body_bytes: Count = 1 << 20,
    shutdown_s: NonNegative = 30.0,
    json: Json = False,
) -> None:
    """Serve a policy, with its verifier and searches, over the OpenAI API.

    Ends by Ctrl-C or SIGTERM, when what is under way has been answered.

    Parameters
    ----------
    policy
        tiny, a checkpoint folder, or hub:NAME.
    verifier
        A verifier's folder, or tiny/NAME for one shipped with tiny (repeatable). A token
        verifier (LLM2) guides every completion; others judge what searches find.
    host
        The address to listen on (default: this machine alone).
    port
        The port; 0 picks a free one.
    allowed_host
        A name that requests may call this server by, where it listens to this machine alone,
        beside localhost (repeatable). Given where it listens to others, it answers to no other.
    api_key
        What clients have to send as their key (default: none is asked for).
    name
        The model's name in requests (default: the last part of --policy).
    batch
        Rows decoded at a time.
    cache_bytes
        Memory for earlier texts, so that what goes on from them is not run again.
    max_requests
        Requests waiting or under way; more are told to come later (429).
    max_tokens
        The longest completion that may be asked for.
    max_choices
        Completions that one request may ask for.
    max_prompt_tokens
        The longest prompt (default: what the model has room for).
    max_body_bytes
        The largest request.
    shutdown_s
        Seconds that requests under way have to end when the server is told to.
    json
        Print the address as one JSON object.
    """
    _check_installed()
    from system2.serve.address import bind, hosts_of, url_of

    _check_key(api_key)
    check_scored(verifier, beta, gate)
    with bind(host, port) as bound:
        url, hosts = url_of(bound), hosts_of(bound, allowed_host)
        from system2.engine.local import load_policy
        from system2.evaluate.solve import equip
        from system2.serve.requests import Limits
        from system2.serve.server import serve as run

        loaded = replace(load_policy(policy, max_rows=batch), cache_bytes=cache_bytes)
        guided, judged = equip(loaded, verifier, judge=judge, alpha=alpha, beta=beta, gate=gate)
        called = name or policy.removeprefix("hub:").rstrip("/").rpartition("/")[2]
        limits = Limits(
            max_body_bytes=max_body_bytes,
            max_prompt_tokens=max_prompt_tokens,
            max_tokens=max_tokens,
            max_choices=max_choices,
            max_requests=max_requests,
        )
        run(
            guided,
            bound,
            name=called,
            limits=limits,
            verifier=judged,
            hosts=hosts,
            api_key=api_key,
            shutdown_s=shutdown_s,
            on_ready=lambda: finish(
                f"listening on {url} (model {called})", {"url": url, "model": called}, as_json=json
            ),
        )


def _check_installed() -> None:
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"{missing[0]} is missing; pip install 'system2[serve]'")


def _check_key(api_key: str | None) -> None:
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
        raise UserError("--api-key has to be letters, digits and signs of ASCII")
