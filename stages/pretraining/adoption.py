"""Going on from a checkpoint of other code, or of a shorter budget, on the user's word.

Checkpoints live in a folder named by settings, data and code, so that a training picks up nothing
else's. `adopt` copies one into the folder of the present settings: after checking that nothing but
the code or the budget differs, and with a record of what differed and why in `adoptions.json`
there, which goes into the manifest and the tracking run.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json, write_json
from stages.core.errors import ArtifactError, ClozeError, SettingsError
from stages.core.logs import fields, set_up_logging
from stages.core.settings import PARAMS_FILE, load_section
from stages.core.state import checkpoints_root
from stages.pretraining import checkpoints
from stages.pretraining.identity import IDENTITY, identity, key_of
from stages.pretraining.lease import lease
from stages.pretraining.params import INPUTS, PretrainingParams

log = logging.getLogger(__name__)
_RECORDS = "adoptions.json"
_AMOUNT = "params.budget.amount"


def adopt(
    checkpoint: Path, reason: str, params: PretrainingParams, paths: Mapping[str, Path]
) -> checkpoints.Checkpoint:
    """Copy `checkpoint` (its folder, or the newest of a folder) to where `params` look for theirs.

    Raises: ArtifactError: it is damaged, or of other data, or none. SettingsError: more than code
    and budget differ, nothing differs, its budget is spent, or the training has its own already.
    LeaseError: a trainer works on either folder.
    """
    if not reason.strip():
        raise SettingsError("adopt: --reason is empty, expected why this is right to go on from")
    found = _find(checkpoint)
    source, wanted = found.folder.parent, identity(params, paths)
    target = checkpoints_root() / key_of(wanted)
    changed = _changes(_identity(source), wanted)
    _require_adoptable(found, changed, params)
    with lease(source), lease(target):
        present = checkpoints.newest(target)
        if present:
            raise SettingsError(
                f"{target}: has step {present.step} of its own; delete that folder to go on from "
                f"{found.folder} instead, or run dvc repro to go on from it"
            )
        record = {"from": source.name, "step": found.step, "content": found.content}
        record |= {"reason": reason, "changed": changed}
        write_json(target / _RECORDS, [*adoptions(source), record])
        write_json(target / IDENTITY, wanted)
        return checkpoints.copy(found, target)


def adoptions(folder: Path) -> list[dict[str, Any]]:
    """What the trainings of this checkpoint folder went on from, the oldest first."""
    path = folder / _RECORDS
    records: list[dict[str, Any]] = read_json(path) if path.is_file() else []
    return records


def tags(records: list[dict[str, Any]]) -> dict[str, str]:
    """The last adoption as tags of the tracking run; none without one."""
    if not records:
        return {}
    last = records[-1]
    shown = {name: f"{before} -> {after}" for name, (before, after) in last["changed"].items()}
    return {
        "adopted.from": f"{last['from']} step {last['step']}",
        "adopted.reason": last["reason"],
        "adopted.changed": "; ".join(f"{name}: {change}" for name, change in shown.items()),
    }


def _find(path: Path) -> checkpoints.Checkpoint:
    if path.name.startswith("step-"):
        return checkpoints.read(path.resolve())
    found = checkpoints.newest(path.resolve())
    if not found:
        raise ArtifactError(
            f"{path}: holds no undamaged checkpoint; expected a folder step-... or the folder of "
            f"them below {checkpoints_root()}"
        )
    return found


def _identity(folder: Path) -> dict[str, Any]:
    path = folder / IDENTITY
    if not path.is_file():
        raise ArtifactError(
            f"{path}: missing, so what these checkpoints are of cannot be compared; expected it "
            "beside the checkpoints of every training"
        )
    facts: dict[str, Any] = read_json(path)
    return facts


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted name -> what it was and what it is, of everything that differs."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    names = sorted(old.keys() | new.keys())
    return {n: [old.get(n), new.get(n)] for n in names if old.get(n) != new.get(n)}


def _leaves(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _require_adoptable(
    found: checkpoints.Checkpoint, changed: Mapping[str, list[Any]], params: PretrainingParams
) -> None:
    if not changed:
        raise SettingsError(
            f"{found.folder}: is of these very settings, data and code; dvc repro goes on from it"
        )
    faults = [
        f"{name} was {before} and is {after}"
        for name, (before, after) in changed.items()
        if name not in ("code", _AMOUNT) and not _is_known_to_one_code(name, changed)
    ]
    if faults:
        raise SettingsError(
            f"{found.folder}: {'; '.join(faults)}; only the code and pretraining.budget.amount may "
            "differ: set these back, or use pretraining.start to begin anew from its weights"
        )
    spent = found.state()["ledger"]["spent"][params.budget.unit]
    if spent >= params.budget.amount:
        raise SettingsError(
            f"{found.folder}: has spent {spent:g} {params.budget.unit} and pretraining.budget is "
            f"{params.budget.amount:g}; set a longer one"
        )


def _is_known_to_one_code(name: str, changed: Mapping[str, list[Any]]) -> bool:
    """Whether a setting came or went with the code."""
    return "code" in changed and name.startswith("params.") and None in changed[name]


def main() -> int:
    """Adopt from the command line; exit codes as for every stage."""
    set_up_logging("pretraining")
    parser = argparse.ArgumentParser(prog="python -m stages.pretraining.adoption")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--reason", required=True)
    parser.add_argument("--params", type=Path, default=PARAMS_FILE)
    for name in INPUTS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        params = load_section(PretrainingParams, "pretraining", arguments.params)
        paths = {name: getattr(arguments, name) for name in INPUTS}
        adopted = adopt(arguments.checkpoint, arguments.reason, params, paths)
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    log.info("%s", fields("adopted", step=adopted.step, checkpoint=adopted.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
