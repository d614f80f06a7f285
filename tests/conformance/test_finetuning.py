"""Fine-tuning against transformers: the same ids, losses and gradients, and no trace of padding."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stages.finetuning import classifier
from stages.finetuning.batches import padded_batch
from stages.finetuning.classifier import Classifier, load_encoder
from stages.finetuning.features import load_tokenizer
from stages.finetuning.task import read_task
from stages.finetuning.training import predict
from tests.unit.finetuning.builders import write_start, write_task

SHAPES = {
    "single": {},
    "pair": {"is_pair": True},
    "three classes": {"num_classes": 3, "metrics": ["accuracy"]},
    "regression": {"kind": "regression", "is_pair": True},
}
MAX_SEQ_LENGTH = 10  # so that some are cut


@pytest.fixture(scope="module", params=["bert", "roberta", "electra"])
def start(request, tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "encoder", request.param)


@pytest.fixture(params=list(SHAPES))
def task(request, tmp_path):
    return read_task(write_task(tmp_path / "task", **SHAPES[request.param]), None)


def test_ids_types_and_truncation_are_those_of_the_tokenizer_of_transformers(start, task):
    examples = task.splits["train"]
    features = load_tokenizer(start, MAX_SEQ_LENGTH).encode(examples)
    theirs = AutoTokenizer.from_pretrained(start)(
        examples.text_a, examples.text_b, truncation=True, max_length=MAX_SEQ_LENGTH
    )
    assert features.num_truncated > 0
    assert features.ids.tolist() == [token for ids in theirs["input_ids"] for token in ids]
    assert features.types.tolist() == [one for types in theirs["token_type_ids"] for one in types]
    assert features.lengths.tolist() == [len(ids) for ids in theirs["input_ids"]]


def test_loss_and_gradients_are_those_of_transformers(start, task):
    features = load_tokenizer(start, MAX_SEQ_LENGTH).encode(task.splits["train"])
    ours = load_encoder(start, task, 1).eval()
    theirs = load_encoder(start, task, 1).eval()
    chosen = np.array([3, 1, 4, 15, 9])
    loss = Classifier(ours, task).loss(features, chosen)
    loss.backward()
    labels = torch.tensor(task.labels("train")[chosen])
    labels = labels.float() if task.is_regression else labels.long()
    reference = theirs(**padded_batch(features, chosen), labels=labels).loss
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad)


def test_predictions_do_not_see_the_padding_of_their_batch(start, task):
    features = load_tokenizer(start, MAX_SEQ_LENGTH).encode(task.splits["dev"])
    outputs = predict(Classifier(load_encoder(start, task, 1), task), features)
    model = load_encoder(start, task, 1).eval()
    with torch.no_grad():
        for n in range(0, len(outputs), 7):
            alone = padded_batch(features, np.array([n]))
            assert alone["attention_mask"].all()
            logits = model(alone["input_ids"], token_type_ids=alone["token_type_ids"]).logits[0]
            assert outputs[n] == pytest.approx(logits.numpy(), abs=1e-5)


def test_an_encoder_of_another_kind_is_given_padded_batches_and_predicts_the_same(
    start, task, monkeypatch
):
    features = load_tokenizer(start, MAX_SEQ_LENGTH).encode(task.splits["dev"])
    packed = predict(Classifier(load_encoder(start, task, 1), task), features)
    monkeypatch.setattr(classifier, "PACKED", ())
    monkeypatch.setattr(classifier, "packed_batch", None)
    assert predict(Classifier(load_encoder(start, task, 1), task), features) == pytest.approx(
        packed, abs=1e-5
    )


def test_the_encoder_is_the_one_that_transformers_loads(start, task):
    ours = load_encoder(start, task, 1).state_dict()
    theirs = AutoModelForSequenceClassification.from_pretrained(start).state_dict()
    for name, value in ours.items():
        if not name.startswith("classifier"):
            assert torch.equal(value, theirs[name]), name
