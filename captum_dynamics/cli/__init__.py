"""The command line: `captum-dynamics demo`, `analyze`, `reproduce` and others."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from captum_dynamics import __version__
from captum_dynamics.cli._adapters import add_adapters
from captum_dynamics.cli._analyze import add_analyze
from captum_dynamics.cli._demo import add_demo
from captum_dynamics.cli._inspect import add_inspect
from captum_dynamics.cli._reproduce import add_reproduce
from captum_dynamics.exceptions import LayerNotFoundError

MISTAKE, INTERRUPTED = 2, 130
# What our checks raise for a user's model, file or argument. Anything else is no
# mistake of theirs, and keeps its traceback.
MISTAKES = (ValueError, TypeError, LayerNotFoundError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the program's name; by default those of the process.

    Returns:
        The exit code: 0, or 2 for a mistake in arguments, files or model, which is one
        line on the standard error stream; `--debug` shows where it arose. What is not
        foreseen is raised, with its traceback.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(message)s")
    try:
        text: str = arguments.run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("captum-dynamics: interrupted\n")
        return INTERRUPTED
    except MISTAKES as error:
        if arguments.debug:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        sys.stderr.write(f"captum-dynamics: error: {message}\n")
        return MISTAKE
    sys.stdout.write(text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captum-dynamics",
        description="Reverse engineer a trained recurrent network: find its fixed and "
        "slow points, say what they mean, and attribute its output to its inputs.",
        epilog="Start with `captum-dynamics demo`.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--debug", action="store_true", help="show the full traceback of an error"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_demo(commands)
    add_analyze(commands)
    add_inspect(commands)
    add_adapters(commands)
    add_reproduce(commands)
    return parser
