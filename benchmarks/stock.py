"""`transformers.Trainer` as the baseline, and a step of ours after each of its own."""

import tempfile
import time
from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments


def steps_beside(
    model: Any,
    rows: list[dict[str, Any]],
    our_step: Callable[[], float],
    *,
    collator: Callable[[Any], Any],
    steps: int,
    **settings: Any,
) -> list[tuple[float, float]]:
    """Train with the Trainer; for each step its seconds, and what ours returned right after it.

    Its time is from the end of our step to the end of its own. `settings` are further
    `TrainingArguments`.
    """
    pairs: list[tuple[float, float]] = []

    class Pair(TrainerCallback):
        ended = 0.0

        def on_step_end(self, *_args: Any, **_more: Any) -> None:
            seconds = time.perf_counter() - self.ended
            pairs.append((seconds, our_step()))
            self.ended = time.perf_counter()

    stock_trainer(
        model, rows, collator=collator, steps=steps, callbacks=[Pair()], **settings
    ).train()
    return pairs


def stock_trainer(
    model: Any,
    rows: list[dict[str, Any]],
    *,
    collator: Callable[[Any], Any],
    steps: int,
    callbacks: list[TrainerCallback] | None = None,
    **settings: Any,
) -> Trainer:
    """A Trainer that only trains: nothing is logged, saved or reported."""
    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),
        max_steps=steps,
        weight_decay=0.01,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"seed": 1, "learning_rate": 1e-4, **settings},
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=collator,
        callbacks=callbacks,
    )
