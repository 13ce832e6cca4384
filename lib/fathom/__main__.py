"""The command line: python -m fathom COMMAND.

sweep|probe|limit|law NAME
                       run an engine on an entry of params.yaml
PAPER/NOTEBOOK         run a notebook of a paper: a figure, or claims
data                   bring Fashion-MNIST into data/, where it is not there yet
inputs                 write what each stage depends on besides tables
plan [NAME]            an entry's grid, what is known, what the rest would take here
retrain [NAME]         train an entry (or all) anew, beside the committed tables
compare                the committed numbers and the present ones, claim by claim
figures [NAME]         redraw one figure (or all) from the tables
report                 what holds, where the figures are, what to type next
pages                  write CLAIMS.md, the gallery, the manifest and the counts of verdicts
stamp                  store the verdicts of the claim cells in the notebooks

--workers N, --memory-gib N, --scheduler tcp://host:port, --device auto|cpu|cuda
                       what to train on (or FATHOM_WORKERS, FATHOM_MEMORY_GIB,
                       FATHOM_SCHEDULER, FATHOM_DEVICE); on CPUs of one type none of them
                       changes a number, and rows from a GPU say so
FATHOM_BUILD           the path of a folder that stands in for build/, as where the repository
                       cannot be written
"""

import argparse
import os
import signal
import sys

from fathom import drawn

MACHINE = ("workers", "memory_gib", "scheduler", "device")
INTERRUPTED = "\nfathom: interrupted; what is finished is kept, the same command goes on from there"


def _leave(*_: object) -> None:
    """What Ctrl-C does while nothing has been begun."""
    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(130)


def main() -> int:
    """0; 1 where a notebook failed; 2 with one sentence for input that is refused; 130 when
    interrupted."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m fathom", description=__doc__, formatter_class=about)
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="one of the above")
    for name in MACHINE:
        parser.add_argument(f"--{name.replace('_', '-')}", help=argparse.SUPPRESS)
    asked = vars(parser.parse_args())
    words = asked.pop("words")
    given = {f"FATHOM_{name.upper()}": value for name, value in asked.items() if value is not None}
    os.environ.update(given)  # so that every command started from here is told too
    # jsonschema, which nbformat imports, would build this one's grammar at import: two seconds of
    # every command, for a check of addresses that no notebook has
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    if "DVC_STAGE" in os.environ and len(words) == 1 and drawn.take(words[0]):
        return 0
    from fathom import commands  # takes seconds all the same

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return commands.answer(words)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of a script's `command &`
        signal.signal(signal.SIGINT, _leave)
    sys.exit(main())
