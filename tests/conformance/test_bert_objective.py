"""BERT's losses and gradients against transformers' own, whatever ranks or accumulation do."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining

from stages.pretraining.objective import Rows
from stages.pretraining.objectives.bert import BertObjective, initialise

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def batch_of(size=6, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(8, width + 1, (size,), generator=generator)
    attention_mask = torch.arange(width) < lengths[:, None]
    input_ids = torch.randint(5, 60, (size, width), generator=generator) * attention_mask
    chosen = (torch.rand(size, width, generator=generator) < 0.2) & attention_mask
    chosen[:, 2] = True
    return {
        "input_ids": input_ids,
        "token_type_ids": (torch.arange(width) > 5).long().expand(size, -1) * attention_mask,
        "attention_mask": attention_mask,
        "masked_index": chosen.flatten().nonzero().flatten(),
        "labels": torch.randint(5, 60, (int(chosen.sum()),), generator=generator),
        "next_sentence_label": torch.randint(0, 2, (size,), generator=generator),
        "chosen": chosen,
    }


def objective(dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    made = BertObjective.from_scratch(SHAPE)
    return made.to(dtype)


def reference_loss(model: BertForPreTraining, batch):
    """transformers' own loss: it projects every position and ignores what is labelled -100."""
    labels = torch.full(batch["input_ids"].shape, -100)
    labels[batch["chosen"]] = batch["labels"]
    return model(
        input_ids=batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        next_sentence_label=batch["next_sentence_label"],
    ).loss


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_loss_and_gradients_equal_transformers(dtype, tolerance):
    made = objective(dtype)
    batch = batch_of()
    terms = made(batch)
    # In float64 the losses are still summed in float32 by design; compare at its precision.
    tolerance = max(tolerance, 1e-6)
    loss = sum(term.loss_sum / term.count for term in terms.values())
    loss.backward()
    ours = {name: weight.grad.clone() for name, weight in made.model.named_parameters()}
    made.zero_grad()
    expected = reference_loss(made.model, batch)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=tolerance)
    for name, weight in made.model.named_parameters():
        assert torch.allclose(ours[name], weight.grad, atol=tolerance), name


def test_counts_are_known_before_the_forward_pass():
    batch = batch_of()
    rows = Rows(np.zeros(6), batch["chosen"].sum(dim=1).numpy())
    terms = objective()(batch)
    assert BertObjective.counts(rows) == {name: term.count for name, term in terms.items()}


def test_accumulated_pieces_give_the_gradient_of_the_whole_batch():
    """Sums over global counts: pieces of unequal size weigh by their losses."""
    made, batch = objective(), batch_of()
    whole = made(batch)
    counts = {name: term.count for name, term in whole.items()}
    sum(term.loss_sum / counts[name] for name, term in whole.items()).backward()
    expected = [weight.grad.clone() for weight in made.parameters()]
    made.zero_grad()
    width = batch["input_ids"].shape[1]
    for first, last in [(0, 1), (1, 6)]:
        row = batch["masked_index"] // width
        inside = (row >= first) & (row < last)
        piece = {
            "masked_index": batch["masked_index"][inside] - first * width,
            "labels": batch["labels"][inside],
        }
        names = ("input_ids", "token_type_ids", "attention_mask", "next_sentence_label")
        piece |= {name: batch[name][first:last] for name in names}
        terms = made(piece)
        sum(term.loss_sum / counts[name] for name, term in terms.items()).backward()
    for weight, gradient in zip(made.parameters(), expected, strict=True):
        assert torch.allclose(weight.grad, gradient, atol=1e-7)


def test_a_batch_without_a_masked_position_is_no_nan():
    made, batch = objective(), batch_of()
    batch["masked_index"] = batch["masked_index"][:0]
    batch["labels"] = batch["labels"][:0]
    terms = made(batch)
    assert terms["mlm"].loss_sum.item() == 0
    terms["mlm"].loss_sum.backward()
    assert all(torch.isfinite(w.grad).all() for w in made.parameters() if w.grad is not None)


def test_initial_weights_are_the_originals():
    model = BertForPreTraining(BertConfig(**SHAPE | {"hidden_size": 64, "vocab_size": 3000}))
    initialise(model, 0.02)
    weight = model.bert.embeddings.word_embeddings.weight
    assert weight.abs().max() <= 0.04
    # A normal cut at two deviations keeps 0.8796 of its deviation.
    assert weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)
    assert model.cls.predictions.decoder.weight is weight
    assert model.bert.pooler.dense.bias.abs().max() == 0


def test_the_losses_are_plain_cross_entropies():
    made, batch = objective(), batch_of()
    terms = made(batch)
    output = made.model(
        input_ids=batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
    )
    mlm = cross_entropy(output.prediction_logits[batch["chosen"]].float(), batch["labels"])
    nsp = cross_entropy(output.seq_relationship_logits.float(), batch["next_sentence_label"])
    assert (terms["mlm"].loss_sum / terms["mlm"].count).item() == pytest.approx(mlm.item())
    assert (terms["nsp"].loss_sum / terms["nsp"].count).item() == pytest.approx(nsp.item())
