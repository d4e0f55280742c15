"""nbxmpp, Gajim's library: a real client process per transport; each step it reports is a check of its own.

Debian's is of 2023 and knows classic SASL only; the one of PyPI takes SASL2 (XEP-0388) where it is offered, without Bind 2.
"""

import json
import subprocess
from functools import cache

from .. import paths
from ..check import Failed, add

STEPS = ("login", "roster", "message", "presence", "disconnect")


@cache
def report(lab, label, python, transport):
    """What the client reports: {step: "ok" or what went wrong}."""
    first, second = lab.strict.account("gajim"), lab.strict.account("other")
    port = 5222 if transport == "starttls" else 5223
    order = {
        "transport": transport,
        "host": f"{lab.strict.address}:{port}",
        "accounts": [{"jid": a.jid, "password": a.password} for a in (first, second)],
    }
    done = subprocess.run(
        [str(python), str(paths.CLIENTS / "nbxmpp_client.py")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env=lab.environment(),
        timeout=60,
    )
    (lab.processes.logs / f"{label}.log").write_text(done.stderr)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {step: f"the client ended with {done.returncode}: {done.stderr.strip()[-300:]}" for step in STEPS}


def step(lab, label, python, transport, name):
    outcome = report(lab, label, python, transport).get(name, "was not reached")
    if outcome != "ok":
        raise Failed(outcome)


def took_sasl2(lab, label, python, transport):
    step(lab, label, python, transport, "login")
    log = (lab.processes.logs / f"{label}.log").read_text()
    if "<authenticate xmlns='urn:xmpp:sasl:2'" not in log.replace('"', "'"):
        raise Failed("SASL2 is offered, and it did not take it")


for transport in ("starttls", "direct-tls"):
    for name in STEPS:
        add(
            f"nbxmpp-{transport}-{name}",
            step,
            f"nbxmpp-{transport}",
            paths.SYSTEM_PYTHON,
            transport,
            name,
            needs=["nbxmpp"],
        )
        modern = f"nbxmpp-sasl2-{transport}", paths.VENV / "bin" / "python3", transport
        add(f"nbxmpp-sasl2-{transport}-{name}", step, *modern, name, needs=["nbxmpp", "nbxmpp-7"])
    add(f"nbxmpp-sasl2-{transport}-taken", took_sasl2, *modern, needs=["nbxmpp", "nbxmpp-7"])
