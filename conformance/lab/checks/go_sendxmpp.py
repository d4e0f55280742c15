"""go-sendxmpp (Go): one process listens, another sends, over each transport."""

import subprocess
import time

from ..check import Failed, check
from ..process import Processes


def arguments(account, port, direct_tls):
    words = ["go-sendxmpp", "-u", account.jid, "-p", account.password, "-j", f"{account.server.address}:{port}"]
    return words + (["-t"] if direct_tls else [])


@check("go-sendxmpp-starttls", 5222, False, needs=["go-sendxmpp"])
@check("go-sendxmpp-direct-tls", 5223, True, needs=["go-sendxmpp"])
def send_and_listen(lab, port, direct_tls):
    sender, listener = lab.strict.account("sender"), lab.strict.account("listener")
    label = f"go-sendxmpp-{port}"
    listening = Processes(lab.processes.logs)
    text = f"a line over port {port} & <more>"
    try:
        process = listening.start(label, [*arguments(listener, port, direct_tls), "-l"], env=lab.environment())
        output = lab.processes.logs / f"{label}.log"
        deadline = time.monotonic() + 30
        # The listener says nothing when it is ready, so the message is repeated until it is shown. It may also be kept for it.
        while time.monotonic() < deadline:
            sent = subprocess.run(
                [*arguments(sender, port, direct_tls), listener.jid],
                input=text + "\n",
                capture_output=True,
                text=True,
                env=lab.environment(),
                timeout=30,
            )
            if sent.returncode != 0:
                raise Failed(f"the sender ended with {sent.returncode}: {sent.stderr.strip()}")
            seen = time.monotonic() + 2
            while time.monotonic() < seen:
                if text in output.read_text():
                    return
                if process.poll() is not None:
                    raise Failed(f"the listener ended with {process.returncode}: {output.read_text().strip()}")
                time.sleep(0.05)
        raise Failed(f"the listener never showed the message: {output.read_text().strip()}")
    finally:
        listening.stop()
