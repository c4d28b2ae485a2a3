"""Serving, ours beside a plain server around `transformers` generate, under the same client.

    python benchmarks/serve.py [--requests 48] [--rounds 3] [--json]

Both are real processes on one thread, asked in turns by one asyncio client for the same greedy
completions of the same word problems. The peer is what people write in an afternoon: FastAPI, one
model, generate one request at a time. Ratios above 1 mean that ours is faster: `throughput_N` is
completed requests a second with N under way, `latency_N` the median time to an answer.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import httpx2

MAX_TOKENS = 64
CONCURRENCIES = (1, 8, 32)


def peer(port: int) -> None:
    """Serve generate, a request at a time."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from system2.engine.embedded import EMBEDDED

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED["tiny"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tiny"])
    busy = asyncio.Lock()

    @asynccontextmanager
    async def ready(app: FastAPI) -> AsyncGenerator[None]:
        print(f"listening on http://127.0.0.1:{port}", flush=True)
        yield

    app = FastAPI(lifespan=ready)

    class Body(BaseModel):
        messages: list[dict[str, str]]
        max_tokens: int
        temperature: float = 0

    def generate(messages: list[dict[str, str]], max_tokens: int) -> tuple[str, int]:
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        drawn = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False
        )[0, ids.shape[1] :]
        return tokenizer.decode(drawn, skip_special_tokens=True), len(drawn)

    @app.post("/v1/chat/completions")
    async def chat(body: Body) -> dict[str, Any]:
        async with busy:
            text, count = await asyncio.to_thread(generate, body.messages, body.max_tokens)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return {"choices": [choice], "usage": {"completion_tokens": count}}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def launched(command: list[str]) -> tuple["subprocess.Popen[str]", str]:
    """Start a server; return it with its address once it listens."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listening on (http\S+)", line):
            return process, found[1]
    raise SystemExit(f"{command} does not start")


async def asked(url: str, questions: list[str], concurrency: int) -> tuple[float, float, list[str]]:
    """Return requests a second, the median latency (seconds) and the answers."""
    turn, latencies = asyncio.Semaphore(concurrency), list[float]()
    async with httpx2.AsyncClient(base_url=url, timeout=600) as client:

        async def one(question: str) -> str:
            messages = [{"role": "user", "content": question}]
            body = {"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}
            async with turn:
                started = time.monotonic()
                answer = await client.post("/v1/chat/completions", json=body)
                latencies.append(time.monotonic() - started)
            return answer.json()["choices"][0]["message"]["content"]

        started = time.monotonic()
        texts = await asyncio.gather(*map(one, questions))
        return len(texts) / (time.monotonic() - started), statistics.median(latencies), texts


def main() -> None:
    """Run the benchmark and print a table and one JSON line."""
    from system2.tasks import find_task

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        peer(arguments.peer)
        return
    drawn = islice(find_task("word_problems").problems("test", 1), arguments.requests)
    questions = [problem.prompt for problem in drawn]
    # nothing is remembered from round to round: each would find the texts of the one before
    ours = [sys.executable, "-m", "system2", "serve", "--port", "0", "--cache-bytes", "0"]
    theirs = [sys.executable, __file__, "--peer", "8399"]
    servers = [launched(ours), launched(theirs)]
    ratios, rows, same = dict[str, float](), dict[str, Any](), 0
    try:
        for _, url in servers:
            _ = asyncio.run(asked(url, questions[:4], 4))  # warms up
        for concurrency in CONCURRENCIES:
            found = list[list[tuple[float, float, list[str]]]]()
            for number in range(arguments.rounds):
                order = (0, 1) if number % 2 else (1, 0)
                both = {i: asyncio.run(asked(servers[i][1], questions, concurrency)) for i in order}
                found.append([both[0], both[1]])
            rates = [statistics.median(f[i][0] for f in found) for i in (0, 1)]
            waits = [statistics.median(f[i][1] for f in found) for i in (0, 1)]
            same = sum(a == b for a, b in zip(found[0][0][2], found[0][1][2], strict=True))
            ratios[f"throughput_{concurrency}"] = round(
                statistics.median(f[0][0] / f[1][0] for f in found), 2
            )
            ratios[f"latency_{concurrency}"] = round(
                statistics.median(f[1][1] / f[0][1] for f in found), 2
            )
            rows[str(concurrency)] = {"requests_per_s": rates, "latency_s": waits}
            if not arguments.json:
                print(
                    f"{concurrency:>3} under way: {rates[0]:8.1f} {rates[1]:8.1f} requests/s, "
                    f"median {waits[0]:.3f} {waits[1]:.3f} s"
                )
    finally:
        for process, _ in servers:
            process.terminate()
            _ = process.wait(60)
    line = {"benchmark": "serve", "ratios": ratios, "ours_theirs": rows}
    print(json.dumps({**line, "equal_answers": same, "requests": len(questions)}))


if __name__ == "__main__":
    main()
