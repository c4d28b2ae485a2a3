"""Our forward against `transformers`': equal logits for a random model of every family."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine.attention import Window, padded_window
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.prefill import Prefill
from system2.engine.prefixes import PrefixTree
from system2.engine.session import Session
from system2.engine.step import Layers
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.engine.weights import find_checkpoint, load_model, read_tensors, save_model

VOCAB = 512
TOLERANCE = 1e-5
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
BIASES = {"attention_bias": True, "mlp_bias": True}

MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama-3.1": ("llama", {"rope_parameters": LLAMA3}),
    "llama-3.2": (
        "llama",
        {"rope_parameters": {**LLAMA3, "factor": 32.0}, "tie_word_embeddings": True},
    ),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0}}),
    "llama-yarn": (
        "llama",
        {"rope_parameters": {**YARN, "original_max_position_embeddings": 16}},
    ),
    "llama-yarn-tuned": (
        "llama",
        {
            "rope_parameters": {
                **YARN,
                "original_max_position_embeddings": 16,
                "mscale": 0.7,
                "mscale_all_dim": 1.3,
                "beta_fast": 8.0,
                "beta_slow": 0.5,
                "truncate": False,
            }
        },
    ),
    "llama-biases": ("llama", {**BIASES, "num_key_value_heads": 4}),
    "smollm2": (
        "llama",
        {
            "hidden_size": 48,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
            "tie_word_embeddings": True,
        },
    ),
    "qwen2": ("qwen2", {}),
    "qwen2.5": (
        "qwen2",
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "tie_word_embeddings": True,
        },
    ),
    "qwen2-window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 0},
    ),
    "qwen3": ("qwen3", {"head_dim": 12, "tie_word_embeddings": True}),
    "qwen3-biases": ("qwen3", {"head_dim": 16, "attention_bias": True}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "mistral-window": ("mistral", {"sliding_window": 7}),
    "smollm3": ("smollm3", {"no_rope_layer_interval": 2, "pad_token_id": 0}),
    "smollm3-biases": ("smollm3", {**BIASES, "no_rope_layers": [0, 1, 1], "pad_token_id": 0}),
}


@dataclass(frozen=True)
class Twin:
    """One checkpoint folder, read by `transformers` and by us."""

    folder: Path
    theirs: Any
    ours: LanguageModel

    def expected(self, tokens: Tensor, is_real: Tensor | None = None) -> Tensor:
        positions = None if is_real is None else (is_real.long().cumsum(1) - 1).clamp(min=0)
        mask = None if is_real is None else is_real.long()
        with torch.inference_mode():
            return self.theirs(tokens, attention_mask=mask, position_ids=positions).logits


def their_model(name: str) -> Any:
    """A random model whose attention, norms and biases all matter."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family, settings = MODELS[name]
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **{**shape, **settings}), attn_implementation="eager"
    ).eval()
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            _ = parameter.copy_(0.15 * noise if parameter.ndim > 1 else 1 + 0.3 * noise)
    return model


@pytest.fixture(scope="module")
def twin_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Twin]:
    made: dict[str, Twin] = {}

    def twin(name: str) -> Twin:
        if name not in made:
            folder = tmp_path_factory.mktemp("checkpoint") / name
            theirs = their_model(name)
            theirs.save_pretrained(folder)
            made[name] = Twin(folder, theirs, load_model(folder))
        return made[name]

    return twin


@pytest.fixture(params=MODELS)
def twin(request: pytest.FixtureRequest, twin_of: Callable[[str], Twin]) -> Twin:
    return twin_of(request.param)


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    """Longer than every window and every original context above."""
    return torch.randint(3, VOCAB, (3, 40), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def ours_of(model: LanguageModel, tokens: Tensor, window: Window | None = None) -> Tensor:
    return model(tokens, window)


def test_the_comparison_can_fail(twin: Twin, tokens: Tensor) -> None:
    """Far tokens and order matter in these models, so a wrong mask or rotation would show."""
    logits = ours_of(twin.ours, tokens)
    far = tokens.clone()
    far[:, 25] = (tokens[:, 25] + 1) % VOCAB
    swapped = tokens.clone()
    swapped[:, 36], swapped[:, 37] = tokens[:, 37], tokens[:, 36]
    for changed in (far, swapped):
        difference = (ours_of(twin.ours, changed) - logits)[:, -1].abs().max()
        assert difference > 10 * TOLERANCE


def test_logits_equal(twin: Twin, tokens: Tensor) -> None:
    torch.testing.assert_close(
        ours_of(twin.ours, tokens), twin.expected(tokens), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_logits_equal(twin: Twin, tokens: Tensor, side: str) -> None:
    lengths = torch.tensor([40, 23, 1])
    place = torch.arange(40)[None]
    is_real = place >= 40 - lengths[:, None] if side == "left" else place < lengths[:, None]
    padded = torch.where(is_real, tokens, 0)
    expected = twin.expected(padded, is_real)[is_real]
    windows = [padded_window(is_real)]
    if side == "right":
        windows.append(None)  # pyright: ignore  (causality alone keeps right padding unseen)
    for window in windows:
        logits = ours_of(twin.ours, padded, window)[is_real]
        torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.usefixtures("engine_path")
@pytest.mark.parametrize("trunks", [(False, False), (True, True), (True, False), (False, True)])
@torch.inference_mode()
def test_session_token_by_token_equals(
    twin: Twin, tokens: Tensor, trunks: tuple[bool, bool]
) -> None:
    """Rows of different lengths, joined while others are under way, dropped and copied.

    With and without a beginning that is kept once for several rows.
    """
    session = Session(Layers(twin.ours))
    texts = [list(row) for row in tokens.tolist()]
    session.admit([tuple(texts[0][:9]), tuple(texts[1][:2])], [1, 2], is_trunk=trunks[0])
    rows = [texts[0][:9], texts[1][:2], texts[1][:2]]
    streams = [texts[0], texts[1], texts[1]]

    def check() -> None:
        logits = twin.ours.logits(session.hidden)
        for row, prefix in zip(logits, rows, strict=True):
            expected = twin.expected(torch.tensor([prefix]))[0, -1]
            torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)

    def step() -> None:
        chosen = [
            stream[len(row)] if i != 2 else 5 + len(row)
            for i, (row, stream) in enumerate(zip(rows, streams, strict=True))
        ]
        session.append(torch.tensor(chosen))
        for row, token in zip(rows, chosen, strict=True):
            row.append(token)
        check()

    check()
    for _ in range(12):
        step()
    session.admit([tuple(texts[2][:25])], [1], is_trunk=trunks[1])
    rows, streams = [*rows, texts[2][:25]], [*streams, texts[2]]
    step()
    session.take(torch.tensor([0, 3]))
    rows, streams = [rows[0], rows[3]], [texts[0], texts[2]]
    for _ in range(8):
        step()


@pytest.mark.usefixtures("engine_path")
@pytest.mark.parametrize("chunk", [1, 7, 16, 200])
@torch.inference_mode()
def test_prefill_in_stretches_equals(twin: Twin, tokens: Tensor, chunk: int) -> None:
    """Prompts of several lengths run in stretches that cut them anywhere."""
    prompts = [tuple(tokens[row, :n].tolist()) for row, n in enumerate((40, 11, 26))]
    prefill = Prefill(Layers(twin.ours), prompts)
    while not prefill.is_done:
        before = prefill.num_computed
        prefill.advance(chunk)
        assert 0 < prefill.num_computed - before <= chunk
    assert prefill.num_computed == sum(map(len, prompts))
    for prompt, state in zip(prompts, prefill.hidden, strict=True):
        expected = twin.expected(torch.tensor([prompt]))[0, -1]
        torch.testing.assert_close(twin.ours.logits(state), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.usefixtures("engine_path")
@torch.inference_mode()
def test_what_the_tree_knows_is_not_run_again(twin: Twin, tokens: Tensor) -> None:
    """A text found whole, one that goes on from another, one that parts from it, a new one."""
    texts = [tuple(row) for row in tokens.tolist()]
    tree = PrefixTree(1 << 20)
    first = Prefill(Layers(twin.ours), [texts[0][:20]], tree)
    first.advance(100)
    prompts = [texts[0][:20], texts[0][:31], texts[0][:9] + texts[1][:8], texts[0][:12], texts[2]]
    prefill = Prefill(Layers(twin.ours), prompts, tree)
    while not prefill.is_done:
        prefill.advance(13)
    assert prefill.num_computed == 0 + 11 + 8 + 1 + 40
    session = Session(Layers(twin.ours))
    session.join(prefill, [0, 1, 2, 3, 4], [False, True, False, True, False])
    rows = [list(prompt) for prompt in prompts]
    for i in range(4):
        for row, logits in zip(rows, twin.ours.logits(session.hidden), strict=True):
            expected = twin.expected(torch.tensor([row]))[0, -1]
            torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)
            row.append(7 + i)
        session.append(torch.full((5,), 7 + i))


@pytest.mark.usefixtures("engine_path")
@pytest.mark.parametrize("is_trunk", [False, True])
@torch.inference_mode()
def test_candidates_equal_their_own_continuations(
    twin: Twin, tokens: Tensor, is_trunk: bool
) -> None:
    """Right after the prompts, and when the rows' own tokens have outgrown every window."""
    session = Session(Layers(twin.ours))
    prefixes = [tuple(tokens[0, :12].tolist()), tuple(tokens[1, :3].tolist())]
    session.admit(prefixes, [1, 1], is_trunk=is_trunk)
    rows, ranks, ids = [0, 0, 0, 1, 1], [0, 1, 2, 0, 1], [7, 8, 9, 7, 450]
    for added in (0, 10):
        for i in range(added):
            session.append(tokens[:2, 20 + i])
        step = session.candidate_step(torch.tensor(rows), torch.tensor(ranks), 3)
        hidden, _, _ = session.run(torch.tensor(ids), step)
        for row, token, state in zip(rows, ids, hidden, strict=True):
            text = [*prefixes[row], *tokens[row, 20 : 20 + added].tolist(), token]
            expected = twin.expected(torch.tensor([text]))[0, -1]
            torch.testing.assert_close(twin.ours.logits(state), expected, atol=TOLERANCE, rtol=0)


def test_greedy_decoding_equals_generate(
    twin: Twin, tokens: Tensor, small_tokenizer: Tokenizer
) -> None:
    lengths, num_new = (12, 5, 1), 20
    prompts: tuple[Tokens, ...] = tuple(
        tuple(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)
    )
    params = SamplingParams(max_tokens=num_new, temperature=0.0)
    policy = LocalPolicy(twin.ours, small_tokenizer)
    completions = policy.sample([SampleRequest(prompts, 1, params, 0)])[0]
    for prompt, (completion,) in zip(prompts, completions, strict=True):
        generated = twin.theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=num_new,
            eos_token_id=sorted(small_tokenizer.eos),
            pad_token_id=0,
        )
        assert completion.tokens == tuple(generated[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", ["llama-3.2", "qwen3", "smollm3"])
def test_shards_are_read(
    name: str, twin_of: Callable[[str], Twin], tokens: Tensor, tmp_path: Path
) -> None:
    twin = twin_of(name)
    twin.theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(ours_of(load_model(tmp_path), tokens), ours_of(twin.ours, tokens))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llama-3.1", "qwen2.5"])
def test_half_precision_is_read_to_full(
    name: str,
    dtype: torch.dtype,
    twin_of: Callable[[str], Twin],
    tokens: Tensor,
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM

    copy.deepcopy(twin_of(name).theirs).to(dtype).save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = theirs(tokens).logits
    ours = load_model(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    torch.testing.assert_close(ours_of(ours, tokens), expected, atol=TOLERANCE, rtol=0)


OLD_SPELLINGS = {
    "llama-3.1": {"rope_theta": 5e5, "rope_scaling": LLAMA3},
    "llama-linear": {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 3.0}},
    "qwen2.5": {"rope_theta": 1e6},
    "mistral": {"rope_theta": 1e4, "rope_scaling": None},
    "smollm3": {},  # silent: the family's own base
}


@pytest.mark.parametrize("name", OLD_SPELLINGS)
def test_old_spelling_of_rotary_settings(
    name: str, twin_of: Callable[[str], Twin], tokens: Tensor, tmp_path: Path
) -> None:
    twin = twin_of(name)
    twin.theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    scaling = {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    settings = dict(OLD_SPELLINGS[name])
    if name == "llama-3.1":
        settings["rope_scaling"] = scaling
    (tmp_path / "config.json").write_text(json.dumps({**config, **settings}))
    torch.testing.assert_close(
        ours_of(load_model(tmp_path), tokens), twin.expected(tokens), atol=TOLERANCE, rtol=0
    )


def test_what_we_save_transformers_reads(
    twin: Twin, tokens: Tensor, small_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Also where the model comes from no checkpoint, whose `config.json` could be handed on."""
    from transformers import AutoModelForCausalLM

    save_model(tmp_path, twin.ours, small_tokenizer.folder)
    ours = load_model(tmp_path)
    assert ours.config == twin.ours.config
    assert torch.equal(ours_of(ours, tokens), ours_of(twin.ours, tokens))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = theirs(tokens).logits
    torch.testing.assert_close(ours_of(ours, tokens), expected, atol=TOLERANCE, rtol=0)


def test_the_origin_is_handed_on(twin: Twin, small_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Saved anew, a checkpoint keeps its own `config.json` and its tokenizer."""
    origin, saved = tmp_path / "origin", tmp_path / "saved"
    save_model(origin, twin.ours, small_tokenizer.folder)
    config = json.loads((twin.folder / "config.json").read_text())
    _ = (origin / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}))
    save_model(saved, twin.ours, origin, dtype=torch.bfloat16, extra={"manifest.json": b"{}"})
    assert {t.dtype for _, t in read_tensors(saved)} == {torch.bfloat16}
    written = json.loads((saved / "config.json").read_text())
    assert written == {**config, "dtype": "bfloat16"}
    assert (saved / "manifest.json").read_bytes() == b"{}"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (saved / name).read_bytes() == (small_tokenizer.folder / name).read_bytes()


def test_the_saved_tokenizer_is_read_by_transformers(
    twin_of: Callable[[str], Twin], small_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    save_model(tmp_path, twin_of("llama-3.2").ours, small_tokenizer.folder)
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    text = "Tom has 3 apples.\nSo: \u00e9 12"
    assert tuple(theirs.encode(text, add_special_tokens=False)) == ours.encode(text)
    chat = [{"role": "user", "content": text}]
    rendered = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert rendered == ours.render_text(chat, has_generation_prompt=True)


def test_a_model_of_our_own_config_is_saved_as_what_it_is(
    small_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    plain = ModelConfig(VOCAB, 16, 2, 4, 2, 4, 24)
    model = LanguageModel(plain)
    initialise(model, 0)
    save_model(tmp_path / "plain", model, small_tokenizer.folder)
    assert load_model(tmp_path / "plain").config == plain
    chimera = ModelConfig(VOCAB, 16, 2, 4, 2, 4, 24, has_qk_norm=True, mlp_bias=True)
    with pytest.raises(ValueError, match="no family"):
        save_model(tmp_path / "chimera", LanguageModel(chimera), small_tokenizer.folder)
    assert not (tmp_path / "chimera").exists()


def test_far_positions_keep_their_angle_in_bfloat16(twin_of: Callable[[str], Twin]) -> None:
    """Casting a model must not round its frequencies: at 20,000 that turns by whole circles."""
    model = load_model(twin_of("qwen2.5").folder)
    positions = torch.tensor([[20_000]])
    exact = torch.cat(model.turns(positions), dim=-1)
    cast = load_model(twin_of("qwen2.5").folder, dtype=torch.bfloat16)
    for other in (cast, model.to(torch.bfloat16)):
        rough = torch.cat(other.turns(positions), dim=-1).float()
        torch.testing.assert_close(rough, exact, atol=4e-3, rtol=0)


def test_checkpoint_names(twin_of: Callable[[str], Twin]) -> None:
    folder = twin_of("llama-3.2").folder
    assert find_checkpoint(str(folder)) == folder
