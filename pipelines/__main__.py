"""Command line: `python -m pipelines COMMAND`; `--help` lists the commands.

Exit codes are those of the stages: 0 done, 2 settings or usage, 3 bad input, 4 a server that does
not answer, 1 a bug, 130 and 143 stopped.
Prefect is imported by `train` alone; torch, transformers, datasets and mlflow by none of them.
"""

import os

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # prefect's and others': 0.04 s for nothing

import argparse
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType

from pipelines.combinations import stage_options
from pipelines.recipes import (
    changed_params,
    differences,
    parse_assignment,
    write_params,
)
from pipelines.servers import reach_own_servers
from pipelines.settings import load_settings
from stages.core.errors import ClozeError
from stages.core.logs import set_up_logging
from stages.core.settings import PARAMS_FILE
from stages.core.tracking.journal import SHIPPER_MODULE
from stages.pretraining.params import INPUTS

log = logging.getLogger("pipelines")
Command = Callable[[argparse.Namespace], int]


def check(_arguments: argparse.Namespace) -> int:
    """Validate params.yaml: every section, then how they fit."""
    load_settings(Path.cwd())
    log.info("%s is valid, and its sections fit together", PARAMS_FILE)
    return 0


def doctor(_arguments: argparse.Namespace) -> int:
    """Say what could stop a run on this machine, and what to do about it."""
    report, code = import_module("pipelines.doctor.report").examine(Path.cwd())
    sys.stdout.write(report)
    return int(code)


def use(arguments: argparse.Namespace) -> int:
    """Apply a recipe and overrides to params.yaml, and show what changed."""
    root = Path.cwd()
    overrides = [parse_assignment(text) for text in arguments.set]
    before = (root / PARAMS_FILE).read_text(encoding="utf-8")
    after, _ = changed_params(root, arguments.recipe, overrides)
    changes = list(differences(before, after))
    sys.stdout.writelines(f"{line}\n" for line in changes)
    if changes:
        write_params(root, after)
    log.info("%s: %d parameters changed", PARAMS_FILE, len(changes))
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Say what pre-training will take, and whether it fits, before anything runs."""
    overrides = [parse_assignment(text) for text in arguments.set]
    make = import_module("pipelines.plan").plan_training
    sys.stdout.write(make(Path.cwd(), arguments.recipe, overrides, arguments.machine))
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Run the pipeline as a Prefect flow, here and now."""
    overrides = [parse_assignment(text) for text in arguments.set]
    run = import_module("pipelines.local_run").run_here
    return int(run(arguments.recipe, overrides, arguments.flow, arguments.revision))


def compare(arguments: argparse.Namespace) -> int:
    """Pre-train and fine-tune several objectives at equal compute, and report them side by side."""
    comparison = import_module("pipelines.compare")
    plan = comparison.Plan(
        objectives=comparison.parse_objectives(arguments.objectives),
        budget=comparison.parse_budget(arguments.budget),
        is_as_published=arguments.as_published,
        num_pretraining_seeds=arguments.pretraining_seeds,
        recipe=arguments.recipe,
        overrides=tuple(parse_assignment(text) for text in arguments.set),
    )
    root = Path.cwd()
    name = time.strftime("compare-%Y%m%dT%H%M%S")
    table = comparison.run_comparison(root, plan, name)
    sys.stdout.write(f"{comparison.headline(root)}\n\n{table}\n")
    sys.stdout.write(f"page: {root / comparison.REPORTS / 'comparison.html'}\n")
    return 0


def show(_arguments: argparse.Namespace) -> int:
    """Print the scores of the last run, and where to look further."""
    sys.stdout.write(import_module("pipelines.last_run").overview(Path.cwd()))
    return 0


def up(_arguments: argparse.Namespace) -> int:
    """Start MLflow, Prefect and workers on this machine, and deploy the flows."""
    addresses = import_module("pipelines.up").start_all(Path.cwd())
    sys.stdout.writelines(f"{name:8} {url}\n" for name, url in addresses.items())
    return 0


def deploy(_arguments: argparse.Namespace) -> int:
    """Deploy the flows on a Prefect server that runs, with pools, queues and the automation."""
    api = import_module("pipelines.up").deploy(Path.cwd())
    log.info("deployed on %s", api)
    return 0


def down(_arguments: argparse.Namespace) -> int:
    """Stop what `up` started."""
    for name in import_module("pipelines.up").stop_all():
        log.info("stopped %s", name)
    return 0


def adopt(arguments: argparse.Namespace) -> int:
    """Let pre-training go on from a checkpoint of other code or of a shorter budget."""
    options = stage_options(Path.cwd(), "pretraining")
    inputs = [word for name in INPUTS for word in options[name]]
    command = [sys.executable, "-m", "stages.pretraining.adoption", str(arguments.checkpoint)]
    command += ["--reason", arguments.reason, *inputs]
    return subprocess.run(command, check=False).returncode


def submission(arguments: argparse.Namespace) -> int:
    """Write the zip for GLUE's test server, or check any such zip."""
    command = [sys.executable, "-m", "stages.evaluation", "submission"]
    command += stage_options(Path.cwd(), "evaluation")["finetuning"]
    command += ["--out", "reports/glue-submission.zip"]
    command += ["--check", str(arguments.check)] if arguments.check else []
    return subprocess.run(command, check=False).returncode


def gate(arguments: argparse.Namespace) -> int:
    """Compare the candidate with the champion, and promote it if the rule says so."""
    promotion = import_module("pipelines.promotion")
    make = promotion.history if arguments.history else promotion.judge
    sys.stdout.write(make(Path.cwd()))
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Make the candidate, or a version by its number, the champion by hand."""
    move = import_module("pipelines.promotion").promote
    sys.stdout.write(move(Path.cwd(), arguments.version, arguments.reason))
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Make the champions before the present ones champions again."""
    move = import_module("pipelines.promotion").rollback
    sys.stdout.write(move(Path.cwd(), arguments.reason))
    return 0


def replay(_arguments: argparse.Namespace) -> int:
    """Bring what the journal holds into MLflow now, and wait for it."""
    return subprocess.run([sys.executable, "-m", SHIPPER_MODULE, "--flush"], check=False).returncode


COMMANDS: tuple[Command, ...] = (
    check,
    doctor,
    use,
    plan,
    train,
    compare,
    adopt,
    submission,
    gate,
    promote,
    rollback,
    show,
    up,
    deploy,
    down,
    replay,
)


def main() -> int:
    """Parse the command line, run the command, turn our errors into exit codes."""
    set_up_logging("pipelines")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _leave)
    reach_own_servers()
    arguments = _parser().parse_args()
    try:
        return int(arguments.command(arguments))
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130


def _leave(number: int, _frame: FrameType | None) -> None:
    """Leave through the context managers: children are ended, a borrowed server is given back."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="Cloze's pipeline.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        summary = (command.__doc__ or "").rstrip(".")
        sub = commands.add_parser(command.__name__, help=summary, description=summary)
        sub.set_defaults(command=command)
        _add_options(sub, command)
        _add_promotion_options(sub, command)
    return parser


def _add_options(sub: argparse.ArgumentParser, command: Command) -> None:
    if command is use:
        sub.add_argument("recipe", nargs="?", help="a name below recipes/, without .yaml")
    if command in (train, compare):
        sub.add_argument("--recipe", help="run with this recipe, in a worktree of its own")
    if command is train:
        flows = ("train", "pretrain", "finetune", "evaluate", "refresh")
        sub.add_argument("--flow", choices=flows, default="train", help="docs/prefect.md")
        sub.add_argument("--revision", help="run this branch, tag or commit, in a worktree")
    if command is adopt:
        sub.add_argument("checkpoint", type=Path, help="a folder step-..., or of several")
        sub.add_argument("--reason", required=True, help="kept with the model for ever")
    if command is submission:
        sub.add_argument("--check", type=Path, help="a zip to look at; nothing is written")
    if command is compare:
        _add_comparison_options(sub)
    if command is plan:
        sub.add_argument("--recipe", help="of this recipe, in place of the present settings")
        sub.add_argument("--machine", help="h100, a100-80, ...; else this one is measured")
    if command in (use, plan, train, compare):
        sub.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override"
        )


def _add_promotion_options(sub: argparse.ArgumentParser, command: Command) -> None:
    if command is gate:
        sub.add_argument("--history", action="store_true", help="print what was decided so far")
    if command is promote:
        sub.add_argument("--version", metavar="N", help="of the encoder; else the candidate")
    if command in (promote, rollback):
        sub.add_argument("--reason", required=True, help="kept with the versions for ever")


def _add_comparison_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--objectives", default="bert,roberta,spanbert,electra", help="separated by commas"
    )
    parser.add_argument(
        "--budget", required=True, metavar="UNIT=AMOUNT", help="of each pre-training: flops=3e13"
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="each paper's own tokenizer, masks and optimiser instead of equal ones",
    )
    parser.add_argument(
        "--pretraining-seeds", type=int, default=1, metavar="N", help="pre-trainings of each"
    )


if __name__ == "__main__":
    sys.exit(main())
