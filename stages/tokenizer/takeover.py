"""Take the tokenizer of a published or earlier checkpoint over, pinned by its revision.

In: a local folder with its content hash, or a hub id with its commit hash. Out: a `tokenizers`
object and its longest sequence. transformers reads the checkpoint (it knows the old formats) and
is imported only here; what does not fit BERT's WordPiece is refused.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stages.core.errors import ArtifactError
from stages.core.pinned import pinned_folder
from stages.core.settings import Checkpoint
from stages.tokenizer.files import MODEL_MAX_LENGTH
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, normalizer_facts

_HUB_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def take_over(start: Checkpoint) -> tuple[Tokenizer, int]:
    """The checkpoint's tokenizer and its longest sequence.

    Raises: SettingsError: the revision is not the folder's content, or pins nothing.
    ArtifactError: the checkpoint cannot be read, or is not BERT's WordPiece.
    """
    folder = pinned_folder(start, section="tokenizer", files=_HUB_FILES)
    loaded = _load(folder, start)
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    require_bert(tokenizer, start.checkpoint)
    longest = loaded.model_max_length
    return tokenizer, longest if longest <= 1_000_000 else MODEL_MAX_LENGTH  # unset: 1e30


def require_bert(tokenizer: Tokenizer, where: str) -> None:
    """Refuse a tokenizer that later stages would misread.

    Raises: ArtifactError: another model than WordPiece, another normaliser or special tokens, or
    ids with gaps.
    """
    found = (type(tokenizer.model).__name__, normalizer_facts(tokenizer)["type"])
    if found != ("WordPiece", "BertNormalizer"):
        raise ArtifactError(
            f"{where}: its tokenizer is (model, normaliser) {found}, expected "
            "('WordPiece', 'BertNormalizer'); choose a checkpoint of BERT's kind"
        )
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    missing = [token for token in SPECIAL_TOKENS.values() if token not in vocabulary]
    if missing:
        raise ArtifactError(
            f"{where}: its tokenizer has no {', '.join(missing)}; choose a checkpoint of BERT's "
            "kind"
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
