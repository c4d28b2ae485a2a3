"""Text to tokens and back, and conversations to prompts, for any checkpoint folder.

A thin wrapper over the `tokenizers` library (the one that `transformers` wraps), so that
nothing heavy is imported. Chat templates are untrusted programs: they run in Jinja's immutable
sandbox, with the same functions that `transformers` offers them. There they reach neither Python
nor files, and any error of theirs is one line. They cannot loop for ever (no `while`, ranges of at
most 100,000), but nested loops can waste hours: time is not bounded, as it is not for a model
that never ends a text.
"""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer as RustTokenizer

from system2.core import Tokens, UserError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""What belongs to the tokenizer in a checkpoint folder; saving a model copies these along."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer with its special tokens and chat template.

    Ids are below `vocab_size`; `eos` are those that end a completion, `named_texts` the texts
    of `bos_token` and its like, `special_texts` those of all special tokens; `folder` is where
    it was read from.
    """

    rust: RustTokenizer
    vocab_size: int
    bos: int | None
    eos: frozenset[int]
    pad: int
    chat_template: str | None
    named_texts: Mapping[str, str]
    special_texts: tuple[str, ...]
    folder: Path

    def encode(self, text: str) -> Tokens:
        """Return the tokens of a text; nothing is added to it.

        Texts of special tokens inside it do become those tokens: only the chat template's
        output may hold them, see `render`.
        """
        return tuple(self.rust.encode(text, add_special_tokens=False).ids)

    def encode_plain(self, text: str) -> Tokens:
        """Return the tokens of a text, of which none is special: such texts are broken up."""
        return self.encode(self._without_specials(text))

    def decode(self, tokens: Sequence[int], *, with_special: bool = False) -> str:
        """Return the text of tokens; special tokens are left out unless asked for."""
        return self.rust.decode(list(tokens), skip_special_tokens=not with_special)

    def token_text(self, token: int) -> str:
        """Return one token as its vocabulary writes it."""
        return self.rust.id_to_token(token) or f"<{token}>"

    def render(
        self, messages: Sequence[Mapping[str, str]], *, has_generation_prompt: bool = False
    ) -> Tokens:
        """Return the tokens of a conversation under the chat template.

        Raises: `UserError` where there is no template, or it refuses the messages.
        """
        return self.encode(self.render_text(messages, has_generation_prompt=has_generation_prompt))

    def render_text(
        self, messages: Sequence[Mapping[str, str]], *, has_generation_prompt: bool = False
    ) -> str:
        """Return a conversation under the chat template as text.

        Texts of special tokens inside the messages are broken up first (a word joiner
        after the first character): a problem's text must not be able to end its own turn.
        """
        if self.chat_template is None:
            raise UserError(
                f"{self.folder}: the tokenizer has no chat template; "
                "add chat_template.jinja to the folder"
            )
        safe = [{key: self._without_specials(m[key]) for key in m} for m in messages]
        try:
            return _compiled(self.chat_template).render(
                messages=safe,
                tools=None,
                documents=None,
                add_generation_prompt=has_generation_prompt,
                **self.named_texts,
            )
        except Exception as error:  # of any kind: the template is somebody's program
            raise UserError(
                f"{self.folder}: the chat template fails ({type(error).__name__}: {error}); "
                "mend chat_template.jinja"
            ) from error

    def prompt(self, text: str) -> Tokens:
        """Return the tokens that ask for a reply to `text` as the user's one message."""
        return self.render([{"role": "user", "content": text}], has_generation_prompt=True)

    def _without_specials(self, text: str) -> str:
        for special in self.special_texts:
            if special in text:
                text = text.replace(special, special[:1] + "\u2060" + special[1:])
        return text


def load_tokenizer(folder: Path, *, chat_template: str | None = None) -> Tokenizer:
    """Read the tokenizer of a checkpoint folder; `chat_template` replaces the folder's own.

    Raises: `UserError` that names the file which is missing or broken.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: tokenizer.json is missing; save the tokenizer in the fast format "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...))"
        )
    rust = _read_rust(path)
    config = read_json(folder / "tokenizer_config.json", default={})
    texts = _special_texts(config)
    bos = rust.token_to_id(texts["bos_token"]) if "bos_token" in texts else None
    eos = _end_tokens(folder, rust, texts)
    pad = rust.token_to_id(texts["pad_token"]) if "pad_token" in texts else None
    template = chat_template or _template_of(folder, config)
    added = rust.get_added_tokens_decoder().values()
    return Tokenizer(
        rust=rust,
        vocab_size=1 + max(rust.get_vocab(with_added_tokens=True).values(), default=-1),
        bos=bos,
        eos=eos,
        pad=pad if pad is not None else min(eos, default=0),
        chat_template=template,
        named_texts=texts,
        special_texts=tuple(t.content for t in added if t.special and t.content),
        folder=folder,
    )


def _read_rust(path: Path) -> RustTokenizer:
    """Read a tokenizer.json, without the cutting and padding that may be stored in it."""
    try:
        rust = RustTokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path}: not a tokenizer ({error}); fetch or save it again") from error
    rust.no_truncation()
    rust.no_padding()
    return rust


def read_json(path: Path, *, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object in a file; a missing file gives `default` where there is one.

    Raises: `UserError` that names the file.
    """
    if not path.is_file():
        if default is None:
            raise UserError(f"{path} is missing; the folder is not a Hugging Face checkpoint")
        return dict(default)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {type(value).__name__}, not a JSON object")
    return cast("dict[str, Any]", value)


def _special_texts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the named special tokens (`bos_token`, `eos_token`, ...)."""
    texts: dict[str, str] = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(name)
        value = _mapping(value).get("content", value)
        if isinstance(value, str):
            texts[name] = value
    return texts


def _mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object, an empty one for any other value."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _end_tokens(folder: Path, rust: RustTokenizer, texts: Mapping[str, str]) -> frozenset[int]:
    """Return every id that ends a completion: generation_config's, config's, the tokenizer's."""
    ends: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        value = read_json(folder / name, default={}).get("eos_token_id")
        ids = cast("list[Any]", value) if isinstance(value, list) else [value]
        ends.update(i for i in ids if isinstance(i, int) and not isinstance(i, bool))
    own = rust.token_to_id(texts["eos_token"]) if "eos_token" in texts else None
    if own is not None:
        ends.add(own)
    return frozenset(ends)


def _template_of(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the chat template from its own file, else from tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not text in UTF-8; save it again") from error
    template: Any = config.get("chat_template")
    if isinstance(template, list):  # several named templates: the one called "default"
        entries = (_mapping(entry) for entry in cast("list[Any]", template))
        template = next((t.get("template") for t in entries if t.get("name") == "default"), None)
    return template if isinstance(template, str) else None


_TODAY = datetime.date(2024, 7, 26)
"""The day that templates are told it is: Llama 3's own, where they can ask for none. A prompt
that changes with the date would give another run tomorrow; `transformers` tells them the truth."""


@lru_cache(maxsize=16)
def _compiled(template: str) -> Any:
    """Compile a chat template for Jinja's sandbox, set up as `transformers` does."""
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> str:
        raise jinja2.TemplateError(message)

    def to_json(value: object, *, ensure_ascii: bool = False, **style: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **style)

    def now(pattern: str) -> str:
        return _TODAY.strftime(pattern)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals.update({"raise_exception": refuse, "strftime_now": now})  # pyright: ignore
    # transformers' tag round the replies; to us it only means what stands in it
    template = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", template)
    template = re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", template)
    return environment.from_string(template)
