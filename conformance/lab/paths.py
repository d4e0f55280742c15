"""Where things are. `WORK` is not checked in and survives runs; the state of one run lives in a temporary folder."""

from pathlib import Path

CONFORMANCE = Path(__file__).resolve().parent.parent
PROJECT = CONFORMANCE.parent
WORK = CONFORMANCE / ".work"
VENV = WORK / "venv"
MISSING = WORK / "missing.json"
LAST_LOGS = WORK / "last-logs"
TOKIO_CLIENT = CONFORMANCE / "tokio-client"
CLIENTS = Path(__file__).resolve().parent / "clients"
SYSTEM_PYTHON = "/usr/bin/python3"
SUITES = CONFORMANCE / "suites"


def suite(name):
    """The source of a library, fetched at run time, that holds its test suite."""
    return WORK / "suites" / name
