"""Command line of the registration stage, and of what `pipelines` calls beside it."""

import logging
import sys

from stages.core.cli import stage_main
from stages.core.errors import ClozeError
from stages.core.logs import set_up_logging
from stages.registration.commands import COMMANDS
from stages.registration.params import RegistrationParams
from stages.registration.run import INPUTS, run


def command(name: str, argv: list[str]) -> int:
    """Run a command; our errors become a line and an exit code."""
    set_up_logging("registration")
    try:
        COMMANDS[name](argv)
    except ClozeError as error:
        logging.getLogger("stages").error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(command(sys.argv[1], sys.argv[2:]))
    sys.exit(
        stage_main(
            "registration", RegistrationParams, run, inputs=INPUTS, outputs=("registration",)
        )
    )
