"""Several ranks on this machine under torchrun's agent, which starts all again when one dies.

torchrun itself answers a signal with a traceback, and a second one (a terminal's Ctrl-C reaches the
whole group) by leaving its ranks alone. Here the first signal is passed on to the ranks, which have
time to save; further ones change nothing. SIGUSR1 is what srun hands on instead of SIGTERM.
"""

import logging
import signal
import sys
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from stages.core.logs import set_up_logging
from stages.pretraining.parent import end_with_parent

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

log = logging.getLogger(__name__)


def main() -> int:
    """Run torchrun's command line; 1 when ranks failed too often, 128 + N after signal N."""
    set_up_logging("pretraining")
    end_with_parent(is_parent=True)
    for signum in _SIGNALS:
        signal.signal(signum, _stop)
    try:
        run(parse_args(sys.argv[1:]))
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        log.error("rank %d failed again: %s", rank, failure.message)
        return 1
    return 0


def _stop(signum: int, _frame: Any) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    passed = signal.SIGTERM if signum == signal.SIGUSR1 else signal.Signals(signum)
    raise SignalException("stopped", sigval=passed)


if __name__ == "__main__":
    sys.exit(main())
