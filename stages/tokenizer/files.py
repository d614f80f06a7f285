"""Write a tokenizer so that `AutoTokenizer.from_pretrained` loads it, without transformers.

Importing transformers takes seconds, its files are small: `tokenizer.json` is written by
`tokenizers`, `tokenizer_config.json` names transformers' class and special tokens, `vocab.txt` is
for people and older tools. A test loads the folder with transformers.
"""

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from stages.core.artifacts import write_json
from stages.tokenizer.kinds import KINDS
from stages.tokenizer.wordpiece import entries_in_order

TOKENIZER_FILE = "tokenizer.json"
# BERT's longest sequence; a model of another length states its own in its config.json.
MODEL_MAX_LENGTH = 512


def save_tokenizer(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    kind: str,
    special_tokens: Mapping[str, str],
    model_max_length: int,
) -> None:
    """Write the three files; `special_tokens` are by role."""
    # Not tokenizer.save: its errors of a full disk are no OSError.
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    entries = entries_in_order(tokenizer)
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    configuration = {
        **KINDS[kind].configure(tokenizer),
        "model_max_length": model_max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{role}_token": token for role, token in special_tokens.items()},
    }
    write_json(folder / "tokenizer_config.json", configuration)
