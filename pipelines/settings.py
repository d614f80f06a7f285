"""params.yaml as a whole: every section through its stage's model, then how the sections fit.

In: the plain values of params.yaml. Out: a `Settings`, or one SettingsError that lists every fault.
Models are imported here by the naming rule `stages.<stage>.params.<Stage>Params`; those modules
import pydantic alone, so that checking settings never waits for torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.combinations import combination_faults
from stages.core.errors import SettingsError
from stages.core.settings import PARAMS_FILE, Section, parse_section, read_yaml

if TYPE_CHECKING:
    from stages.corpus.params import CorpusParams
    from stages.encoding.params import EncodingParams
    from stages.evaluation.params import EvaluationParams
    from stages.finetuning.params import FinetuningParams
    from stages.masking.params import MaskingParams
    from stages.pretraining.params import PretrainingParams
    from stages.registration.params import RegistrationParams
    from stages.tasks.params import TasksParams
    from stages.tokenizer.params import TokenizerParams


@dataclass(frozen=True)
class Settings:
    """The validated sections, one a stage, in the order in which stages run."""

    tasks: "TasksParams"
    corpus: "CorpusParams"
    tokenizer: "TokenizerParams"
    encoding: "EncodingParams"
    masking: "MaskingParams"
    pretraining: "PretrainingParams"
    finetuning: "FinetuningParams"
    evaluation: "EvaluationParams"
    registration: "RegistrationParams"


SECTIONS = tuple(field.name for field in fields(Settings))


def section_model(section: str) -> type[Section]:
    """The settings model of a stage."""
    model = getattr(import_module(f"stages.{section}.params"), f"{section.capitalize()}Params")
    assert issubclass(model, Section)
    return model


def parse_settings(values: Mapping[str, Any], *, root: Path, file: Path = PARAMS_FILE) -> Settings:
    """Validate all sections, then their combination in the workspace `root`.

    Raises: SettingsError: one line per fault, all faults of all sections together.
    """
    faults = _unknown_sections(values, file)
    sections: dict[str, Section] = {}
    for name in SECTIONS:
        if name not in values:
            faults.append(f"{file}: section {name!r} is missing; it is stated in every {file.name}")
            continue
        parse = _parser(name, values[name], file)
        try:
            sections[name] = parse()
        except SettingsError as error:
            faults.extend(str(error).splitlines())
    if not faults:
        settings = Settings(**sections)  # type: ignore[arg-type]
        faults = [f"{file}: {fault}" for fault in combination_faults(settings, root)]
        if not faults:
            return settings
    raise SettingsError("\n".join(faults))


def load_settings(root: Path) -> Settings:
    """Read and validate the params.yaml of a workspace."""
    return parse_settings(read_yaml(root / PARAMS_FILE), root=root)


def _parser(name: str, values: Any, file: Path) -> Callable[[], Section]:
    return lambda: parse_section(section_model(name), values, where=name, file=file)


def _unknown_sections(values: Mapping[str, Any], file: Path) -> list[str]:
    faults = []
    for name in values:
        if name not in SECTIONS:
            near = get_close_matches(str(name), SECTIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            faults.append(f"{file}: {name} is not a known section{hint}")
    return faults
