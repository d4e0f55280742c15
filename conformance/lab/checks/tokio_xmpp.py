"""tokio-xmpp 6: finds the server by SRV, trusts by SSL_CERT_FILE, binds SCRAM to TLS 1.3 with tls-exporter."""

import asyncio
import subprocess

from ..check import Failed, Skip, check
from ..xmpp import online


@check("tokio-xmpp-starttls", "starttls", needs=["tokio-xmpp", "slixmpp"])
@check("tokio-xmpp-direct-tls", "direct", needs=["tokio-xmpp", "slixmpp"])
async def message(lab, transport):
    account, peer = lab.strict.account("rust"), lab.strict.account("echo")
    async with online(peer) as echo:
        process = await asyncio.create_subprocess_exec(
            str(lab.tokio_client), "message", transport, account.jid, account.password, peer.jid,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=lab.environment(),
        )  # fmt: skip
        finished = asyncio.create_task(process.communicate())
        arrival = asyncio.create_task(echo.message(f"over {transport}"))
        await asyncio.wait({finished, arrival}, return_when=asyncio.FIRST_COMPLETED)
        if arrival.done():
            echo.text((await arrival).get("from"), f"over {transport}")
        else:
            arrival.cancel()
        output, _ = await finished
        if process.returncode != 0:
            raise Failed(output.decode().strip())


@check("tokio-xmpp-starttls-plus", "starttls", needs=["tokio-xmpp"])
@check("tokio-xmpp-direct-tls-plus", "direct", needs=["tokio-xmpp"])
def channel_binding(lab, transport):
    account = lab.strict.account("bound")
    done = subprocess.run(
        [str(lab.tokio_client), "plus", transport, account.jid, account.password],
        capture_output=True, text=True, env=lab.environment(), timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        if lab.kind == "prosody" and "is not offered" in done.stdout:
            raise Skip("Prosody 0.12 does not offer -PLUS over TLS 1.3")
        raise Failed(done.stdout.strip() + done.stderr.strip())
