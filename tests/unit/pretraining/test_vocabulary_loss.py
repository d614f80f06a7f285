"""The vocabulary's loss: torch's own numbers and gradients, whatever the cut."""

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from stages.pretraining import vocabulary_loss
from stages.pretraining.vocabulary_loss import vocabulary_term

ROWS, HIDDEN, WORDS = 7, 5, 23


def inputs(rows=ROWS):
    torch.manual_seed(0)
    shapes = ((rows, HIDDEN), (WORDS, HIDDEN), (WORDS,))
    made = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    return made, torch.randint(0, WORDS, (rows,))


@pytest.mark.parametrize("words_at_once", [4, 23, 1000])
def test_loss_and_gradients_are_those_of_torch(monkeypatch, words_at_once):
    monkeypatch.setattr(vocabulary_loss, "_WORDS_AT_ONCE", words_at_once)
    made, labels = inputs()
    term = vocabulary_term(*made, labels)
    (3 * term.loss_sum).backward()
    ours = [weight.grad.clone() for weight in made]
    for weight in made:
        weight.grad = None
    logits = linear(*made)
    expected = cross_entropy(logits, labels, reduction="sum")
    (3 * expected).backward()
    assert term.loss_sum.item() == pytest.approx(expected.item(), abs=1e-12)
    assert term.count == ROWS
    assert term.tallies["correct"] == (logits.argmax(dim=-1) == labels).sum()
    for mine, weight in zip(ours, made, strict=True):
        assert torch.allclose(mine, weight.grad, atol=1e-12)


def test_no_row_sums_to_zero_with_gradients_of_zero():
    made, labels = inputs(rows=0)
    term = vocabulary_term(*made, labels)
    term.loss_sum.backward()
    assert term.loss_sum.item() == 0
    assert term.tallies["correct"] == 0
    assert all((weight.grad == 0).all() for weight in made)


def test_evaluation_keeps_nothing_for_a_gradient():
    made, labels = inputs()
    with torch.no_grad():
        term = vocabulary_term(*made, labels)
    assert not term.loss_sum.requires_grad
