"""The server answers as decoding offline does, and refuses what it cannot do by its status."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import torch

from system2.core import Completion, Problem, SampleRequest, SamplingParams
from system2.engine.local import LocalPolicy, load_policy
from system2.evaluate.solve import SolveConfig
from system2.run import run
from system2.tree import Tree

Post = Callable[..., "httpx2.Response"]


@pytest.fixture(scope="module")
def tiny() -> LocalPolicy:
    return load_policy("tiny")


@pytest.fixture(scope="module")
def post(server: Any) -> Any:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
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


async def many(url: str, path: str, bodies: list[dict[str, Any]]) -> list["httpx2.Response"]:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        return await asyncio.gather(*(client.post(path, json=body) for body in bodies))


def test_concurrent_greedy_answers_are_those_of_decoding_offline(
    server: Any, tiny: LocalPolicy, questions: list[str]
) -> None:
    bodies = [{"messages": chat(q), "temperature": 0, "max_tokens": 80} for q in questions]
    answers = asyncio.run(many(server.url, "/v1/chat/completions", bodies))
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


@pytest.mark.parametrize("stop", [None, ["\n"], ["So the answer", "= 1"]])
def test_a_stream_is_the_whole_in_pieces(
    post: Post, questions: list[str], stop: list[str] | None
) -> None:
    asked = {"n": 3, "seed": 3, "max_tokens": 60, "stop": stop, "logprobs": True}
    for path, more in (
        ("/v1/chat/completions", {**asked, "messages": chat(questions[0])}),
        ("/v1/completions", {**asked, "prompt": questions[0], "logprobs": 0}),
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
            assert sum(len(one.get("content", one.get("tokens"))) for one in found) == len(
                choice["logprobs"].get("content", choice["logprobs"].get("tokens"))
            )


def test_a_search_finds_what_it_finds_offline(
    post: Post, tiny: LocalPolicy, questions: list[str]
) -> None:
    for search in ({"search": "greedy"}, {"search": "sample", "samples": 6, "budget": 200}):
        body = post(
            "/v1/chat/completions",
            messages=chat(questions[1]),
            seed=9,
            max_tokens=60,
            system2=search,
        ).json()
        tree = Tree(Problem("x", "", "", ""), 9, tiny.tokenizer.prompt(questions[1]))
        config = SolveConfig(search["search"], int(search.get("samples", 1)), max_tokens=60)
        run([(tree, config.steps(tree, "\n"))], tiny, budget=search.get("budget"))  # type: ignore
        assert body["usage"]["completion_tokens"] == tree.sampled_tokens
        assert body["system2"]["num_attempts"] == int(search.get("samples", 1))
        texts = {tiny.tokenizer.decode(tree.completion(leaf)) for leaf in tree.leaves()}
        assert body["choices"][0]["message"]["content"] in texts


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
    ("completions", {"prompt": "a", "logprobs": 5}, 400, "logprobs"),
    ("completions", {"prompt": "a", "echo": True}, 400, "echo"),
    ("completions", {"prompt": "a", "presence_penalty": 1}, 400, "presence_penalty"),
    ("completions", {"prompt": "a", "tempreature": 1}, 400, "tempreature"),
    ("completions", {"prompt": "a", "model": "gpt-9"}, 404, "model"),
    ("chat/completions", {"messages": []}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user"}]}, 400, "messages"),
    ("chat/completions", {"messages": chat("a"), "tools": [{}]}, 400, "tools"),
    ("chat/completions", {"messages": chat("a"), "top_logprobs": 4}, 400, "top_logprobs"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "no"}}, 400, "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {"search": "best_of_n"}}, 400,
     "system2"),
    ("chat/completions", {"messages": chat("a"), "system2": {}}, 400, "system2"),
    ("chat/completions", {"messages": chat("a"), "n": 2, "system2": {"search": "sample"}}, 400,
     "n"),
    ("nothing", {}, 404, None),
]  # fmt: skip


def test_bad_requests_are_refused_by_name(server: Any) -> None:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
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


def gauge(url: str, name: str) -> float:
    text = httpx2.get(f"{url}/metrics").text
    found = re.search(rf"^system2_{name} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def comes_to_rest(url: str) -> bool:
    deadline = time.monotonic() + 30
    while gauge(url, "requests_open") or gauge(url, "draws_live"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def one_of_a_crowd(client: "httpx2.AsyncClient", i: int, question: str) -> tuple[str, Any]:
    """Send a request of one of six kinds; return what it was and what came of it."""
    path, body = "/v1/chat/completions", {"messages": chat(question), "max_tokens": 60}
    kind = ("greedy", "stream", "sample", "malformed", "huge", "cancelled")[i % 6]
    if kind == "malformed":
        headers = {"Content-Type": "application/json"}
        return kind, (await client.post(path, content=b'{"messages":', headers=headers)).status_code
    if kind == "huge":
        return kind, (await client.post(path, json={"messages": chat("a " * 600_000)})).status_code
    if kind == "cancelled":
        body |= {"n": 8, "max_tokens": 400, "temperature": 100, "stream": i % 12 == 5}
        hurry = httpx2.Timeout(None, read=0.2)
        with pytest.raises(httpx2.ReadTimeout):
            async with client.stream("POST", path, json=body, timeout=hurry):
                raise httpx2.ReadTimeout("enough")  # once it streams
        return kind, None
    body |= {"temperature": 0} if kind != "sample" else {"n": 2, "seed": i}
    if kind == "stream":
        text = ""
        async with client.stream("POST", path, json={**body, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"]["content"]
        return kind, text
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return kind, [choice["message"]["content"] for choice in answer.json()["choices"]]


async def crowd(url: str, questions: list[str], size: int) -> list[tuple[str, Any]]:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        return await asyncio.gather(
            *(one_of_a_crowd(client, i, questions[i % len(questions)]) for i in range(size))
        )


def test_a_crowd_loses_no_request_and_leaves_no_memory_behind(
    server: Any, tiny: LocalPolicy, questions: list[str]
) -> None:
    prompts = [tiny.tokenizer.prompt(q) for q in questions]
    params = SamplingParams(max_tokens=60, temperature=0)
    drawn = tiny.sample([SampleRequest(tuple(prompts), 1, params, 0)])[0]
    greedy = [tiny.tokenizer.decode(one.tokens) for (one,) in drawn]
    sizes = list[int]()
    for _ in range(4):
        outcomes = asyncio.run(crowd(server.url, questions, 300))
        for i, (kind, outcome) in enumerate(outcomes):
            expected = {
                "malformed": 400,
                "huge": 413,
                "greedy": [greedy[i % 60]],
                "cancelled": None,
            }
            expected["stream"] = greedy[i % 60]
            if kind == "sample":
                assert len(outcome) == 2
            else:
                assert outcome == expected[kind], kind
        assert comes_to_rest(server.url)
        sizes.append(server.rss())
    assert gauge(server.url, "cancelled_total") > 0
    assert sizes[-1] - sizes[1] < 16 << 20, sizes  # two rounds to fill the caches


def test_a_client_that_goes_away_frees_its_rows(server: Any, questions: list[str]) -> None:
    before = gauge(server.url, "cancelled_total")
    body = {"prompt": questions[0], "max_tokens": 400, "n": 64, "temperature": 100}
    hurry = httpx2.Timeout(60, read=0.3)
    with httpx2.Client(base_url=server.url, timeout=hurry) as client:
        with pytest.raises(httpx2.ReadTimeout):
            _ = client.post("/v1/completions", json=body)
        assert comes_to_rest(server.url)
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            assert next(answer.iter_lines()).startswith("data: {")
        assert comes_to_rest(server.url)
    assert gauge(server.url, "cancelled_total") == before + 2


def test_a_full_queue_says_when_to_come_again(start: Any, questions: list[str]) -> None:
    server = start("--max-requests", 3, "--api-key", "secret", "--name", "mine")
    bodies = [{"prompt": q, "max_tokens": 200, "temperature": 3, "n": 8} for q in questions[:20]]

    async def asked() -> list["httpx2.Response"]:
        headers = {"Authorization": "Bearer secret"}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
            posts = (client.post("/v1/completions", json=body) for body in bodies)
            return await asyncio.gather(*posts)

    answers = asyncio.run(asked())
    full = [one for one in answers if one.status_code == 429]
    assert 0 < len(full) < 20
    assert all(one.headers["Retry-After"] == "1" for one in full)
    assert all(one.json()["error"]["type"] == "rate_limit_error" for one in full)
    assert len([one for one in answers if one.status_code == 200]) == 20 - len(full)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        answer = httpx2.post(f"{server.url}/v1/completions", json=bodies[0], headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{server.url}/metrics").status_code == 401
    assert httpx2.get(f"{server.url}/health").status_code == 200
    assert server.stop(signal.SIGINT) == 0


def test_told_to_end_it_answers_what_is_under_way(start: Any, questions: list[str]) -> None:
    server = start()
    bodies = [{"prompt": q, "max_tokens": 200, "temperature": 100, "n": 2} for q in questions[:16]]

    async def asked() -> list["httpx2.Response"]:
        answers = asyncio.create_task(many(server.url, "/v1/completions", bodies))
        while await asyncio.to_thread(gauge, server.url, "requests_open") < 16:
            assert not answers.done()
            await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        return await answers

    assert [one.status_code for one in asyncio.run(asked())] == [200] * 16
    assert server.process.wait(60) == 0
    with pytest.raises(httpx2.ConnectError):
        _ = httpx2.get(f"{server.url}/health")


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
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        before = client.post("/v1/completions", json=good).json()["choices"]
        for more in ({}, {"stream": True}):
            answer = client.post("/v1/completions", json=bad | more)
            assert answer.status_code == 500
            assert "not finite" in answer.json()["error"]["message"]
        assert client.post("/v1/completions", json=good).json()["choices"] == before
    assert gauge(server.url, "decoder_failures_total") == 2
    assert server.stop() == 0


def test_the_command_refuses_in_one_line(tmp_path: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, named in (
            (["--port", port], f"port {port}"),
            (["--policy", str(tmp_path)], str(tmp_path)),
            (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
            (["--beta", "1"], "--beta"),
            (["--port", "70000"], "--port"),
        ):
            command = [sys.executable, "-m", "system2", "serve", *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout) == (2, "")
            (line,) = done.stderr.splitlines()
            assert line.startswith("system2: error: ")
            assert named in line
