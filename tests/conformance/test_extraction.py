"""Extraction against transformers: logits, loss and gradients of its own question answering."""

import numpy as np
import pytest
import torch

from stages.core.settings import parse_section
from stages.finetuning import span_finder
from stages.finetuning.batches import padded_batch
from stages.finetuning.classifier import load_encoder
from stages.finetuning.encoded import EncodedQuestions
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.features import load_tokenizer
from stages.finetuning.questions import Questions
from stages.finetuning.span_finder import SpanFinder, token_logits
from stages.finetuning.task import Task
from stages.finetuning.windows import answer_positions, make_windows
from tests.unit.finetuning.builders import write_start

SETTINGS = parse_section(
    ExtractionSettings,
    {"stride_tokens": 5, "max_question_tokens": 4, "max_answer_tokens": 3, "num_best": 2},
    where="test",
)


@pytest.fixture(scope="module", params=["bert", "roberta", "electra"])
def start(request, tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "encoder", request.param)


def encoded(start, sizes) -> tuple[Task, EncodedQuestions]:
    """Questions over contexts of so many words, the answer the third of them."""
    contexts = [
        " ".join(f"word{n % 20}" for n in range(k, k + size)) for k, size in enumerate(sizes)
    ]
    answers = [[context.split()[2]] for context in contexts]
    starts = [[len(" ".join(context.split()[:2])) + 1] for context in contexts]
    questions = Questions(
        np.arange(len(sizes)), ["good1 good2"] * len(sizes), contexts, answers, starts
    )
    windows = make_windows(
        load_tokenizer(start, 16),
        questions.question,
        questions.context,
        max_seq_length=16,
        settings=SETTINGS,
    )
    splits = {"train": questions, "dev": questions}
    task = Task("toy", "extraction", (), ("exact_match", "f1"), splits)
    return task, EncodedQuestions(questions, windows)


def test_logits_are_those_of_transformers_with_and_without_packing(start, monkeypatch):
    task, given = encoded(start, [3, 9, 20, 5])
    features = given.windows.features
    model = load_encoder(start, task, 1).eval()
    theirs = load_encoder(start, task, 1).eval()
    chosen = np.arange(len(features.lengths))
    with torch.no_grad():
        examples, logits = token_logits(model, features, chosen)
        batch = padded_batch(features, examples)
        whole = theirs(**batch)
        wanted = torch.stack([whole.start_logits, whole.end_logits], dim=-1)
        torch.testing.assert_close(logits, wanted[batch["attention_mask"]], atol=1e-5, rtol=1e-5)
        monkeypatch.setattr(span_finder, "PACKED", ())
        order, padded = token_logits(theirs, features, examples)
    assert order.tolist() == examples.tolist()
    torch.testing.assert_close(padded, logits, atol=1e-5, rtol=1e-5)


def test_loss_and_gradients_are_those_of_transformers(start):
    task, given = encoded(start, [9, 9, 9])  # of one length: theirs looks at padding too
    features = given.windows.features
    ours, theirs = (load_encoder(start, task, 1).eval() for _ in range(2))
    loss = SpanFinder(ours, task, SETTINGS).loss(given, np.array([2, 0, 1]))
    loss.backward()
    positions = answer_positions(given.windows, *given.questions.spans)
    assert positions.starts.min() > 0
    reference = theirs(
        **padded_batch(features, np.array([2, 0, 1])),
        start_positions=torch.from_numpy(positions.starts[[2, 0, 1]]),
        end_positions=torch.from_numpy(positions.ends[[2, 0, 1]]),
    ).loss
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad)
