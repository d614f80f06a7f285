"""Byte-level BPE as RoBERTa has it, as an object of the `tokenizers` library.

Source: Radford et al. 2019 (bytes), Liu et al. 2019. Every byte is an entry, so nothing is unknown.
A space is put before the first word: `encoding` tokenises sentence by sentence, and a word must be
the same entry at the beginning of a sentence as inside it. The same text gives the same vocabulary
in every process: the trainer sorts its alphabet and breaks ties by id.
"""

from collections.abc import Callable, Iterable
from json import loads

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from stages.core.errors import SettingsError

SPECIAL_TOKENS = {
    "cls": "<s>",
    "pad": "<pad>",
    "sep": "</s>",
    "unk": "<unk>",
    "mask": "<mask>",
}
_MIN_FREQUENCY = 2


def train_bpe(
    texts: Callable[[], Iterable[str]],
    *,
    vocab_size: int,
    lowercase: bool,
    pad_to_multiple_of: int,
) -> Tokenizer:
    """Train on `texts()` and fill the vocabulary up; `lowercase` keeps accents.

    Raises: SettingsError: `vocab_size` does not hold the bytes, or the text gives fewer entries.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(alphabet) + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, expected at least {smallest}: the 256 bytes "
            "and the special tokens need as many"
        )
    tokenizer = _bare(BPE(), lowercase=lowercase)
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        initial_alphabet=alphabet,
        special_tokens=list(SPECIAL_TOKENS.values()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    found = tokenizer.get_vocab_size()
    if found < vocab_size:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, but the text can give only {found} entries; "
            f"lower it to at most {found}, or give more text (the corpus, or "
            "tokenizer.sample_bytes)"
        )
    model = loads(tokenizer.to_str())["model"]
    entries: dict[str, int] = model["vocab"]
    for number in range(-len(entries) % pad_to_multiple_of):
        entries[f"[unused{number}]"] = len(entries)
    merges = [tuple(merge) for merge in model["merges"]]
    return build_bpe(entries, merges, lowercase=lowercase)


def build_bpe(
    entries: dict[str, int], merges: list[tuple[str, str]], *, lowercase: bool
) -> Tokenizer:
    """The whole tokenizer: `<s> A </s>`, and `<s> A </s></s> B </s>` for a pair.

    `<mask>` takes the space before it, as RoBERTa's does: it stands for a word with its space.
    """
    tokenizer = _bare(BPE(vocab=entries, merges=merges), lowercase=lowercase)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, lstrip=role == "mask")
            for role, token in SPECIAL_TOKENS.items()
        ]
    )
    sep, cls = SPECIAL_TOKENS["sep"], SPECIAL_TOKENS["cls"]
    tokenizer.post_processor = processors.RobertaProcessing(
        (sep, entries[sep]), (cls, entries[cls]), trim_offsets=True, add_prefix_space=True
    )
    return tokenizer


def _bare(model: BPE, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer
