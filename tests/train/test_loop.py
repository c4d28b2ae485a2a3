"""The loop: exact to resume, indifferent to how a step is cut, and it stops at a NaN."""

import math
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from system2.core import UserError
from system2.engine.model import LanguageModel
from system2.train.batches import Example, TextBatch, planned_batches, text_batch
from system2.train.loop import FitConfig, StepReport, fit, forget_training, num_steps, rate_at
from system2.train.losses import next_token_loss

MakeModel = Callable[[int], LanguageModel]
CONFIG = FitConfig(steps=8, learning_rate=1e-2, ema=0.9, save_every_s=0.0)


def texts(seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    return [
        Example(tuple(rng.randrange(24) for _ in range(length)), 2)
        for length in (rng.randrange(4, 20) for _ in range(40))
    ]


def batches_of(examples: Sequence[Example]) -> Callable[[int], list[TextBatch]]:
    batches, _ = planned_batches(
        examples, lambda e: len(e.tokens), text_batch, max_tokens=64, seed=0, per_step=3
    )
    return batches


def weights_of(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def are_equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def trained(
    model: LanguageModel, config: FitConfig, folder: Path | None = None, stop_after: int = 10**6
) -> list[StepReport]:
    """Train; with `stop_after`, walk away after so many reports as a kill would."""
    reports: list[StepReport] = []
    for report in fit(model, batches_of(texts()), next_token_loss, config, folder=folder):
        reports.append(report)
        if len(reports) == stop_after:
            break
    return reports


def without_time(reports: Sequence[StepReport]) -> list[StepReport]:
    return [replace(report, elapsed_s=0.0) for report in reports]


# The schedule


SHARES = st.just(0.0) | st.floats(1e-12, 1)  # what is smaller underflows to a rate of 0


@given(st.integers(1, 300), st.floats(0, 0.5), SHARES, st.floats(0, 0.5), st.integers(0, 299))
def test_the_rate_rises_falls_and_holds(
    steps: int, warmup: float, final: float, hold: float, step: int
) -> None:
    config = FitConfig(steps, 0.5, warmup=warmup, final_rate=final, hold=hold)
    rates = [rate_at(s, config) for s in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) <= 0.5 * (1 + 1e-9)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates[top:]) >= 0.5 * final * (1 - 1e-9)
    assert rates[min(step, steps - 1)] > 0 or final == 0


def test_the_rate_at_chosen_steps() -> None:
    config = FitConfig(100, 1.0, warmup=0.1, final_rate=0.2, hold=0.3)
    assert [rate_at(s, config) for s in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert rate_at(40, config) == pytest.approx(0.6)  # half way down
    assert [rate_at(s, config) for s in (70, 85, 99)] == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": 1e30},
        {"warmup": -0.1},
        {"stop": 0},
        {"stop": CONFIG.steps + 1},
        {"beta2": 1.0},
        {"clip": 0.0},
        {"ema": 1.0},
        {"mixed_precision": "fp16"},
    ],
)
def test_a_setting_out_of_its_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))} is "):
        replace(CONFIG, **wrong)


@pytest.mark.parametrize("epochs", [0.0, -1.0, math.nan, math.inf])
def test_passes_over_the_data_are_above_none(epochs: float) -> None:
    with pytest.raises(UserError, match="epochs"):
        num_steps(epochs, 10)


def test_passes_make_steps() -> None:
    assert [num_steps(e, 10) for e in (0.01, 0.5, 2, 2.26)] == [1, 5, 20, 23]


# The step


def test_a_step_has_the_gradient_of_the_mean_over_real_targets(make_model: MakeModel) -> None:
    """Cut into padded micro-batches in any way, a step is the mean over the texts' targets."""
    examples = texts()[:7]
    alone = make_model(0)
    losses = [next_token_loss(alone, text_batch([example])) for example in examples]
    num_targets = sum(text_batch([example]).num_targets for example in examples)
    (torch.stack(losses).sum() / num_targets).backward()
    expected = {name: p.grad for name, p in alone.named_parameters()}
    for cuts in ((0, 7), (0, 1, 7), (0, 2, 3, 5, 7)):
        micro = [text_batch(examples[a:b]) for a, b in pairwise(cuts)]
        model = make_model(0)
        found: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, found=found: found.update({name: p.grad.clone()})
            )
        steps = fit(model, lambda _, m=micro: m, next_token_loss, FitConfig(1, 1e-3, clip=1e9))
        (report,) = steps
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            assert torch.allclose(gradient, expected[name], atol=1e-7)
        assert report.loss == pytest.approx(sum(x.item() for x in losses) / num_targets, rel=1e-5)
        assert report.num_targets == num_targets


def test_training_lowers_the_loss_and_the_average_is_what_stays(make_model: MakeModel) -> None:
    plain, averaged = make_model(0), make_model(0)
    reports = trained(plain, replace(CONFIG, steps=40, ema=None))
    assert reports[-1].loss < 0.9 * reports[0].loss
    assert [r.step for r in reports] == list(range(40))
    assert without_time(trained(averaged, replace(CONFIG, steps=40))) == without_time(reports)
    assert not are_equal(weights_of(plain), weights_of(averaged))


def test_the_average_is_shown_every_so_often_and_training_does_not_notice(
    make_model: MakeModel,
) -> None:
    undisturbed, shown = make_model(0), make_model(0)
    reports = trained(undisturbed, CONFIG)
    batches = batches_of(texts())
    seen: dict[int, list[Tensor]] = {}
    again: list[StepReport] = []
    for report in fit(shown, batches, next_token_loss, replace(CONFIG, show_every=4)):
        again.append(report)
        seen[report.step + 1] = [w.clone() for w in weights_of(shown)]
    assert without_time(again) == without_time(reports)
    assert are_equal(seen[8], weights_of(shown)), "the last average is what the model holds"
    assert are_equal(weights_of(shown), weights_of(undisturbed))
    for raw, average in ((3, 4), (7, 8)):
        assert not are_equal(seen[raw], seen[average])


def test_an_early_stop_is_the_longer_run_until_there(make_model: MakeModel) -> None:
    longer, stopped = make_model(0), make_model(0)
    at_4: list[Tensor] = []
    for report in fit(longer, batches_of(texts()), next_token_loss, replace(CONFIG, show_every=4)):
        if report.step + 1 == 4:
            at_4 = weights_of(longer)
    assert [r.step for r in trained(stopped, replace(CONFIG, stop=4))] == [0, 1, 2, 3]
    assert are_equal(weights_of(stopped), at_4)


def test_only_what_asks_for_gradients_is_trained(make_model: MakeModel) -> None:
    model = make_model(0)
    for name, parameter in model.named_parameters():
        _ = parameter.requires_grad_("layers.1" in name)
    before = dict(zip([n for n, _ in model.named_parameters()], weights_of(model), strict=True))
    _ = trained(model, replace(CONFIG, steps=3))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == ("layers.1" not in name)


# Taking up


@pytest.mark.parametrize("stop_after", [2, 4, 7])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_taken_up_again_ends_as_if_undisturbed(
    stop_after: int, ema: float | None, make_model: MakeModel, tmp_path: Path
) -> None:
    config = replace(CONFIG, ema=ema)
    undisturbed, first, second = make_model(0), make_model(0), make_model(9)
    reports = trained(undisturbed, config)
    before = trained(first, config, tmp_path, stop_after)
    after = trained(second, config, tmp_path)
    num_lost = len(before) + len(after) - config.steps
    assert num_lost == 1  # the step whose report was out, but whose checkpoint was not
    assert without_time(before[:-1] + after) == without_time(reports)
    assert are_equal(weights_of(second), weights_of(undisturbed))
    third = make_model(5)
    assert trained(third, config, tmp_path) == []  # nothing is left to do
    assert are_equal(weights_of(third), weights_of(undisturbed))
    forget_training(tmp_path)
    assert not tmp_path.exists()


def test_a_process_that_was_killed_is_taken_up_exactly(
    make_model: MakeModel, tmp_path: Path
) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_loop import CONFIG, batches_of, texts
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.train.loop import fit
from system2.train.losses import next_token_loss
model = LanguageModel(ModelConfig(24, 32, 2, 4, 2, 8, 64))
initialise(model, 0)
for report in fit(model, batches_of(texts()), next_token_loss, CONFIG, folder=Path(sys.argv[1])):
    if report.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    undisturbed, taken_up = make_model(0), make_model(3)
    reports = trained(undisturbed, CONFIG)
    assert without_time(trained(taken_up, CONFIG, tmp_path)) == without_time(reports[5:])
    assert are_equal(weights_of(taken_up), weights_of(undisturbed))


def test_another_run_in_the_same_folder_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    def start(config: FitConfig, about: object) -> None:
        next(
            fit(
                make_model(0),
                batches_of(texts()),
                next_token_loss,
                config,
                folder=tmp_path,
                about=about,
            )
        )

    for _ in fit(
        make_model(0), batches_of(texts()), next_token_loss, CONFIG, folder=tmp_path, about="data"
    ):
        pass
    before = (tmp_path / "training" / "state.json").read_bytes()
    for config, about in (
        (replace(CONFIG, learning_rate=1e-3), "data"),
        (CONFIG, "other data"),
        (CONFIG, None),
    ):
        with pytest.raises(UserError, match="other settings or other data; remove it"):
            start(config, about)
    assert (tmp_path / "training" / "state.json").read_bytes() == before


# What goes wrong


def loss_of(bad_step: int) -> Callable[[LanguageModel, TextBatch], Tensor]:
    """Return a loss that is NaN from some step's micro-batches on (three a step)."""
    calls = iter(range(10**9))

    def loss(model: LanguageModel, batch: TextBatch) -> Tensor:
        is_bad = next(calls) // 3 >= bad_step
        return next_token_loss(model, batch) * (math.nan if is_bad else 1.0)

    return loss


def test_nan_stops_with_one_line_and_keeps_the_last_good_step(
    make_model: MakeModel, tmp_path: Path
) -> None:
    config = replace(CONFIG, save_every_s=1e9)
    model, good = make_model(0), make_model(0)
    with pytest.raises(UserError, match=rf"stopped at step 4: loss nan.*{tmp_path}") as caught:
        for _ in fit(model, batches_of(texts()), loss_of(4), config, folder=tmp_path):
            pass
    assert "\n" not in str(caught.value)
    stepped = fit(good, batches_of(texts()), next_token_loss, config)
    for _ in range(4):
        next(stepped)
    assert are_equal(weights_of(model), weights_of(good))
    # and the checkpoint is that of the last good step: with sound data it goes on
    undisturbed, taken_up = make_model(0), make_model(1)
    _ = trained(undisturbed, config)
    _ = trained(taken_up, config, tmp_path)
    assert are_equal(weights_of(taken_up), weights_of(undisturbed))


def test_nan_at_once_leaves_no_checkpoint_and_claims_none(
    make_model: MakeModel, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="stopped at step 0") as caught:
        next(fit(make_model(0), batches_of(texts()), loss_of(0), CONFIG, folder=tmp_path))
    assert "checkpoint" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_an_infinite_gradient_stops_too(make_model: MakeModel) -> None:
    model = make_model(0)
    before = weights_of(model)

    def loss(model: LanguageModel, batch: TextBatch) -> Tensor:
        weight = model.model.norm.weight  # the root's slope at zero is infinite, its value is not
        return next_token_loss(model, batch) + (weight - weight.detach()).abs().sqrt().sum()

    with pytest.raises(UserError, match=r"gradient norm (nan|inf)"):
        next(fit(model, batches_of(texts()), loss, CONFIG))
    assert are_equal(weights_of(model), before)


@contextmanager
def files_at_most(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_last_checkpoint(make_model: MakeModel, tmp_path: Path) -> None:
    running = fit(make_model(0), batches_of(texts()), next_token_loss, CONFIG, folder=tmp_path)
    for _ in range(4):
        next(running)
    with files_at_most(1_000), pytest.raises(OSError, match="File too large"):
        next(running)
    assert [path.name for path in tmp_path.iterdir()] == ["training"]
    undisturbed, taken_up = make_model(0), make_model(1)
    reports = trained(undisturbed, CONFIG)
    assert without_time(trained(taken_up, CONFIG, tmp_path)) == without_time(reports[3:])
    assert are_equal(weights_of(taken_up), weights_of(undisturbed))


def test_a_broken_checkpoint_is_named(make_model: MakeModel, tmp_path: Path) -> None:
    _ = trained(make_model(0), CONFIG, tmp_path, stop_after=3)
    weights = tmp_path / "training" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        _ = trained(make_model(0), CONFIG, tmp_path)
