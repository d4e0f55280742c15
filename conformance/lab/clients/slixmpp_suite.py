"""Runs slixmpp's integration tests, of which it is given the folder, and prints one JSON line per test.

The suite is not ours: it is fetched as the archive that PyPI has. Accounts come in the environment, as its authors want it.
"""

import asyncio
import json
import logging
import sys
import time
import unittest
from pathlib import Path

LIMIT = 15.0  # seconds that one test may take
SHORT = 4.0  # and one that is known not to pass: most of them wait for what never comes


class Report(unittest.TestResult):
    """Prints what came of each test."""

    def startTest(self, test):  # noqa: N802 (unittest's name)
        super().startTest(test)
        self.started = time.monotonic()

    def tell(self, test, result, reason=""):
        name = named(test)
        seconds = round(time.monotonic() - self.started, 3)
        print(json.dumps({"name": name, "result": result, "seconds": seconds, "reason": reason}), flush=True)

    def addSuccess(self, test):  # noqa: N802
        self.tell(test, "passed")

    def addSkip(self, test, reason):  # noqa: N802
        self.tell(test, "skipped", reason)

    def addFailure(self, test, error):  # noqa: N802
        self.tell(test, "failed", f"{error[0].__name__}: {error[1]}")

    addError = addFailure  # noqa: N815


def named(test):
    return test.id().removeprefix("itests.")


def limited(method, seconds):
    """Gives a step of a test an end."""

    async def run():
        try:
            await asyncio.wait_for(method(), seconds)
        except asyncio.TimeoutError:
            raise AssertionError(f"no end within {seconds:.0f} s") from None

    return run


def tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test)
        else:
            yield test


def main(folder, deviations):
    sys.path.insert(0, str(folder))
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    report = Report()
    for file in sorted((folder / "itests").glob("test_*.py")):
        try:
            module = __import__(f"itests.{file.stem}", fromlist=["suite"])
        except Exception as error:
            print(json.dumps({"name": file.stem, "result": "failed", "seconds": 0.0, "reason": str(error)}), flush=True)
            continue
        for test in tests(unittest.defaultTestLoader.loadTestsFromModule(module)):
            seconds = SHORT if named(test) in deviations else LIMIT
            for step in ("asyncSetUp", test._testMethodName):
                setattr(test, step, limited(getattr(test, step), seconds))
            test.run(report)


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2:]))
