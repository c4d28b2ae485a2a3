"""Policies in several processes: they draw what one does, share its weights, and leave nothing."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Completion, SampleRequest, SamplingParams, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.native import MOST_BYTES
from system2.engine.processes import ProcessPolicy, divided
from system2.engine.tokenizer import Tokenizer
from system2.verify.token import TokenVerifier, VerifierGuide
from tests.toys import is_alive, random_prompts, spread_model

CONFIG = ModelConfig(400, 32, 2, 4, 2, 8, 64, max_positions=64)
WARM = SamplingParams(max_tokens=20)
LONG = [SampleRequest(((7,),), 20_000, SamplingParams(max_tokens=60), 0)]
"""Seconds of work."""
Drawn = list[list[list[Completion]]]


@pytest.fixture(scope="module")
def policy(small_tokenizer: Tokenizer) -> LocalPolicy:
    return LocalPolicy(spread_model(CONFIG, 4), small_tokenizer)


@pytest.fixture(scope="module")
def workers(policy: LocalPolicy) -> Iterator[ProcessPolicy]:
    with ProcessPolicy(policy, 2) as processes:
        yield processes


@pytest.fixture(scope="module")
def prompts() -> tuple[Tokens, ...]:
    return random_prompts(8, 7, 2, 19)


@pytest.fixture(scope="module")
def asked(prompts: tuple[Tokens, ...]) -> list[SampleRequest]:
    """Requests of several kinds, and one whose draws are divided."""
    cut = SamplingParams(max_tokens=9, top_p=0.7, top_k=9)
    greedy = SamplingParams(max_tokens=12, temperature=0)
    return [
        SampleRequest(prompts[:4], 2, WARM, 1),
        SampleRequest(prompts[4:], 3, cut, 2),
        SampleRequest(prompts, 1, greedy, 3),
        SampleRequest(prompts[2:3], 50, WARM, 4),
        SampleRequest((), 1, WARM, 5),
    ]


def assert_same(one: Drawn, other: Drawn) -> None:
    """The same tokens, and log-probabilities but for rounding."""

    def said(drawn: Drawn) -> list[list[list[tuple[Tokens, str]]]]:
        return [[[(c.tokens, c.finish_reason) for c in row] for row in rows] for rows in drawn]

    assert said(one) == said(other)
    for first, second in zip(flat(one), flat(other), strict=True):
        assert first.logprobs == pytest.approx(second.logprobs, abs=1e-4)


def flat(drawn: Drawn) -> list[Completion]:
    return [completion for rows in drawn for row in rows for completion in row]


def alone(policy: LocalPolicy, requests: list[SampleRequest]) -> LocalPolicy:
    """A policy of its own that has sampled the requests."""
    fresh = LocalPolicy(policy.model, policy.tokenizer, policy.guide)
    _ = fresh.sample(requests)
    return fresh


def test_workers_draw_what_one_process_does(
    policy: LocalPolicy, workers: ProcessPolicy, asked: list[SampleRequest]
) -> None:
    expected = LocalPolicy(policy.model, policy.tokenizer).sample(asked)
    assert_same(workers.sample(asked), expected)
    assert workers.positions_requested == alone(policy, asked).positions_requested
    assert workers.sample([]) == []


def test_texts_that_go_on_are_not_run_again(
    policy: LocalPolicy, workers: ProcessPolicy, prompts: tuple[Tokens, ...]
) -> None:
    """Tick after tick a text finds the worker that knows it, until told to forget."""
    first = [SampleRequest((prompt,), 1, WARM, 1) for prompt in prompts]
    workers.forget()
    drawn = workers.sample(first)
    longer = [(*prompt, *rows[0][0].tokens) for prompt, rows in zip(prompts, drawn, strict=True)]
    then = [SampleRequest((text,), 1, SamplingParams(max_tokens=1), 2) for text in longer]
    before = workers.positions_computed
    _ = workers.sample(then)
    assert workers.positions_computed - before == len(prompts), "each last token alone is new"
    workers.forget()
    before = workers.positions_computed
    _ = workers.sample(then)
    assert workers.positions_computed - before == alone(policy, then).positions_computed


def test_a_guide_goes_along(small_tokenizer: Tokenizer, asked: list[SampleRequest]) -> None:
    """And the verifier's weights are seen to change, too."""
    model = spread_model(CONFIG, 5)
    verifier = TokenVerifier(model, "vocab", num_adapted=1).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    guided = LocalPolicy(model, small_tokenizer, VerifierGuide(verifier, 0.2, 0.7))
    expected = guided.sample(asked)
    plain = LocalPolicy(model, small_tokenizer).sample(asked)
    assert [c.tokens for c in flat(plain)] != [c.tokens for c in flat(expected)]
    with ProcessPolicy(guided, 2) as workers:
        assert_same(workers.sample(asked), expected)
        with torch.no_grad():
            _ = verifier.top.head.weight.mul_(-1)
        changed = workers.sample(asked)
    assert_same(changed, guided.sample(asked))
    assert [c.tokens for c in flat(changed)] != [c.tokens for c in flat(expected)]


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_changed_weights_are_seen(
    how: str, policy: LocalPolicy, workers: ProcessPolicy, asked: list[SampleRequest]
) -> None:
    before, weight = workers.sample(asked), policy.model.model.layers[0].mlp.down_proj.weight
    if how == "in place":
        with torch.no_grad():
            _ = weight.mul_(-1)
    else:
        weight.data = -weight.data
    after = workers.sample(asked)
    assert_same(after, policy.sample(asked))
    assert_same(after, LocalPolicy(policy.model, policy.tokenizer).sample(asked))
    assert [c.tokens for c in flat(after)] != [c.tokens for c in flat(before)]


def test_a_workers_error_is_the_same_error(
    policy: LocalPolicy, workers: ProcessPolicy, asked: list[SampleRequest]
) -> None:
    wrong = [*asked, SampleRequest(((5, 400),), 1, WARM, 0)]
    with pytest.raises(UserError) as expected:
        _ = policy.sample(wrong)
    with pytest.raises(UserError) as found:
        _ = workers.sample(wrong)
    assert str(found.value) == str(expected.value)
    assert_same(workers.sample(asked), policy.sample(asked))


def private_bytes(process: int) -> int:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux counts it")
def test_weights_are_in_memory_once(workers: ProcessPolicy, small_tokenizer: Tokenizer) -> None:
    model = LanguageModel(ModelConfig(400, 512, 5, 8, 2, 64, 2048, max_positions=64)).eval()
    initialise(model, 0)
    num_bytes = sum(weight.nbytes for weight in model.parameters())
    assert num_bytes > MOST_BYTES, "it would be packed, once a process"
    request = [SampleRequest(((7, 8),), 1, SamplingParams(max_tokens=4), 0)]
    _ = workers.sample(request)
    with ProcessPolicy(LocalPolicy(model, small_tokenizer), 1) as large:
        _ = large.sample(request)
        added = private_bytes(large.process_ids[0]) - private_bytes(workers.process_ids[0])
    assert added < num_bytes / 4


def test_a_killed_worker_is_named_and_ends_all(policy: LocalPolicy) -> None:
    with ProcessPolicy(policy, 2) as workers:
        processes = workers.process_ids
        _ = workers.sample([SampleRequest(((7,), (8,)), 1, WARM, 0)])
        killing = threading.Timer(0.3, os.kill, (processes[1], signal.SIGKILL))
        killing.start()
        with pytest.raises(UserError, match=rf"worker 2 of 2 \(process {processes[1]}\).*signal 9"):
            _ = workers.sample(LONG)
        killing.join()
        assert not any(map(is_alive, processes))
        with pytest.raises(UserError, match="have ended"):
            _ = workers.sample(LONG)


def test_ctrl_c_ends_all_and_only_the_first_process_answers_it(
    policy: LocalPolicy, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a terminal it reaches the workers, too."""
    with ProcessPolicy(policy, 1) as workers:
        processes = [*workers.process_ids, os.getpid()]
        _ = workers.sample([SampleRequest(((7,),), 1, WARM, 0)])
        stopping = [
            threading.Timer(after_s, os.kill, (process, signal.SIGINT))
            for after_s, process in zip((0.2, 0.4), processes, strict=True)
        ]
        for timer in stopping:
            timer.start()
        with pytest.raises(KeyboardInterrupt):
            _ = workers.sample(LONG)
        assert not is_alive(processes[0])
    assert capfd.readouterr().err == ""


def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, small_tokenizer: Tokenizer
) -> None:
    script = f"""
        from pathlib import Path
        from system2.core import SampleRequest, SamplingParams
        from system2.engine.local import LocalPolicy
        from system2.engine.model import LanguageModel, ModelConfig
        from system2.engine.processes import ProcessPolicy
        from system2.engine.tokenizer import load_tokenizer
        if __name__ == "__main__":
            model = LanguageModel({CONFIG!r})
            tokenizer = load_tokenizer(Path({str(small_tokenizer.folder)!r}))
            with ProcessPolicy(LocalPolicy(model, tokenizer), 1) as workers:
                _ = workers.sample([SampleRequest(((7,),), 1, SamplingParams(), 0)])
                print(*workers.process_ids, flush=True)
                while True:
                    _ = workers.sample({LONG!r})
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        processes = list(map(int, run.stdout.readline().split()))
        assert len(processes) == 1
        assert all(map(is_alive, processes))
        run.kill()
    until = time.monotonic() + 20
    while any(map(is_alive, processes)):
        assert time.monotonic() < until, "a worker outlived the process that started it"
        time.sleep(0.05)


def test_what_cannot_be_is_refused(policy: LocalPolicy) -> None:
    with pytest.raises(UserError, match="num_workers is 0"):
        _ = ProcessPolicy(policy, 0)
    with pytest.raises(UserError, match="not started"):
        _ = ProcessPolicy(policy, 2).sample(LONG)
    elsewhere = LocalPolicy(LanguageModel(CONFIG).to("meta"), policy.tokenizer)
    with pytest.raises(UserError, match="this policy is on meta"):
        _ = ProcessPolicy(elsewhere, 2)


texts = st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple)
requests = st.builds(
    SampleRequest,
    st.lists(texts, max_size=5).map(tuple),
    st.integers(1, 9),
    st.integers(1, 20).map(lambda count: SamplingParams(max_tokens=count)),
    st.just(0),
)


@given(st.lists(requests, max_size=4), st.integers(1, 5))
def test_every_draw_is_divided_once_and_in_order(
    some: list[SampleRequest], num_workers: int
) -> None:
    shares = divided(some, num_workers)
    given_out = [(part, i) for share in shares for part in share for i in range(part.n)]
    draws = [(part.r, part.p, part.i + i) for part, i in given_out]
    whole = {
        (r, p, i)
        for r, request in enumerate(some)
        for p in range(len(request.prefixes))
        for i in range(request.n)
    }
    assert set(draws) == whole
    assert len(draws) == len(whole)
    order = [some[r].prefixes[p] for r, p, _ in draws]
    assert order == sorted(order), "texts that share a beginning stand together"
    for r, p, _ in draws:
        numbers = [i for at, prefix, i in draws if (at, prefix) == (r, p)]
        assert numbers == sorted(numbers)
    costs = [sum(part.n * some[part.r].params.max_tokens for part in share) for share in shares]
    one = max((request.params.max_tokens for request in some), default=0)
    assert all(cost <= sum(costs) / num_workers + one for cost in costs)
