"""Rules between the sections of params.yaml, each a small function that names what does not fit.

A stage would refuse the same at run time, from the manifests it reads; here it is said before
anything runs. A rule yields one sentence a fault: the parameters, what was found, what to do.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.settings import read_yaml
from stages.pretraining.params import DEMANDS

if TYPE_CHECKING:
    from pipelines.settings import Settings

DVC_FILE = Path("dvc.yaml")


def combination_faults(settings: "Settings", root: Path) -> list[str]:
    """Every rule's faults; `root` is the workspace, for paths that settings name."""
    return [fault for rule in RULES for fault in rule(settings, root)]


def one_start(settings: "Settings", _root: Path) -> Iterator[str]:
    """The encoder and its tokenizer begin from the same checkpoint, or both from scratch."""
    tokenizer, pretraining = settings.tokenizer.start, settings.pretraining.start
    if tokenizer != pretraining:
        yield (
            f"tokenizer.start is {_shown(tokenizer)} but pretraining.start is "
            f"{_shown(pretraining)}; a checkpoint's weights need its own tokenizer: make them equal"
        )


def lengths_are_generated(settings: "Settings", _root: Path) -> Iterator[str]:
    """Every phase's length is one that the masking stage generates examples for."""
    made = [length.max_seq_length for length in settings.masking.lengths]
    for index, phase in enumerate(settings.pretraining.phases):
        if phase.max_seq_length not in made:
            yield (
                f"pretraining.phases.{index}.max_seq_length is {phase.max_seq_length}, "
                f"expected one of masking.lengths {made}; add it there"
            )


def lengths_are_used(settings: "Settings", _root: Path) -> Iterator[str]:
    """No length is generated that no phase reads: it would cost time and disk for nothing."""
    read = {phase.max_seq_length for phase in settings.pretraining.phases}
    for index, length in enumerate(settings.masking.lengths):
        if length.max_seq_length not in read:
            yield (
                f"masking.lengths.{index}.max_seq_length is {length.max_seq_length}, but "
                f"pretraining.phases read {sorted(read)} only; take it out or add a phase"
            )


def masking_fits_objective(settings: "Settings", _root: Path) -> Iterator[str]:
    """The objective can be trained on these examples and masks."""
    name, masking = settings.pretraining.objective, settings.masking
    demands = DEMANDS[name]
    if masking.examples not in demands.examples:
        yield (
            f"masking.examples is {masking.examples!r}, but pretraining.objective {name!r} "
            f"expects {' or '.join(demands.examples)}"
        )
    if masking.unit not in demands.units:
        yield (
            f"masking.unit is {masking.unit!r}, but pretraining.objective {name!r} "
            f"expects {' or '.join(demands.units)}"
        )
    if masking.random_token_probability and not demands.allows_random_tokens:
        yield (
            f"masking.random_token_probability is {masking.random_token_probability:g}, but "
            f"pretraining.objective {name!r} expects 0: its generator replaces what is masked"
        )


def positions_suffice(settings: "Settings", root: Path) -> Iterator[str]:
    """No phase and no task is longer than the positions that the new encoder will know."""
    if settings.pretraining.start != "scratch":
        return  # the checkpoint's own configuration says it; the stages check
    lengths = [phase.max_seq_length for phase in settings.pretraining.phases]
    positions = settings.pretraining.model.overrides.max_position_embeddings or max(lengths)
    for index, length in enumerate(lengths):
        if length > positions:
            yield (
                f"pretraining.phases.{index}.max_seq_length is {length}, expected at most "
                f"pretraining.model.overrides.max_position_embeddings ({positions})"
            )
    made_here = declared_outs(root).get("pretraining", [])
    for name, task in settings.finetuning.tasks.items():
        is_new = any(_is_below(Path(task.start), out) for out in made_here)
        if is_new and task.max_seq_length > positions:
            yield (
                f"finetuning.tasks.{name}.max_seq_length is {task.max_seq_length}, expected at "
                f"most the encoder's {positions} positions; shorten it, or set "
                "pretraining.model.overrides.max_position_embeddings"
            )


def starts_exist(settings: "Settings", root: Path) -> Iterator[str]:
    """Every task starts from what a stage makes, or from what is there."""
    outs = [out for made in declared_outs(root).values() for out in made]
    for name, task in settings.finetuning.tasks.items():
        start = Path(task.start)
        if not any(_is_below(start, out) for out in outs) and not (root / start).exists():
            yield (
                f"finetuning.tasks.{name}.start is {task.start!r}: no stage of {DVC_FILE} makes it "
                "and nothing is there; expected e.g. artifacts/pretraining/encoder"
            )


def inputs_exist(settings: "Settings", root: Path) -> Iterator[str]:
    """What DVC is to watch is there; remote addresses are left to DVC."""
    for section, path in (("tasks", settings.tasks.input), ("corpus", settings.corpus.input)):
        if "://" not in path and not (root / path).exists():
            yield f"{section}.input is {path!r}: nothing is there; expected a file, folder or URL"


RULES: tuple[Callable[["Settings", Path], Iterator[str]], ...] = (
    one_start,
    lengths_are_generated,
    lengths_are_used,
    masking_fits_objective,
    positions_suffice,
    starts_exist,
    inputs_exist,
)


def declared_outs(root: Path) -> dict[str, list[Path]]:
    """Stage -> its outs in dvc.yaml, a templated one cut off before its first variable."""
    outs = {}
    for stage, entry in read_yaml(root / DVC_FILE).get("stages", {}).items():
        declared = entry.get("do", entry).get("outs", [])
        paths = [next(iter(out)) if isinstance(out, dict) else out for out in declared]
        outs[stage] = [Path(path.partition("${")[0]) for path in paths]
    return outs


def stage_options(root: Path, stage: str) -> dict[str, list[str]]:
    """Option -> itself and its value, as dvc.yaml calls a stage: `--encoding PATH`."""
    words = str(read_yaml(root / DVC_FILE)["stages"][stage]["cmd"]).split()
    return {
        word.removeprefix("--"): [word, value]
        for word, value in pairwise(words)
        if word.startswith("--")
    }


def _is_below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _shown(start: Any) -> str:
    return repr(start) if isinstance(start, str) else repr(start.checkpoint)
