"""The GPU's benchmark, as far as a CPU goes: it runs whole on a tiny shape."""

import json

import pytest
import torch

from benchmarks import gpu
from system2.train.random_weights import SHAPES, random_model


def test_it_runs_whole_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--device cpu --shape 1m --batch 3 --tokens 6 --rounds 1".split()
    gpu.main(words)
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["benchmark"] == "gpu"
    batches = ("batch1", "batch3")
    assert set(found["steps"]) == {f"{b}{s}" for b in batches for s in ("", "_by_kernel")}
    assert set(found["ratios"]) == {
        f"cost_{layout}_{b}" for layout in ("separate", "shared", "vocab") for b in batches
    }
    assert len(table) == len(found["steps"]) + len(found["ratios"])
    for step in found["steps"].values():
        assert step["floor_ms"] > 0


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        gpu.main([])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no CUDA device" in said[0]


def test_what_a_step_reads() -> None:
    """By hand: a layer of 4 heads, 2 of keys, size 8 each, in bfloat16."""
    model = random_model(gpu.ModelConfig(50, 32, 1, 4, 2, 8, 64), torch.bfloat16, 0)
    matrices = 32 * (4 + 2 + 2) * 8 + 32 * 32 + 3 * 32 * 64 + 50 * 32
    weights = 2 * (matrices + 2 * 32)  # and two norms
    assert gpu.read_bytes(model, 3, 10) == weights + 3 * 10 * 2 * (2 * 2 * 8)


@pytest.mark.parametrize(
    ("name", "billions"), [("llama-3.2-1b", 1.236), ("llama-3.2-3b", 3.213), ("llama-3.1-8b", 8.03)]
)
def test_the_shapes_are_the_real_ones(name: str, billions: float) -> None:
    """By the number of parameters that their model cards state."""
    with torch.device("meta"):
        model = gpu.LanguageModel(SHAPES[name])
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e9 == pytest.approx(billions, abs=0.005)
