"""Small artefacts written by hand, in the formats that the stages read."""

from pathlib import Path

import numpy as np

from stages.core.artifacts import write_json, write_manifest
from stages.core.token_store import token_dtype

SPECIAL_TOKEN_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
FIRST_WORD_ID = 5


def write_encoding(
    folder: Path, documents: dict[str, list[list[list[int]]]], vocab_size: int, word_starts=None
) -> None:
    """Write an encoding artefact by hand: split -> documents -> sentences -> token ids."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, texts in documents.items():
        sentences = [sentence for document in texts for sentence in document]
        tokens = [token for sentence in sentences for token in sentence]
        np.asarray(tokens, token_dtype(vocab_size)).tofile(folder / f"{split}.tokens.bin")
        starts = np.cumsum([0, *(len(sentence) for sentence in sentences)])
        np.save(folder / f"{split}.sentences.npy", starts.astype("<i8"))
        borders = np.cumsum([0, *(len(document) for document in texts)])
        np.save(folder / f"{split}.documents.npy", borders.astype("<i8"))
        counts[split] = {
            "tokens": len(tokens),
            "sentences": len(sentences),
            "documents": len(texts),
            "words": len(tokens),
            "whitespace_words": len(tokens),
        }
    starts = np.ones(vocab_size, dtype=bool) if word_starts is None else np.asarray(word_starts)
    np.save(folder / "word_starts.npy", starts)
    np.save(folder / "replacement_ids.npy", np.arange(FIRST_WORD_ID, vocab_size))
    properties = {
        "vocab_size": vocab_size,
        "dtype": str(token_dtype(vocab_size)),
        "special_token_ids": SPECIAL_TOKEN_IDS,
        "tokenizer_hash": "hand-made",
        "language": "en",
        "splits": counts,
    }
    write_manifest(folder, "encoding", properties)


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write as much of a tokenizer artefact as masking and pretraining read."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = {f"[{name.upper()}]": number for name, number in SPECIAL_TOKEN_IDS.items()}
    words = {f"w{number}": number for number in range(FIRST_WORD_ID, vocab_size)}
    write_json(
        folder / "tokenizer.json", {"model": {"vocab": specials | words}, "added_tokens": []}
    )
    write_manifest(
        folder,
        "tokenizer",
        {"vocab_size": vocab_size, "special_token_ids": SPECIAL_TOKEN_IDS},
    )


def random_documents(
    seed: int, num_documents: int, vocab_size: int, max_sentences: int = 25, max_length: int = 50
) -> list[list[list[int]]]:
    """Documents of random length, sentences and tokens."""
    generator = np.random.default_rng(seed)
    return [
        [
            generator.integers(
                FIRST_WORD_ID, vocab_size, generator.integers(1, max_length)
            ).tolist()
            for _ in range(generator.integers(1, max_sentences))
        ]
        for _ in range(num_documents)
    ]
