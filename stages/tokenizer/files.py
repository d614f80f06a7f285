"""Write a tokenizer so that `AutoTokenizer.from_pretrained` loads it, without transformers.

Importing transformers takes seconds, its files are small: `tokenizer.json` is written by
`tokenizers`, `tokenizer_config.json` names BERT's class and special tokens, `vocab.txt` is for
people and older tools. A test loads the folder with transformers.
"""

from pathlib import Path

from tokenizers import Tokenizer

from stages.core.artifacts import write_json
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, entries_in_order, normalizer_facts

TOKENIZER_FILE = "tokenizer.json"
# BERT's longest sequence; a model of another length states its own in its config.json.
MODEL_MAX_LENGTH = 512


def save_tokenizer(folder: Path, tokenizer: Tokenizer, *, model_max_length: int) -> None:
    """Write the three files; transformers takes the normaliser from the second, not the first."""
    # Not tokenizer.save: its errors of a full disk are no OSError.
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    entries = entries_in_order(tokenizer)
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    normalizer = normalizer_facts(tokenizer)
    configuration = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": normalizer["lowercase"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
        "strip_accents": normalizer["strip_accents"],
        "model_max_length": model_max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{role}_token": token for role, token in SPECIAL_TOKENS.items()},
    }
    write_json(folder / "tokenizer_config.json", configuration)
