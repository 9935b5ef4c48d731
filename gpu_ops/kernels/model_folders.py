"""Where a model is, and what to say when it cannot be used: safetensors only, no remote code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# What is fetched of a hub repository: neither pickles nor code, so that nobody can run any of it.
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

# Of these a tokenizer is read; without any transformers would make an empty one.
_TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")


def check_name(model: str) -> bool:
    """Whether `model` is a folder. FileNotFoundError when it is neither one nor a possible hub name."""
    if Path(model).is_dir():
        return True
    if not HUB_NAME.fullmatch(model):
        raise FileNotFoundError(
            f"no model folder {model!r}; name a folder with config.json, *.safetensors and tokenizer.json "
            "(relative to the config file), or a hub name such as 'org/model'"
        )
    return False


def folder_of(model: str, kind: str) -> Path:
    """The folder with the model's files, fetched from the hub where `model` is a hub name.

    kind: what it should be, for messages. FileNotFoundError when there is none, ValueError when some part of
    it has its weights only as a pickle: loading one can run code.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # that of the hub too
    is_folder = check_name(model)
    folder = Path(model) if is_folder else _fetched(model, kind)
    for pickle in sorted([*folder.rglob("*.bin"), *folder.rglob("*.pt")]):
        if pickle.stem in ("pytorch_model", "model") and not list(pickle.parent.glob("*.safetensors")):
            raise ValueError(
                f"{model}: {pickle.relative_to(folder)} is a pickle, which could run code and is not loaded; "
                "save the model again with save_pretrained, which writes *.safetensors"
            )
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        raise unusable(model, is_folder, kind, OSError("config.json is missing."))
    return folder


def _fetched(model: str, kind: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_FETCHED))
    except (OSError, ValueError) as error:
        raise unusable(model, False, kind, error) from error


def unusable(model: str, is_folder: bool, kind: str, error: Exception) -> Exception:
    """What to raise when `model` does not load as `kind`, such as "causal language model"."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if is_folder:
        have = ", ".join(sorted(path.name for path in Path(model).iterdir())[:12]) or "nothing"
        return ValueError(
            f"model folder {model!r} does not load: {reason} It holds {have}; needed are config.json of a "
            f"{kind} that transformers knows, and *.safetensors weights"
        )
    return FileNotFoundError(
        f"{model!r} is no folder here and no {kind} that the hub gave: {reason} "
        "Check the name, or download the model and name its folder"
    )


def fast_tokenizer(model: str, is_folder: bool) -> Any:
    """The transformers tokenizer, its fast one plain. ValueError when there is none, or no fast one."""
    from transformers import AutoTokenizer

    if is_folder and not any(any(Path(model).glob(name)) for name in _TOKENIZERS):
        raise ValueError(f"{model}: it has no tokenizer; save one with the model (tokenizer.json)")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            model, local_files_only=is_folder, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model}: its tokenizer does not load (a tokenizer.json is needed): {error}"
        ) from error
    plain_tokenizer(model, tokenizer)
    return tokenizer


def plain_tokenizer(model: str, tokenizer: Any) -> Any:
    """The tokenizers.Tokenizer of a transformers tokenizer, which neither truncates nor pads.

    ValueError when it is no fast one."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None or not tokenizer.is_fast:
        raise ValueError(f"{model}: it has no fast tokenizer (tokenizer.json); save one with the model")
    fast.no_truncation()
    fast.no_padding()
    return fast
