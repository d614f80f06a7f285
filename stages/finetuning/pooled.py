"""A linear classifier on pooled layers of an encoder that is left as it is, and its checkpoint.

A text's vector in each layer is the mean over its tokens. The head reads the last layer's, or a
learnt weighted sum of all, the embeddings counted as layer 0. The checkpoint is the encoder's own
with `pooled_head.safetensors` and `pooled_head.json` beside it: transformers has no such class.
Source of the weighted sum: Peters et al. 2018, equation 1 (weights softmax, one common scale).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel

from stages.core.artifacts import read_json, write_json

HEAD_FILE = "pooled_head.json"
_WEIGHTS_FILE = "pooled_head.safetensors"
_INIT_STD = 0.02


class PooledHead(nn.Module):
    """From an example's vectors, one a layer, to outputs."""

    def __init__(self, hidden_size: int, num_layers: int, num_outputs: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(num_layers))
        self.scale = nn.Parameter(torch.ones(()))
        self.classifier = nn.Linear(hidden_size, num_outputs)
        nn.init.normal_(self.classifier.weight, std=_INIT_STD)
        nn.init.zeros_(self.classifier.bias)
        for weight in (self.mix, self.scale):
            weight.requires_grad_(num_layers > 1)

    def forward(self, vectors: Float[Tensor, "B L H"]) -> Float[Tensor, "B C"]:
        """Outputs of examples."""
        shares = torch.softmax(self.mix, dim=0)
        outputs: Tensor = self.classifier(self.scale * torch.einsum("l,blh->bh", shares, vectors))
        return outputs


def layer_means(
    body: Any, batch: Mapping[str, Tensor], *, is_every_layer: bool
) -> Float[Tensor, "B L H"]:
    """The mean over each example's tokens, of the last layer or of every one."""
    given = body(**batch, output_hidden_states=is_every_layer)
    layers = given.hidden_states if is_every_layer else (given.last_hidden_state,)
    mask = batch["attention_mask"][:, None, :, None].to(layers[0].dtype)
    hidden = torch.stack(tuple(layers), dim=1)
    return (hidden * mask).sum(dim=2) / mask.sum(dim=2)


def save_pooled(folder: Path, body: Any, head: PooledHead, facts: Mapping[str, Any]) -> None:
    """Write encoder and head; `facts` are kept beside them (labels, problem_type)."""
    body.save_pretrained(folder)
    save_file(head.state_dict(), folder / _WEIGHTS_FILE)
    shape = {"num_layers": len(head.mix), "num_outputs": head.classifier.out_features}
    write_json(folder / HEAD_FILE, {**facts, **shape})


def load_pooled(folder: Path) -> tuple[Any, PooledHead, dict[str, Any]]:
    """Encoder, head and facts of what `save_pooled` wrote, ready to predict."""
    facts = read_json(folder / HEAD_FILE)
    body = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    head = PooledHead(body.config.hidden_size, facts["num_layers"], facts["num_outputs"])
    head.load_state_dict(load_file(folder / _WEIGHTS_FILE))
    return body.eval(), head.eval(), facts
