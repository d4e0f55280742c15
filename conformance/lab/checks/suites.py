"""The libraries' own test suites: slixmpp's integration tests and aioxmpp's end-to-end tests, each test a check.

Which tests there are, and which of them are known not to pass and why, stands in `suites/*.toml`. A test that fails and is
not listed fails the run, and so does one that is listed and passes, or one that nobody has heard of.
"""

import json
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from .. import paths
from ..check import Failed, Skip, Took, add

SUITES = ("slixmpp", "aioxmpp")
LIMIT = 400  # seconds for a whole suite


@cache
def manifest(suite):
    return tomllib.loads((paths.SUITES / f"{suite}.toml").read_text())


def deviations(suite, kind):
    """{test: reason} for the server in the place of the one under test."""
    listed = manifest(suite).get("deviation", [])
    return {test: entry["reason"] for entry in listed if entry["server"] in (kind, "any") for test in entry["tests"]}


def slixmpp(lab):
    server = lab.strict
    accounts = [server.account("slix") for _ in range(2)]
    environment = dict(lab.environment(), CI_MUC_SERVER=f"rooms.{server.domain}")
    for number, account in enumerate(accounts, 1):
        environment[f"CI_ACCOUNT{number}"] = account.jid
        environment[f"CI_ACCOUNT{number}_PASSWORD"] = account.password
    command = [
        str(paths.VENV / "bin" / "python3"),
        str(paths.CLIENTS / "slixmpp_suite.py"),
        str(paths.suite("slixmpp")),
    ]
    return command + sorted(deviations("slixmpp", lab.kind)), environment


def aioxmpp(lab):
    script = str(paths.CLIENTS / "aioxmpp_suite.py")
    # The server with open registration.
    arguments = [str(paths.suite("aioxmpp")), lab.lax.address, lab.lax.domain]
    return [paths.SYSTEM_PYTHON, script, *arguments], lab.environment()


def run(lab, suite):
    """Runs a suite; returns {test: (result, seconds, reason)}."""
    command, environment = {"slixmpp": slixmpp, "aioxmpp": aioxmpp}[suite](lab)
    with open(lab.processes.logs / f"suite-{suite}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    (lab.processes.logs / f"suite-{suite}-report.log").write_bytes(output)
    lines = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    return {line["name"]: (line["result"], line["seconds"], line["reason"]) for line in lines}


@cache
def report(lab, wanted):
    """What came of the suites, which run side by side: mostly they wait. {suite: {test: …}}"""
    with ThreadPoolExecutor() as pool:
        return dict(zip(wanted, pool.map(lambda suite: run(lab, suite), wanted)))


def outcomes(lab, suite):
    """The outcomes of one suite; the other is not run when no check asks for it."""
    chosen = tuple(name for name in SUITES if any(c.startswith(f"suite-{name}-") for c in lab.chosen))
    return report(lab, chosen)[suite]


def test(lab, suite, name):
    result, seconds, reason = outcomes(lab, suite).get(name, ("failed", 0.0, "was not run"))
    known = deviations(suite, lab.kind).get(name)
    if result == "passed":
        if known is not None:
            raise Failed(f"passes, and is listed as a deviation: {known}")
        return Took(seconds)
    if known is not None:
        raise Skip(f"deviation: {known}")
    raise Failed(f"{result}: {reason}")


def inventory(lab, suite):
    """Every test that was run is known, so that none is left out when the suite grows."""
    ran, known = set(outcomes(lab, suite)), set(manifest(suite)["tests"])
    listed = {test for entry in manifest(suite).get("deviation", []) for test in entry["tests"]}
    if ran - known:
        raise Failed(f"run and not in suites/{suite}.toml: {', '.join(sorted(ran - known))}")
    if listed - known:
        raise Failed(f"deviations of no test in suites/{suite}.toml: {', '.join(sorted(listed - known))}")


for suite in SUITES:
    needs = (suite, f"suite-{suite}")
    add(f"suite-{suite}-inventory", inventory, suite, needs=needs)
    for name in manifest(suite)["tests"]:
        add(f"suite-{suite}-{name}", test, suite, name, needs=needs)
