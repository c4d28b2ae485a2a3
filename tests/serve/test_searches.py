"""A policy with its verifier behind a real server: searches, guided answers, the end of both."""

import asyncio
import json
import signal
import socket
import time
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import pytest

from system2.core import Problem, SampleRequest, SamplingParams, Verifier
from system2.engine.local import LocalPolicy, load_policy
from system2.evaluate.reading import Reading
from system2.evaluate.solve import SolveConfig, equip
from system2.run import run
from system2.search import SCORED_SEARCHES
from system2.select import SELECTIONS
from system2.tasks import find_task
from system2.tree import Tree

SHUTDOWN_S = 1
SEARCHES: list[dict[str, Any]] = [
    {"search": "greedy"},
    {"search": "best_of_n", "samples": 6},
    {"search": "best_of_n", "samples": 4, "select": "weighted_majority"},
    {"search": "beam", "width": 2, "branch": 3, "max_depth": 4, "budget": 150},
    {"search": "best_first", "branch": 2, "iterations": 9},
    {"search": "mcts", "branch": 2, "iterations": 4, "formula": "puct", "exploration": 0.5},
    {"search": "majority", "samples": 5},
    {"search": "adaptive_consistency", "samples": 9},
    {"search": "weighted_majority", "samples": 5, "accept": 0.99},
    {"search": "revision", "samples": 3, "window": 2},
    {"search": "meta", "samples": 3, "budget": 200},
    {"search": "diverse_beam", "width": 2, "branch": 2, "max_depth": 4},
    {"search": "lookahead", "width": 2, "branch": 2, "max_depth": 4, "lookahead": 1},
    {"search": "astar", "branch": 2, "iterations": 5, "weight": 2.0},
    {"search": "dfs", "branch": 2, "iterations": 5, "prune": 0.1},
    {"search": "particle", "width": 4, "max_depth": 4, "resample_temperature": 0.5},
]


@pytest.fixture(scope="module")
def judging(start: Any) -> Any:
    """A server whose verifier scores attempts."""
    return start("--verifier", "tiny/outcome", "--shutdown-s", SHUTDOWN_S)


@pytest.fixture(scope="module")
def guiding(start: Any) -> Any:
    """A server whose verifier guides every token."""
    return start("--verifier", "tiny/vocab", "--beta", "0.5")


@pytest.fixture(scope="module")
def judged() -> tuple[LocalPolicy, Verifier]:
    policy, verifier = equip(load_policy("tiny"), "tiny/outcome")
    assert verifier is not None
    return policy, verifier


def body_of(question: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], **fields}


def ask(client: "httpx2.Client", question: str, **fields: Any) -> "httpx2.Response":
    return client.post("/v1/chat/completions", json=body_of(question, **fields))


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["search"])
def test_a_search_finds_what_it_finds_offline(
    judging: Any, judged: tuple[LocalPolicy, Verifier], questions: list[str], search: dict[str, Any]
) -> None:
    policy, verifier = judged
    task = find_task("word_problems")
    with judging.client() as client:
        asked = {"seed": 9, "max_tokens": 60, "system2": search}
        answer = ask(client, questions[1], **asked)
        pieces = ask(
            client, questions[1], **asked, stream=True, stream_options={"include_usage": True}
        )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    tree = Tree(Problem("x", "", "", ""), 9, policy.tokenizer.prompt(questions[1]))
    dials = {dial: value for dial, value in search.items() if dial not in ("select", "budget")}
    config = replace(SolveConfig(max_tokens=60), **dials)
    tokenizer = policy.tokenizer
    reading = Reading(
        tokenizer, questions[1], tokenizer.prompt, partial(task.answer_of, tree.problem), "\n"
    )
    steps = config.steps(tree, "\n", reading)
    run([(tree, steps)], policy, verifier, budget=search.get("budget"))
    texts = {leaf: policy.tokenizer.decode(tree.completion(leaf)) for leaf in tree.leaves()}

    def answer_of(leaf: int) -> str | None:
        return task.answer_of(tree.problem, texts[leaf])

    selection = search.get("select") or config.selection
    chosen = SELECTIONS[selection](tree, answer_of)
    assert chosen is not None
    assert body["choices"][0]["message"]["content"] == texts[chosen]
    assert body["usage"]["completion_tokens"] == tree.sampled_tokens <= search.get("budget", 10**9)
    told = body["system2"]
    assert (told["answer"], told["num_attempts"]) == (answer_of(chosen), len(texts))
    if search["search"] in SCORED_SEARCHES:
        assert told["value"] == pytest.approx(tree.nodes[chosen].value, abs=1e-4)

    *said, done = pieces.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    comments = [one for one in said if one.startswith(":")]
    assert comments[-1] == f": {tree.sampled_tokens} tokens sampled"
    text, end, spent = (json.loads(one.removeprefix("data: ")) for one in said[len(comments) :])
    assert text["choices"][0]["delta"]["content"] == texts[chosen]
    assert (end["system2"], spent["usage"]) == (told, body["usage"])
    assert end["choices"][0]["finish_reason"] == body["choices"][0]["finish_reason"]


def test_a_search_that_nobody_waits_for_ends(judging: Any, questions: list[str]) -> None:
    before = judging.gauge("cancelled_total")
    search = {"search": "mcts", "iterations": 1000, "max_depth": 1000}
    for stream in (False, True):
        hurry = httpx2.Timeout(60, read=0.5)
        body = body_of(questions[0], temperature=50, system2=search, stream=stream)
        with (
            pytest.raises(httpx2.ReadTimeout),
            judging.client(hurry) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            raise httpx2.ReadTimeout(next(answer.iter_lines()))  # once it streams
        assert judging.comes_to_rest()
    assert judging.gauge("cancelled_total") == before + 2


def test_guided_answers_are_those_of_decoding_offline(guiding: Any, questions: list[str]) -> None:
    plain = load_policy("tiny")
    guided, _ = equip(plain, "tiny/vocab", beta=0.5)
    prompts = tuple(guided.tokenizer.prompt(question) for question in questions)
    request = SampleRequest(prompts, 1, SamplingParams(80, temperature=0), 0)
    drawn = [one for (one,) in guided.sample([request])[0]]
    bodies = [
        body_of(question, temperature=0, max_tokens=80, logprobs=True, top_logprobs=i % 3)
        for i, question in enumerate(questions)
    ]
    answers = asyncio.run(guiding.many("/v1/chat/completions", bodies))
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert texts == [guided.tokenizer.decode(one.tokens) for one in drawn]
    assert drawn != [one for (one,) in plain.sample([request])[0]]
    for i, (answer, one) in enumerate(zip(answers, drawn, strict=True)):
        content = answer.json()["choices"][0]["logprobs"]["content"]
        assert [entry["logprob"] for entry in content] == pytest.approx(one.logprobs, abs=1e-3)
        for entry in content:  # the verifier leaves some places one token
            others = entry["top_logprobs"]
            assert len(others) <= i % 3
            assert not others or others[0]["token"] == entry["token"]


def test_told_to_end_it_answers_what_is_under_way(guiding: Any, questions: list[str]) -> None:
    bodies = [{"prompt": q, "max_tokens": 200, "temperature": 100, "n": 2} for q in questions[:16]]

    async def asked() -> list["httpx2.Response"]:
        answers = asyncio.create_task(guiding.many("/v1/completions", bodies))
        while await asyncio.to_thread(guiding.gauge, "requests_open") < 16:
            assert not answers.done()
            await asyncio.sleep(0.01)
        guiding.process.send_signal(signal.SIGTERM)
        return await answers

    assert [one.status_code for one in asyncio.run(asked())] == [200] * 16
    assert guiding.process.wait(60) == 0
    with pytest.raises(httpx2.ConnectError):
        _ = httpx2.get(f"{guiding.url}/health")


def outcome(answer: "httpx2.Response") -> str:
    """Return what became of a request whose server was told to end."""
    if answer.status_code == 503:
        return answer.json()["error"]["code"]
    assert answer.status_code == 200, answer.text
    if not answer.text.startswith(("data: ", ": ")):
        return "whole"
    last = answer.text.removesuffix("\n\n").rpartition("data: ")[2]
    return "whole" if last == "[DONE]" else json.loads(last)["error"]["code"]


def test_what_does_not_end_in_time_is_told_so(judging: Any, questions: list[str]) -> None:
    """Whole answers, streams, searches of both kinds, and a body that never comes whole."""
    endless = {"temperature": 50, "max_tokens": 450}
    search = {"search": "mcts", "iterations": 1000, "max_depth": 1000}
    bodies = [body_of(q, temperature=0, max_tokens=5) for q in questions[:4]]
    bodies += [body_of(q, **endless, n=64, stream=i % 2 == 0) for i, q in enumerate(questions[:8])]
    bodies += [body_of(q, **endless, system2=search, stream=q < "M") for q in questions[:40]]
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def asked() -> tuple[list["httpx2.Response"], float]:
        answers = asyncio.create_task(judging.many("/v1/chat/completions", bodies))
        while await asyncio.to_thread(judging.gauge, "requests_open") < 40:
            assert not answers.done()
            await asyncio.sleep(0.01)
        judging.process.send_signal(signal.SIGINT)
        return await answers, time.monotonic()

    with socket.create_connection(("127.0.0.1", int(judging.url.rpartition(":")[2]))) as slow:
        slow.sendall(head + b"Content-Length: 100\r\n\r\n{")
        before = time.monotonic()
        answers, answered = asyncio.run(asked())
        assert judging.process.wait(60) == 0
        ended = time.monotonic()
        slow.settimeout(10)
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    outcomes = [outcome(one) for one in answers]
    assert outcomes[:4] == ["whole"] * 4
    assert set(outcomes[4:]) <= {"whole", "stopping"}
    assert outcomes.count("stopping") > 20
    assert answered - before < 30
    assert ended - answered < SHUTDOWN_S + 10
