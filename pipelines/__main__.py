"""Run a stage of dvc.yaml, or one of the commands around the pipeline.

python -m pipelines <stage>     what `dvc repro` calls
python -m pipelines --help      everything else
"""

import argparse
import difflib
import errno
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable

from pipelines.errors import (
    TRY_AGAIN,
    Unreachable,
    UserError,
    note_of_a_full_disk,
    write_report,
)

PROGRAM = "python -m pipelines"
INTERRUPTED, NOBODY_READS = 130, 141  # exit codes: 128 + SIGINT, 128 + SIGPIPE


def main() -> int:
    """Run the command line.

    Exit codes: 0 done, 1 an error with its remedy, 2 wrong usage, 75 something did not answer and
    the same command may work later, 99 nothing to do, 130 interrupted, 141 nobody reads the output
    any more (`| head`).
    """
    if importlib.util.find_spec("pydantic") is None:
        print(
            "the pipeline's packages are not installed in this Python: "
            "`source .venv/bin/activate` (after `make setup`)",
            file=sys.stderr,
        )
        return 2
    _prepare_libraries()
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, _interrupt_handler(interrupts))
    try:
        code = execute(sys.argv[1:])
        sys.stdout.flush()  # here, so that a broken pipe is reported below
        return code
    except UserError as error:
        code = TRY_AGAIN if isinstance(error, Unreachable) else 1
        print(f"\n{error}\n{note_of_a_full_disk()}", file=sys.stderr)
        write_report(error, code)
        return code
    except (Exception, KeyboardInterrupt) as error:
        # Compiled code of a library may turn the interrupt into an error of its own.
        if isinstance(error, KeyboardInterrupt) or interrupts:
            print("\ninterrupted: the same command continues", file=sys.stderr)
            return INTERRUPTED
        write_report(error, 1)
        return _explain_crash(error)


def execute(words: list[str]) -> int:
    """Run the command or stage that the first word names, with the others as its options."""
    from pipelines import commands

    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return 0 if words else 2
    name, options = words[0], words[1:]
    if name in commands.names():
        module = commands.load(name)
        return commands.call(module, commands.parser(PROGRAM, name, module).parse_args(options))
    from pipelines import stages

    if name in stages.names():
        argparse.ArgumentParser(prog=f"{PROGRAM} {name}", description="").parse_args(options)
        stages.run(name)
        return 0
    names = [*stages.names(), *commands.names()]
    similar = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean `{similar[0]}`?" if similar else f"`{PROGRAM} --help` lists them"
    print(f"there is no stage or command `{name}`: {hint}", file=sys.stderr)
    return 2


def help_text() -> str:
    """All stages and commands, a line each."""
    from pipelines import commands, stages

    lines = [f"usage: {PROGRAM} COMMAND [options]     (COMMAND --help: its options)", "", "stages:"]
    lines += [f"  {name:<12} {summary}" for name, summary in stages.summaries().items()]
    lines += ["", "commands:"]
    lines += [f"  {name:<12} {summary}" for name, summary in commands.summaries().items()]
    return "\n".join(lines)


def _prepare_libraries() -> None:
    """Settings that libraries read from the environment when they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait slow down two trainings at once on 2 cores many times;
    # threads that sleep at once slow down a single one. These spin for some microseconds
    # (tests/bench/test_idle_threads.py).
    if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE") == "PASSIVE":
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if not shutil.which("nvidia-smi"):
        # Otherwise DeepSpeed warns at every import that it found no GPU.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def _interrupt_handler(interrupts: list[int]) -> Callable[[int, object], None]:
    """Notes each interrupt in `interrupts` and raises KeyboardInterrupt."""

    def handle(number: int, _frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    return handle


def _explain_crash(error: BaseException) -> int:
    """The exit code for an error that is not the user's; raises it if its traceback is needed."""
    if isinstance(error, BrokenPipeError) and _nobody_reads():
        return NOBODY_READS
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        subject = error.filename or error
        print(
            f"\nthe disk is full ({subject}): free some space, the same command continues\n",
            file=sys.stderr,
        )
        return 1
    print(note_of_a_full_disk(), file=sys.stderr)
    raise error


def _nobody_reads() -> bool:
    """Whether it is the standard output that broke.

    It is then turned off, since Python flushes it once more when it ends.
    """
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
