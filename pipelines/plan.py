"""`plan`: what a pre-training will take, before anything runs, as lines to read.

The settings are validated here; the numbers are made by the stage, in a child process that prints
JSON. Artefacts are handed to it where dvc.lock says that they were made with these settings.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from pipelines.combinations import stage_options
from pipelines.recipes import changed_params
from pipelines.repro import StageError
from stages.core.settings import PARAMS_FILE, read_yaml
from stages.core.tracking.lineage import LOCK_FILE
from stages.pretraining.params import INPUTS

PLANNING_MODULE = "stages.pretraining.planning"
# What an artefact is made from: the sections of the stages up to it.
_UPSTREAM = ("tasks", "corpus", "tokenizer", "encoding", "masking")
_GIB = 2.0**30
_YEAR_DAYS = 365
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimiser",
    "activations": "activations",
    "logits": "logits",
    "workspace": "working space",
    "reserved_bytes": "the program",
}


def plan_training(
    root: Path, recipe: str | None, overrides: Sequence[Mapping[str, Any]], machine: str | None
) -> str:
    """The plan of the present settings, or of a recipe's, as text.

    Raises: ClozeError: settings or the machine's name are wrong, or the stage failed.
    """
    text, _ = changed_params(root, recipe, overrides)
    values = YAML(typ="safe", pure=True).load(text)
    with TemporaryDirectory(prefix="cloze-plan-") as folder:
        file = Path(folder) / PARAMS_FILE
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", PLANNING_MODULE, "--params", str(file)]
        command += _artefacts(root, values)
        if machine is not None:
            command += ["--machine", machine]
        result = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise StageError("no plan was made", result.returncode)
    return "\n".join(plan_lines(json.loads(result.stdout))) + "\n"


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """A plan in lines: whether it fits, memory, a table of phases, the budget in every unit."""
    yield from _memory_lines(plan)
    yield ""
    yield from _table(plan)
    yield ""
    total, unit = plan["total"], plan["budget"]["unit"]
    amounts = " = ".join(
        f"{name} {total[name]:.4g}" for name in ("steps", "tokens", "flops", "minutes")
    )
    yield f"budget, set in {unit}: {amounts}"
    yield f"evaluation comes on top: {_duration(plan['evaluation_minutes'])}"
    for note in plan["notes"]:
        yield f"- {note}"


def _memory_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    memory, where = plan["memory"], plan["machine"]
    processes = plan["processes"]
    devices = f"{processes} x {where}" if processes > 1 else where
    model = (
        f"{plan['objective']}, {_short(plan['parameters'])} parameters, vocabulary "
        f"{plan['vocab_size']:,}, {plan['precision']}, on {devices}"
    )
    total, available = memory["total_bytes"] / _GIB, memory["available_bytes"] / _GIB
    verdict = "Fits" if memory["fits"] else "DOES NOT FIT"
    each = " for each process" if processes > 1 else ""
    yield f"{verdict}: needs {total:.1f} of {available:.1f} GiB{each}"
    yield f"  {model}"
    for line in memory["advice"]:
        yield f"  {line}"
    is_small = total < 2
    scale, unit, form = (2.0**20, "MiB", ".0f") if is_small else (_GIB, "GiB", ".2f")
    parts = [f"{name} {memory[key] / scale:{form}}" for key, name in _PARTS.items()]
    yield f"  in {unit}: {', '.join(parts)}"
    if memory["fits"]:
        yield f"  CLOZE_MICRO_BATCH_SEQUENCES fits up to {memory['largest_micro_batch_sequences']}"


def _table(plan: Mapping[str, Any]) -> Iterator[str]:
    """A column a phase, and one for all of them where there are several."""
    phases = plan["phases"]
    columns = [dict(phase) for phase in phases]
    names = [f"{phase['max_seq_length']} tokens" for phase in phases]
    if len(phases) > 1:
        columns.append(dict(plan["total"]))
        names.append("in all")
    yield _row("phase", names)
    for name, key, show in _ROWS:
        values = [show(column[key]) if column.get(key) is not None else "" for column in columns]
        if any(values):
            yield _row(name, values)


def _row(name: str, values: Sequence[str]) -> str:
    return (f"{name:18}" + "".join(f"{value:>18}" for value in values)).rstrip()


def _short(number: float) -> str:
    """Three digits and a letter from a million on."""
    for scale, letter in _SCALES:
        if number >= scale:
            return f"{number / scale:.3g} {letter}"
    return f"{number:,.0f}"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _duration(minutes: float) -> str:
    """The two largest units."""
    if minutes < 1:
        return f"{minutes * 60:.1f} s"
    whole = round(minutes)
    days, hours = divmod(whole // 60, 24)
    if days >= 2 * _YEAR_DAYS:
        return f"{days / _YEAR_DAYS:,.0f} years"
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {whole % 60} min" if hours else f"{minutes:.1f} min"


_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("updates", "steps", "{:,.0f}".format),
    ("sequences", "sequences", _short),
    ("epochs", "epochs", "{:.1f}".format),
    ("tokens", "tokens", _short),
    ("tokens a sequence", "tokens_per_sequence", "{:.1f}".format),
    ("FLOPs", "flops", "{:.3g}".format),
    ("passes an update", "passes", str),
    ("sequences a pass", "micro_batch_sequences", str),
    ("tokens/s", "tokens_per_second", _rate),
    ("time", "minutes", _duration),
)


def _artefacts(root: Path, values: Mapping[str, Any]) -> list[str]:
    """The options that name artefacts which these settings made and which are there."""
    made = _locked_sections(root)
    options = stage_options(root, "pretraining")
    words: list[str] = []
    for name in INPUTS:
        upstream = _UPSTREAM[: _UPSTREAM.index(name) + 1]
        is_made = all(stage in made and made[stage] == values[stage] for stage in upstream)
        if is_made and (root / options[name][1] / "manifest.json").is_file():
            words += options[name]
    return words


def _locked_sections(root: Path) -> dict[str, Any]:
    """Stage -> its section as dvc.lock has it: what the artefact that is there was made with."""
    lock = root / LOCK_FILE
    stages = read_yaml(lock).get("stages", {}) if lock.is_file() else {}
    return {
        name: entry.get("params", {}).get(str(PARAMS_FILE), {}).get(name)
        for name, entry in stages.items()
    }
