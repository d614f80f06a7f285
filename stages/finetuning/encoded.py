"""A split's examples as token ids: made once, and read by every process that trains."""

import pickle
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int64
from numpy import ndarray

from stages.core.errors import SettingsError
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.features import Features, StartTokenizer, load_features
from stages.finetuning.questions import Questions
from stages.finetuning.task import TaskExamples
from stages.finetuning.windows import Windows, make_windows

_QUESTIONS_FILE = "questions.pickle"


@dataclass(frozen=True)
class EncodedQuestions:
    """A split's questions, and the windows that are learnt and predicted."""

    questions: Questions
    windows: Windows

    @property
    def lengths(self) -> Int64[ndarray, "W"]:
        """Tokens of each window."""
        return self.windows.features.lengths


Encoded = Features | EncodedQuestions


def encode(
    tokenizer: StartTokenizer,
    examples: TaskExamples | Questions,
    *,
    max_seq_length: int,
    extraction: ExtractionSettings | None,
) -> Encoded:
    """Token ids of texts or pairs, or of questions with their contexts as windows."""
    if isinstance(examples, TaskExamples):
        return tokenizer.encode(examples)
    assert extraction is not None, "require_settings asks for them"
    windows = make_windows(
        tokenizer,
        examples.question,
        examples.context,
        max_seq_length=max_seq_length,
        settings=extraction,
    )
    return EncodedQuestions(examples, windows)


def features_of(encoded: Encoded) -> Features:
    """The ids themselves."""
    return encoded.windows.features if isinstance(encoded, EncodedQuestions) else encoded


def require_settings(
    name: str, *, is_extraction: bool, extraction: ExtractionSettings | None, mode: str
) -> None:
    """Refuse a task whose kind and settings do not fit.

    Raises: SettingsError: extraction settings are missing or too many, or the mode is frozen.
    """
    where = f"params.yaml: finetuning.tasks.{name}.extraction"
    if is_extraction and extraction is None:
        raise SettingsError(
            f"{where} is missing, and answers are extracted; add {{stride_tokens: 128, "
            "max_question_tokens: 64, max_answer_tokens: 30, num_best: 20}"
        )
    if not is_extraction and extraction is not None:
        raise SettingsError(f"{where}: nothing is extracted in this task; take it out")
    if is_extraction and mode == "frozen":
        raise SettingsError(
            f"params.yaml: finetuning.mode is frozen, and {name} extracts answers, which is "
            "learnt with all weights alone; take the task off the list, or set mode: full"
        )


def save_encoded(encoded: Encoded, folder: Path) -> None:
    """Write a split for the processes that train on it."""
    if isinstance(encoded, Features):
        encoded.save(folder)
        return
    encoded.windows.features.save(folder)
    rest = {name: value for name, value in vars(encoded.windows).items() if name != "features"}
    (folder / _QUESTIONS_FILE).write_bytes(pickle.dumps((encoded.questions, rest)))


def load_encoded(folder: Path) -> Encoded:
    """What `save_encoded` wrote in this run."""
    features, file = load_features(folder), folder / _QUESTIONS_FILE
    if not file.is_file():
        return features
    questions, rest = pickle.loads(file.read_bytes())  # noqa: S301  our own, just made
    return EncodedQuestions(questions, Windows(features=features, **rest))
