"""Command line of the registration stage."""

import sys

from stages.core.cli import stage_main
from stages.registration.params import RegistrationParams
from stages.registration.run import run

if __name__ == "__main__":
    sys.exit(
        stage_main(
            "registration",
            RegistrationParams,
            run,
            inputs=("evaluation", "tasks", "pretraining", "finetuning"),
            outputs=("registration",),
        )
    )
