"""Take the tokenizer of a published or earlier checkpoint over, pinned by its revision.

In: a local folder with its content hash, or a hub id with its commit hash. Out: a `tokenizers`
object with its kind, special tokens and longest sequence. transformers reads the checkpoint (it
knows the old formats) and is imported only here; what is of no known kind is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stages.core.errors import ArtifactError
from stages.core.pinned import encoder_folder, pinned_folder
from stages.core.settings import Checkpoint
from stages.tokenizer.files import MODEL_MAX_LENGTH
from stages.tokenizer.kinds import KINDS

ROLES = ("pad", "unk", "cls", "sep", "mask")
_HUB_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Made:
    """A tokenizer that was trained or taken over."""

    tokenizer: Tokenizer
    kind: str
    special_tokens: Mapping[str, str]
    """Role (pad, unk, cls, sep, mask) -> token."""
    model_max_length: int


def take_over(start: Checkpoint) -> Made:
    """The checkpoint's tokenizer, its kind, its special tokens and its longest sequence.

    Raises: SettingsError: the revision is not the folder's content, or pins nothing.
    ArtifactError: the checkpoint cannot be read, or is of no kind that is known here.
    """
    folder = encoder_folder(pinned_folder(start, section="tokenizer", files=_HUB_FILES))
    loaded = _load(folder, start)
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    kind = kind_of(tokenizer, start.checkpoint)
    roles = {role: getattr(loaded, f"{role}_token") for role in ROLES}
    require_roles(tokenizer, roles, start.checkpoint)
    longest = loaded.model_max_length
    longest = longest if longest <= 1_000_000 else MODEL_MAX_LENGTH  # unset: 1e30
    return Made(tokenizer, kind, roles, longest)


def kind_of(tokenizer: Tokenizer, where: str) -> str:
    """The kind of a tokenizer, by its model and by what cuts its words.

    Raises: ArtifactError: it is of no kind that later stages would read right.
    """
    described = json.loads(tokenizer.to_str())
    found = (described["model"]["type"], _splitters(described["pre_tokenizer"]))
    normalizer = (described["normalizer"] or {"type": None})["type"]
    for name, kind in KINDS.items():
        is_normalised = kind.normalizer in (None, normalizer)
        if found[0] == kind.model and kind.splits_with in found[1] and is_normalised:
            return name
    expected = " or ".join(f"{kind.model} with {kind.splits_with}" for kind in KINDS.values())
    raise ArtifactError(
        f"{where}: its tokenizer is {found[0]} with {' and '.join(found[1]) or 'nothing'}, "
        f"expected {expected}: it tells nothing of words that can be read here; choose another "
        "checkpoint"
    )


def _splitters(pre_tokenizer: dict[str, Any] | None) -> list[str]:
    """The classes of a pre-tokenizer, those of a sequence one by one."""
    if pre_tokenizer is None:
        return []
    members = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return [member["type"] for member in members]


def require_roles(tokenizer: Tokenizer, roles: Mapping[str, str | None], where: str) -> None:
    """Refuse a tokenizer without a special token that later stages need, or with gaps in its ids.

    Raises: ArtifactError: naming the role.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    missing = [role for role, token in roles.items() if token not in vocabulary]
    if missing:
        raise ArtifactError(
            f"{where}: its tokenizer has no token for {', '.join(missing)}; masked language "
            f"models need {', '.join(ROLES)}: choose another checkpoint"
        )
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ArtifactError(
            f"{where}: its token ids are not 0 to {len(vocabulary) - 1}; mend its tokenizer"
        )


def _load(folder: Path, start: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{start.checkpoint}: its tokenizer cannot be read ({error}); expected tokenizer.json "
            "or vocab.txt beside tokenizer_config.json"
        ) from error
