"""Several devices: two processes that share each step's batches end where one does.

In double precision: Adam moves a weight whose gradient is nearly 0 by as much as any other, so
that the rounding of another order of sums in fp32 shows up as 2e-5 after three steps.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = f"""
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from test_loop import CONFIG, batches_of, texts
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.train.loop import fit
from system2.train.losses import next_token_loss
model = LanguageModel(ModelConfig(24, 32, 2, 4, 2, 8, 64))
initialise(model, 0)
model.double()
examples, folder = texts(), Path(sys.argv[1])
few = batches_of(examples[:2])  # steps of one micro-batch: nothing for the second process
for batches, steps, name in ((batches_of(examples), 4, "many"), (few, 3, "one")):
    config = replace(CONFIG, steps=steps)
    for report in fit(model, batches, next_token_loss, config, folder=folder / name):
        pass
"""


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )


def wait_for(*jobs: subprocess.Popen[str]) -> None:
    for job in jobs:
        _, complained = job.communicate(timeout=250)
        assert job.returncode == 0, complained


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "ACCELERATE_USE_CPU": "true",
    }
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    wait_for(*(start(tmp_path / "two", shared | rank) for rank in ranks))
    wait_for(start(tmp_path / "alone", {}))
    for name in ("many", "one"):
        alone, two = (
            load_file(tmp_path / how / name / "training" / "model.safetensors")
            for how in ("alone", "two")
        )
        assert alone.keys() == two.keys()
        for key, tensor in alone.items():
            assert torch.allclose(tensor, two[key], rtol=0, atol=1e-8), key
