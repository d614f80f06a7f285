"""Dropout whose masks are cheap on a CPU and keyed, so that a resumed step draws them again.

torch draws CPU dropout number by number, 7 ns each, which costs more than the layer it drops from.
Here 64 random bits give four masks of 16 bits; they are a function of (seed, rank, step, piece) and
the order of the calls. The probability is rounded to a multiple of 2**-16, and the scale with it,
so that the expectation stays exact.
"""

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Noise:
    """The source of a training's dropout masks on this rank."""

    def __init__(self, seed: int, rank: int) -> None:
        self._key = (seed, rank)
        self._generator = np.random.Generator(np.random.SFC64(self._key))

    def start(self, step: int, piece: int) -> None:
        """Begin the draws of one micro-batch."""
        self._generator = np.random.Generator(np.random.SFC64((*self._key, step, piece)))

    def mask(self, shape: torch.Size, probability: float) -> Tensor:
        """0 with `probability`, otherwise what keeps the expectation: float32 of this shape."""
        size = shape.numel()
        words = self._generator.integers(
            0, 2**64 - 1, size=-(-size // 4), dtype=np.uint64, endpoint=True
        )
        mask = torch.from_numpy(words.view(np.int16))[:size].float()
        dropped = round(probability * _LEVELS)
        # Whole numbers: what is below the threshold falls to 0 or less, the rest to 1 or more.
        scale = _LEVELS / (_LEVELS - dropped)
        threshold = dropped - _LEVELS // 2
        return mask.sub_(threshold - 1).mul_(scale).clamp_(0.0, scale).view(shape)


class Dropout(nn.Module):
    """`nn.Dropout` with masks from a `Noise`."""

    def __init__(self, p: float, noise: Noise) -> None:
        super().__init__()
        self.p, self.noise = p, noise

    def forward(self, hidden: Tensor) -> Tensor:
        """What is kept, scaled; in evaluation the input itself."""
        if not self.training or not self.p:
            return hidden
        return hidden * self.mask(hidden)

    def mask(self, hidden: Tensor) -> Tensor:
        """The next mask, of the shape and type of `hidden`."""
        return self.noise.mask(hidden.shape, self.p).to(hidden.dtype)


def replace_dropout(model: nn.Module, noise: Noise) -> None:
    """Let every dropout of a model draw from `noise`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout | Dropout):
                setattr(module, name, Dropout(child.p, noise))
