"""Unigram as SentencePiece has it, as an object of the `tokenizers` library.

Source: Kudo 2018. The trainer adds up probabilities in the order of a hash map that is seeded anew
in each process: scores differ by 1e-13, entries of equal score change places, and rare letters get
scores by chance. So scores are rounded, entries sorted and rare letters scored alike, and the same
text gives the same vocabulary in every process.
"""

import string
from collections.abc import Callable, Iterable
from json import loads

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from stages.core.errors import ArtifactError, SettingsError
from stages.tokenizer.wordpiece import SPECIAL_TOKENS

_SCORE_DIGITS = 4
_STEP = 1e-4  # the trainer's own
# Below any path of known characters: neither a special nor an unused entry comes out of text.
_NEVER = -10_000.0
_FIRST_ONLY = "first"  # the mark goes before a text's first word; what follows [MASK] keeps its own


def train_unigram(
    texts: Callable[[], Iterable[str]],
    *,
    vocab_size: int,
    lowercase: bool,
    pad_to_multiple_of: int,
) -> Tokenizer:
    """Train on `texts()` and fill the vocabulary up; `lowercase` keeps accents.

    Raises: SettingsError: the text gives fewer entries than `vocab_size`. ArtifactError: there is
    no text.
    """
    tokenizer = _bare(Unigram(), lowercase=lowercase)
    trainer = UnigramTrainer(
        vocab_size=vocab_size,
        # A text that spells out "[MASK]" must have another way to be written than the token.
        initial_alphabet=[letter for letter in string.printable if not letter.isspace()],
        special_tokens=list(SPECIAL_TOKENS.values()),
        unk_token=SPECIAL_TOKENS["unk"],
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts(), trainer)
    except Exception as error:  # the library raises no narrower one
        raise ArtifactError(f"corpus: no Unigram vocabulary can be trained ({error})") from error
    scored: list[tuple[str, float]] = loads(tokenizer.to_str())["model"]["vocab"]
    special = set(SPECIAL_TOKENS.values())
    trained = _settled([(entry, score) for entry, score in scored if entry not in special])
    trained = trained[: vocab_size - len(special)]
    found = len(trained) + len(special)
    if found < vocab_size:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, but the text can give only {found} entries; "
            f"lower it to at most {found}, or give more text (the corpus, or "
            "tokenizer.sample_bytes)"
        )
    unused = [f"[unused{number}]" for number in range(-found % pad_to_multiple_of)]
    never = [(entry, _NEVER) for entry in (*SPECIAL_TOKENS.values(), *unused)]
    return build_unigram(never[: len(special)] + trained + never[len(special) :], lowercase)


def _settled(scored: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Entries with what is random about them taken off: last digits, and the order of rare letters.

    To letters that it would have dropped the trainer gives the lowest score and steps of 1e-4 above
    it, in the order of its hash map: they all get the lowest.
    """
    lowest = round(min(score for _, score in scored), _SCORE_DIGITS)
    num_letters = sum(len(entry) == 1 for entry, _ in scored)
    reach = lowest + _STEP * (num_letters + 1)
    settled = [
        (entry, lowest if len(entry) == 1 and score < reach else round(score, _SCORE_DIGITS))
        for entry, score in scored
    ]
    return sorted(settled, key=lambda pair: (-pair[1], pair[0]))


def build_unigram(scored: list[tuple[str, float]], lowercase: bool) -> Tokenizer:
    """The whole tokenizer, with BERT's `[CLS] A [SEP] B [SEP]`; an entry's id is its place.

    `[MASK]` takes the space before it: it stands for a word with its mark.
    """
    entries = [entry for entry, _ in scored]
    tokenizer = _bare(
        Unigram(scored, entries.index(SPECIAL_TOKENS["unk"]), byte_fallback=False),
        lowercase=lowercase,
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=_FIRST_ONLY)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, lstrip=role == "mask")
            for role, token in SPECIAL_TOKENS.items()
        ]
    )
    cls, sep = SPECIAL_TOKENS["cls"], SPECIAL_TOKENS["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, entries.index(cls)), (sep, entries.index(sep))],
    )
    return tokenizer


def _bare(model: Unigram, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=_FIRST_ONLY)
    return tokenizer
