"""nbxmpp, Gajim's library: a real client process per transport; each step it reports is a check of its own."""

import json
import subprocess
from functools import cache

from .. import paths
from ..check import Failed, add

STEPS = ("login", "roster", "message", "presence", "disconnect")


@cache
def report(lab, transport):
    """What the client reports: {step: "ok" or what went wrong}."""
    first, second = lab.strict.account("gajim"), lab.strict.account("other")
    port = 5222 if transport == "starttls" else 5223
    order = {
        "transport": transport,
        "host": f"{lab.strict.address}:{port}",
        "accounts": [{"jid": a.jid, "password": a.password} for a in (first, second)],
    }
    done = subprocess.run(
        [paths.SYSTEM_PYTHON, str(paths.CLIENTS / "nbxmpp_client.py")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env=lab.environment(),
        timeout=60,
    )
    (lab.processes.logs / f"nbxmpp-{transport}.log").write_text(done.stderr)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {step: f"the client ended with {done.returncode}: {done.stderr.strip()[-300:]}" for step in STEPS}


def step(lab, transport, name):
    outcome = report(lab, transport).get(name, "was not reached")
    if outcome != "ok":
        raise Failed(outcome)


for transport in ("starttls", "direct-tls"):
    for name in STEPS:
        add(f"nbxmpp-{transport}-{name}", step, transport, name, needs=["nbxmpp"])
