"""Command line of the registration stage, and of what `pipelines` calls beside it."""

import sys

from stages.core.cli import command_main, stage_main
from stages.registration.commands import COMMANDS
from stages.registration.params import RegistrationParams
from stages.registration.run import INPUTS, run

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(command_main("registration", COMMANDS, sys.argv[1:]))
    sys.exit(
        stage_main(
            "registration", RegistrationParams, run, inputs=INPUTS, outputs=("registration",)
        )
    )
