"""The server answers as decoding offline does, and refuses what it cannot do by its status."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx2
import pytest
import torch

from system2.core import Completion, SampleRequest, SamplingParams
from system2.engine.local import LocalPolicy, load_policy

Post = Callable[..., "httpx2.Response"]


@pytest.fixture(scope="module")
def tiny() -> LocalPolicy:
    return load_policy("tiny")


@pytest.fixture(scope="module")
def post(server: Any) -> Any:
    with server.client() as client:
        yield lambda path, **body: client.post(path, json=body)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def offline(policy: LocalPolicy, text: str, **params: Any) -> Completion:
    request = SampleRequest((policy.tokenizer.prompt(text),), 1, SamplingParams(**params), 5)
    return policy.sample([request])[0][0][0]


def events(response: "httpx2.Response") -> list[dict[str, Any]]:
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_concurrent_greedy_answers_are_those_of_decoding_offline(
    server: Any, tiny: LocalPolicy, questions: list[str]
) -> None:
    bodies = [{"messages": chat(q), "temperature": 0, "max_tokens": 80} for q in questions]
    answers = asyncio.run(server.many("/v1/chat/completions", bodies))
    for question, answer in zip(questions, answers, strict=True):
        drawn = offline(tiny, question, temperature=0, max_tokens=80)
        body = answer.json()
        assert body["choices"][0]["message"]["content"] == tiny.tokenizer.decode(drawn.tokens)
        assert body["usage"]["completion_tokens"] == len(drawn.tokens)
        assert body["usage"]["prompt_tokens"] == len(tiny.tokenizer.prompt(question))
        assert body["choices"][0]["finish_reason"] == (
            "length" if drawn.finish_reason == "length" else "stop"
        )


def test_draws_follow_from_the_seed_and_tell_ids_and_logprobs(
    post: Post, tiny: LocalPolicy, questions: list[str]
) -> None:
    prompts = [tiny.tokenizer.prompt(q) for q in questions[:2]]
    params = SamplingParams(max_tokens=40, temperature=0.8, top_p=0.9, top_k=20, stop=("\n",))
    drawn = tiny.sample([SampleRequest(tuple(prompts), 3, params, 11)])[0]
    body = post(
        "/v1/completions",
        prompt=[list(p) for p in prompts],
        n=3,
        max_tokens=40,
        temperature=0.8,
        top_p=0.9,
        top_k=20,
        stop="\n",
        seed=11,
        logprobs=1,
        return_token_ids=True,
        user="somebody",
        echo=False,
    ).json()
    flat = [one for completions in drawn for one in completions]
    assert [c["index"] for c in body["choices"]] == list(range(6))
    for choice, one in zip(body["choices"], flat, strict=True):
        assert choice["token_ids"] == list(one.tokens)
        assert choice["logprobs"]["token_logprobs"] == pytest.approx(one.logprobs, abs=1e-4)
        assert "".join(choice["logprobs"]["tokens"]) == tiny.tokenizer.decode(one.tokens)
        assert choice["text"] == tiny.tokenizer.decode(one.tokens).partition("\n")[0]
        assert choice["stop_reason"] == ("\n" if one.finish_reason == "stop" else None)


def test_alternatives_are_the_likeliest_of_the_distribution(
    post: Post, tiny: LocalPolicy, questions: list[str]
) -> None:
    prompt = tiny.tokenizer.prompt(questions[0])
    asked = {"n": 2, "max_tokens": 30, "temperature": 0.7, "top_k": 4, "seed": 5}
    told = post("/v1/chat/completions", messages=chat(questions[0]), **asked,
                logprobs=True, top_logprobs=6, return_token_ids=True).json()["choices"]  # fmt: skip
    plain = post("/v1/chat/completions", messages=chat(questions[0]), **asked).json()["choices"]
    assert [c["message"] for c in told] == [c["message"] for c in plain]
    for choice in told:
        ids = choice["token_ids"]
        with torch.inference_mode():
            logits = tiny.model(torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1] / 0.7
        best, which = logits.topk(4)
        for place, entry in enumerate(choice["logprobs"]["content"]):
            others = entry["top_logprobs"]
            assert len(others) == 4  # what top_k leaves out cannot be drawn
            expected = best[place].log_softmax(-1).tolist()
            assert [other["logprob"] for other in others] == pytest.approx(expected, abs=1e-4)
            rank = which[place].tolist().index(ids[place])
            assert (others[rank]["token"], others[rank]["logprob"]) == (
                entry["token"],
                entry["logprob"],
            )


def test_completions_tell_the_drawn_token_beside_the_likeliest(
    post: Post, questions: list[str]
) -> None:
    asked = {"prompt": questions[0], "max_tokens": 30, "temperature": 1.7, "seed": 2}
    (choice,) = post("/v1/completions", **asked, logprobs=2).json()["choices"]
    (none,) = post("/v1/completions", **asked, logprobs=0).json()["choices"]
    told = choice["logprobs"]
    assert told["tokens"] == none["logprobs"]["tokens"]
    sizes = set[int]()
    for token, logprob, others in zip(
        told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
    ):
        assert others[token] == pytest.approx(logprob, abs=1e-6)
        sizes.add(len(others))
        if len(others) == 3:
            assert min(others, key=lambda text: others[text]) == token
    assert sizes == {2, 3}
    assert all(len(others) == 1 for others in none["logprobs"]["top_logprobs"])


@pytest.mark.parametrize("stop", [None, ["\n"], ["So the answer", "= 1"]])
def test_a_stream_is_the_whole_in_pieces(
    post: Post, questions: list[str], stop: list[str] | None
) -> None:
    asked = {"n": 3, "seed": 3, "max_tokens": 60, "stop": stop, "logprobs": True}
    for path, more in (
        ("/v1/chat/completions", {**asked, "messages": chat(questions[0]), "top_logprobs": 2}),
        ("/v1/completions", {**asked, "prompt": questions[0], "logprobs": 3}),
    ):
        whole = post(path, **more).json()
        chunks = events(post(path, stream=True, stream_options={"include_usage": True}, **more))
        assert chunks[-1]["usage"] == whole["usage"]
        for choice in whole["choices"]:
            parts = [c["choices"][0] for c in chunks if c["choices"]]
            parts = [part for part in parts if part["index"] == choice["index"]]
            said = [part["delta"]["content"] if "delta" in part else part["text"] for part in parts]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            assert "".join(said) == text
            assert parts[-1]["finish_reason"] == choice["finish_reason"]
            found = [part["logprobs"] for part in parts if part["logprobs"]]
            name = "content" if "message" in choice else "top_logprobs"
            assert [entry for one in found for entry in one[name]] == choice["logprobs"][name]


BAD: list[tuple[str, dict[str, Any] | bytes, int, str | None]] = [
    ("completions", b"{", 400, None),
    ("completions", b"[" * 200_000, 400, None),
    ("completions", b"[1]", 400, None),
    ("completions", b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", 400, None),
    ("completions", b'{"prompt": "a", "temperature": NaN}', 400, "temperature"),
    ("completions", b'{"prompt": "\\ud800"}', 400, None),
    ("completions", b'{"prompt": "a", "x\\ud800": 1}', 400, None),
    ("completions", b"\xff\xfe", 400, None),
    ("completions", {}, 400, "prompt"),
    ("completions", {"prompt": ""}, 400, "prompt"),
    ("completions", {"prompt": []}, 400, "prompt"),
    ("completions", {"prompt": [[]]}, 400, "prompt"),
    ("completions", {"prompt": [True]}, 400, "prompt"),
    ("completions", {"prompt": [1, -1]}, 400, "prompt"),
    ("completions", {"prompt": [10**9]}, 400, "prompt"),
    ("completions", {"prompt": [3] * 600}, 400, "prompt"),
    ("completions", {"prompt": "a", "max_tokens": "5"}, 400, "max_tokens"),
    ("completions", {"prompt": "a", "max_tokens": 10**6}, 400, "max_tokens"),
    ("completions", {"prompt": "a", "n": 10_000}, 400, "n"),
    ("completions", {"prompt": ["a"] * 1000}, 400, "prompt"),
    ("completions", {"prompt": "a", "temperature": 1e-30}, 400, "temperature"),
    ("completions", {"prompt": "a", "temperature": -1}, 400, "temperature"),
    ("completions", {"prompt": "a", "top_p": 0}, 400, "top_p"),
    ("completions", {"prompt": "a", "top_k": 1 << 70}, 400, "top_k"),
    ("completions", {"prompt": "a", "seed": 1 << 70}, 400, "seed"),
    ("completions", {"prompt": "a", "stop": [""]}, 400, "stop"),
    ("completions", {"prompt": "a", "stop": 3}, 400, "stop"),
    ("completions", {"prompt": "a", "logprobs": 6}, 400, "logprobs"),
    ("completions", {"prompt": "a", "logprobs": 5, "max_tokens": 4096, "n": 99}, 400, "logprobs"),
    ("completions", {"prompt": "a", "echo": True}, 400, "echo"),
    ("completions", {"prompt": "a", "presence_penalty": 1}, 400, "presence_penalty"),
    ("completions", {"prompt": "a", "tempreature": 1}, 400, "tempreature"),
    ("completions", {"prompt": "a", "model": "gpt-9"}, 404, "model"),
    ("chat/completions", {"messages": []}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user"}]}, 400, "messages"),
    ("chat/completions", {"messages": chat("a"), "tools": [{}]}, 400, "tools"),
    ("chat/completions", {"messages": chat("a"), "top_logprobs": 4}, 400, "top_logprobs"),
    ("chat/completions", {"messages": chat("a"), "logprobs": True, "top_logprobs": 21}, 400,
     "top_logprobs"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "no"}}, 400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "best_of_n"}}, 400,
     "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {}}, 400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "greedy", "samples": 2}},
     400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "sample", "width": 2}},
     400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "sample", "samples": 999}},
     400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "mcts", "budget": 1 << 40}},
     400, "system2"),
    ("chat/completions", {"messages": chat("a"), "n": 2, "system2": {"search": "sample"}}, 400,
     "n"),
    ("nothing", {}, 404, None),
]  # fmt: skip


def test_bad_requests_are_refused_by_name(server: Any) -> None:
    with server.client() as client:
        for path, body, status, param in BAD:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            answer = client.post(f"/v1/{path}", content=content, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (status, param), (body, error)
            assert error["message"]
            assert error["type"] in ("invalid_request_error", "not_found_error")
        assert client.get("/v1/completions").status_code == 405
        assert client.post("/v1/completions", content=b"{}").status_code == 415
        headers = {"Content-Type": "application/json"}
        huge = client.post("/v1/completions", content=b" " * (5 << 20), headers=headers)
        assert (huge.status_code, huge.json()["error"]["code"]) == (413, "body_too_large")
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
        assert client.get("/v1/models/tiny").json()["max_model_len"] == 512
        assert client.get("/v1/models/other").status_code == 404


def body_of(**fields: Any) -> bytes:
    return json.dumps({"messages": chat("Tom has 3 apples."), **fields}).encode()


REFUSED: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "malformed": (400, b'{"messages":', {}),
    "too many tokens": (400, body_of(max_tokens=10**6), {}),
    "wrong key": (401, body_of(), {"Authorization": "Bearer other"}),
    "other host": (403, body_of(), {"Host": "evil.example"}),
    "unknown model": (404, body_of(model="gpt-9"), {}),
    "huge": (413, body_of(messages=chat("a " * 600_000)), {}),
}
KINDS = ("greedy", "stream", "sample", "alternatives", "search", "cancelled", *REFUSED)
CROWD = 26 * len(KINDS)


async def one_of_a_crowd(client: "httpx2.AsyncClient", i: int, question: str) -> Any:
    """Send a request of one of many kinds; return what came of it."""
    path, kind = "/v1/chat/completions", KINDS[i % len(KINDS)]
    if kind in REFUSED:
        _, content, headers = REFUSED[kind]
        headers = {"Content-Type": "application/json", **headers}
        answer = await client.post(path, content=content, headers=headers)
        assert answer.json()["error"]["message"]
        return answer.status_code
    body: dict[str, Any] = {"messages": chat(question), "max_tokens": 60, "temperature": 0}
    if kind == "cancelled":
        body |= {"n": 8, "max_tokens": 400, "temperature": 100, "stream": i % 24 < 12}
        hurry = httpx2.Timeout(None, read=0.2)
        with pytest.raises(httpx2.ReadTimeout):
            async with client.stream("POST", path, json=body, timeout=hurry):
                raise httpx2.ReadTimeout("enough")  # once it streams
        return None
    if kind == "stream":
        text = ""
        async with client.stream("POST", path, json={**body, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"]["content"]
        return text
    body |= {
        "sample": {"temperature": 1, "n": 2, "seed": i},
        "alternatives": {"logprobs": True, "top_logprobs": 3},
        "search": {"temperature": 1, "system2": {"search": "sample", "samples": 2}},
    }.get(kind, {})
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    texts = [choice["message"]["content"] for choice in answer.json()["choices"]]
    return texts[0] if body["temperature"] == 0 else len(texts)


async def crowd(server: Any, questions: list[str]) -> list[Any]:
    async with server.crowd() as client:
        return await asyncio.gather(
            *(one_of_a_crowd(client, i, questions[i // len(KINDS)]) for i in range(CROWD))
        )


def test_a_crowd_loses_no_request_and_leaves_no_memory_behind(
    server: Any, tiny: LocalPolicy, questions: list[str]
) -> None:
    prompts = [tiny.tokenizer.prompt(q) for q in questions]
    params = SamplingParams(max_tokens=60, temperature=0)
    drawn = tiny.sample([SampleRequest(tuple(prompts), 1, params, 0)])[0]
    greedy = [tiny.tokenizer.decode(one.tokens) for (one,) in drawn]
    other = {kind: status for kind, (status, _, _) in REFUSED.items()}
    other |= {"cancelled": None, "sample": 2, "search": 1}
    expected = [other.get(KINDS[i % len(KINDS)], greedy[i // len(KINDS)]) for i in range(CROWD)]
    sizes, counts = list[int](), list[float]()
    for _ in range(6):
        assert asyncio.run(crowd(server, questions)) == expected
        assert server.comes_to_rest()
        sizes.append(server.rss())
        counted = server.counts("requests_total")
        counts.append(sum(n for labels, n in counted.items() if "/v1/chat" in labels))
    assert [b - a for a, b in pairwise(counts)] == [CROWD] * 5
    assert server.gauge("cancelled_total") > 0
    growth = [b - a for a, b in pairwise(sizes[1:])]  # the first two rounds fill the caches
    assert min(growth) < 1 << 20, sizes  # what leaks, leaks every round
    assert sum(growth) < 96 << 20, sizes  # a round may have more at once than those before


def test_other_names_are_refused_on_loopback(server: Any) -> None:
    with server.client() as client:
        for host, status in (
            ("localhost", 200), ("LOCALHOST.:80", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200),
            ("evil.example", 403), ("127.0.0.1.evil.example:80", 403), ("[::1].evil", 403),
            ("", 403), ("inside.example", 403),
        ):  # fmt: skip
            answer = client.get("/health", headers={"Host": host})
            assert answer.status_code == status, host
        assert answer.json()["error"]["code"] == "host_not_allowed"


def test_a_client_that_goes_away_frees_its_rows(server: Any, questions: list[str]) -> None:
    before = server.gauge("cancelled_total")
    body = {"prompt": questions[0], "max_tokens": 400, "n": 64, "temperature": 100}
    hurry = httpx2.Timeout(60, read=0.3)
    with server.client(hurry) as client:
        with pytest.raises(httpx2.ReadTimeout):
            _ = client.post("/v1/completions", json=body)
        assert server.comes_to_rest()
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            assert next(answer.iter_lines()).startswith("data: {")
        assert server.comes_to_rest()
    assert server.gauge("cancelled_total") == before + 2


def test_a_full_queue_says_when_to_come_again(small: Any, questions: list[str]) -> None:
    bodies = [{"prompt": q, "max_tokens": 200, "temperature": 3, "n": 8} for q in questions[:20]]

    answers = asyncio.run(small.many("/v1/completions", bodies))
    full = [one for one in answers if one.status_code == 429]
    assert 0 < len(full) < 20
    assert all(one.headers["Retry-After"] == "1" for one in full)
    assert all(one.json()["error"]["type"] == "rate_limit_error" for one in full)
    assert len([one for one in answers if one.status_code == 200]) == 20 - len(full)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        answer = httpx2.post(f"{small.url}/v1/completions", json=bodies[0], headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{small.url}/metrics").status_code == 401
    for host, status in (("b.example:80", 200), ("inside.example", 200), ("c.example", 403)):
        answer = httpx2.get(f"{small.url}/health", headers={"Host": host})
        assert answer.status_code == status


def test_where_the_model_fails_the_server_lives_on(
    start: Any, small_tokenizer: Any, tmp_path: Any
) -> None:
    from system2.engine.model import LanguageModel, ModelConfig, initialise
    from system2.engine.weights import save_model

    shape = ModelConfig(small_tokenizer.vocab_size, 32, 2, 4, 2, 8, 64, has_tied_head=False)
    model = LanguageModel(shape)
    initialise(model, 0)
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = float("nan")
    save_model(tmp_path / "broken", model, small_tokenizer.folder)
    server = start("--policy", tmp_path / "broken")
    good, bad = {"prompt": [6, 7], "max_tokens": 3, "temperature": 0}, {"prompt": [6, 5]}
    with server.client() as client:
        before = client.post("/v1/completions", json=good).json()["choices"]
        for more in ({}, {"stream": True}):
            answer = client.post("/v1/completions", json=bad | more)
            assert answer.status_code == 500
            assert "not finite" in answer.json()["error"]["message"]
        assert client.post("/v1/completions", json=good).json()["choices"] == before
    assert server.gauge("decoder_failures_total") == 2
    assert server.stop(signal.SIGINT) == 0


def test_the_command_refuses_in_one_line(tmp_path: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, named in (
            (["--port", port], f"port {port}"),
            (["--policy", str(tmp_path)], str(tmp_path)),
            (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
            (["--beta", "1"], "--beta"),
            (["--port", "70000"], "--port"),
            (["--allowed-host", "http://a.example"], "--allowed-host"),
        ):
            command = [sys.executable, "-m", "system2", "serve", *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout) == (2, "")
            (line,) = done.stderr.splitlines()
            assert line.startswith("system2: error: ")
            assert named in line
