"""The command `glimpseworld`: picks the sub-command and turns expected failures into one clear line."""

from __future__ import annotations

import importlib
import os
import sys

from .allocator import keep_freed_memory

COMMANDS = {
    "train": ("an agent acts and a seq-JEPA learns online from what it sees", "train_command"),
    "evaluate": ("what a run's model has learned, on held-out objects or images", "evaluate"),
    "horizons": ("how far ahead a run's model sees, by jumps and by feeding predictions back", "horizons"),
    "summary": ("evaluated runs side by side, seeds pooled", "summary"),
    "compare": ("a grid of methods and seeds: runs, table and figures in one folder", "compare.command"),
    "control": ("agents in tasks on the same held-out episodes: table and figures in one folder", "control.command"),
    "homing": ("how a run's model finds the way back after imposed motions", "homing"),
    "policy": (
        "policies by reinforcement learning, on pixels or a world model: train, play, compare",
        "policy.command",
    ),
    "rollout": ("watch or record an agent in an environment", "play"),
    "dataset": ("record an agent's episodes into a file or a Minari data set", "dataset"),
    "bench": ("how fast environments and planning are on this machine", "bench"),
    "docs": ("write the environments' documentation from their docstrings", "docs"),
}


def main() -> None:
    """Run the command line; exits with 1 after an expected failure, 2 after a wrong call, 141 as `head` ends others."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"glimpseworld: no command {name!r}\n\n{_help()}", file=sys.stderr)
        sys.exit(2)
    keep_freed_memory()
    try:
        importlib.import_module(f".{COMMANDS[name][1]}", __package__).main(rest)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has seen enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt as error:
        print("\n" + ": ".join(["glimpseworld: interrupted", *map(str, error.args)]), file=sys.stderr)
        sys.exit(130)
    except expected_errors() as error:
        if os.environ.get("GLIMPSEWORLD_TRACEBACK"):
            raise
        print(f"glimpseworld {name}: {error}", file=sys.stderr)
        sys.exit(1)


def expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors that say by themselves what to do, so that a traceback would only hide it."""
    import gymnasium as gym

    from ..world_model.checkpoint import CheckpointError
    from ..world_model.learner import LossNotFiniteError

    return (CheckpointError, LossNotFiniteError, gym.error.Error, ValueError, OSError)


def _help() -> str:
    lines = [f"  {name:10} {what}" for name, (what, _) in COMMANDS.items()]
    closing = "glimpseworld COMMAND --help tells more. With GLIMPSEWORLD_TRACEBACK=1, errors show where they arose."
    return "usage: glimpseworld COMMAND ...\n\n" + "\n".join(lines) + f"\n\n{closing}"


if __name__ == "__main__":
    main()
