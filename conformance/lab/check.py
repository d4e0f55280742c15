"""What a check is, the register of all checks, and the runner.

A check is a function with a name. It passes when it returns, fails when it raises, and is skipped when it raises
`Skip`, which is only for what truly cannot be had or what the server in the place of the one under test does not offer.
"""

import asyncio
import inspect
import time
import traceback
from dataclasses import dataclass

CHECK_LIMIT = 90.0  # seconds that one check may take


class Skip(Exception):
    """The check cannot run here; the text says why."""


class Failed(AssertionError):
    """The check ran and the server did something else than it must."""


@dataclass(frozen=True)
class Check:
    """A named check: the function, and the tools it needs (names from `install`)."""

    name: str
    function: object
    needs: tuple
    arguments: tuple


@dataclass(frozen=True)
class Took:
    """What a check returns that reads a report: the seconds of what the report tells of, not of the reading."""

    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of a check. `result` is "passed", "failed" or "skipped"."""

    name: str
    result: str
    seconds: float
    reason: str = ""


REGISTER: dict[str, Check] = {}


def add(name, function, *arguments, needs=()):
    """Registers a check; `arguments` follow the lab when it is called."""
    if name in REGISTER:
        raise ValueError(f"two checks are named {name}")
    REGISTER[name] = Check(name, function, tuple(needs), arguments)


def check(name, *arguments, needs=()):
    """Registers the decorated function; may be stacked to run it with several arguments."""

    def register(function):
        add(name, function, *arguments, needs=needs)
        return function

    return register


def expect(condition, text):
    """Fails the check with `text` unless the condition holds."""
    if not condition:
        raise Failed(text)


def selected(patterns):
    """The checks to run: all, or those whose name is or begins with one of the patterns."""
    checks = [REGISTER[name] for name in sorted(REGISTER)]
    if not patterns:
        return checks
    chosen = [c for c in checks if any(c.name == p or c.name.startswith(p) for p in patterns)]
    unknown = [p for p in patterns if not any(c.name.startswith(p) for c in checks)]
    if unknown:
        raise SystemExit(f"no check is named {', '.join(unknown)}")
    return chosen


def run_one(chosen, lab, missing):
    """Runs a check within its time limit."""
    for tool in chosen.needs:
        if tool in missing:
            return Outcome(chosen.name, "failed", 0.0, f"{tool} is missing: {missing[tool]}")
    started = time.monotonic()

    def outcome(result, reason=""):
        return Outcome(chosen.name, result, time.monotonic() - started, reason)

    try:
        value = chosen.function(lab, *chosen.arguments)
        if inspect.isawaitable(value):
            value = asyncio.run(asyncio.wait_for(value, CHECK_LIMIT))
        if isinstance(value, Took):
            return Outcome(chosen.name, "passed", value.seconds)
        return outcome("passed")
    except Skip as skip:
        return outcome("skipped", str(skip))
    except Failed as failure:
        return outcome("failed", str(failure))
    except (TimeoutError, asyncio.TimeoutError) as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in where if "/lab/" in frame.filename]
        frame = (ours or where)[-1]
        text = str(error) or f"nothing came in time at {frame.filename.split('/')[-1]}:{frame.lineno}: {frame.line}"
        return outcome("failed", text)
    except Exception as error:  # a check must never end the run
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return outcome("failed", f"{type(error).__name__}: {error} ({frame.filename.split('/')[-1]}:{frame.lineno})")
