"""Runs aioxmpp's end-to-end tests, of which it is given the folder, and prints one JSON line per test.

The suite is not ours: it is fetched as Debian's source package. Each client of a test gets a fresh account, registered in
band just before it logs in, so that no test sees what another left behind.
"""

import itertools
import json
import os
import secrets
import sys
from pathlib import Path

import aioxmpp
import aioxmpp.connector
import aioxmpp.e2etest
import aioxmpp.ibr
import aioxmpp.node
import pytest
from aioxmpp.e2etest.provision import _AutoConfiguredProvisioner, configure_quirks, configure_tls_config


class Registering(_AutoConfiguredProvisioner):
    """Registers an account per client (XEP-0077)."""

    def configure(self, section):
        super().configure(section)
        self._domain = aioxmpp.JID.fromstr(section.get("domain"))
        self._peer = (section.get("host"), section.getint("port"), aioxmpp.connector.STARTTLSConnector())
        self._tls = configure_tls_config(section)
        self._quirks = configure_quirks(section)
        self._prefix = f"aio-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)

    async def _make_client(self, logger):
        jid = self._domain.replace(localpart=f"{self._prefix}-{next(self._numbers)}")
        password = secrets.token_hex(8)
        _, stream, _ = await aioxmpp.node.connect_xmlstream(
            jid,
            aioxmpp.make_security_layer(None, **self._tls),
            negotiation_timeout=10.0,
            override_peer=[self._peer],
            logger=logger,
        )
        await aioxmpp.ibr.register(stream, aioxmpp.ibr.Query(jid.localpart, password), timeout=10)
        await stream.close_and_wait()
        return aioxmpp.PresenceManagedClient(
            jid, aioxmpp.make_security_layer(password, **self._tls), override_peer=[self._peer], logger=logger
        )


class Report:
    """Prints what came of each test."""

    def __init__(self):
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        seconds, result, reason = self.outcomes.get(report.nodeid, (0.0, "passed", ""))
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            result, reason = "failed", (crash.message if crash else str(report.longrepr)).splitlines()[0]
        elif report.skipped:
            result, reason = "skipped", str(report.longrepr[2]).removeprefix("Skipped: ")
        self.outcomes[report.nodeid] = (seconds + report.duration, result, reason)
        if report.when == "teardown":
            seconds, result, reason = self.outcomes[report.nodeid]
            name = report.nodeid.removeprefix("tests/").replace(".py::", ".").replace("::", ".").replace("/", ".")
            name = name.replace("test_e2e.", "")
            line = {"name": name, "result": result, "seconds": round(seconds, 3), "reason": reason}
            print(json.dumps(line), file=OUTPUT, flush=True)


def main(folder, host, domain):
    os.chdir(folder)
    # Debian's library under test, with the tests of the same version.
    configuration = Path(os.environ["HOME"]) / "aioxmpp-e2e.ini"
    configuration.write_text(
        "[global]\nprovisioner=aioxmpp_suite.Registering\ntimeout=15\n"
        f"[aioxmpp_suite.Registering]\nhost={host}\nport=5222\ndomain={domain}\nno_verify=true\n"
    )
    files = sorted(str(file) for file in Path("tests").rglob("test_e2e.py"))
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "aioxmpp.e2etest", "--import-mode=importlib"]
    pytest.main([*options, f"--e2etest-config={configuration}", *files], plugins=[Report()])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # What the tests and pytest print must not be mixed with the report.
    OUTPUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.modules["aioxmpp_suite"] = sys.modules["__main__"]
    main(*sys.argv[1:])
