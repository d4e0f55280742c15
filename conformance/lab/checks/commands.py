"""Federation as its operator sees it: what the command line tells of real streams, and a domain that is refused."""

import json
import subprocess

from ..check import Skip, check, expect
from ..xmpp import online

NEEDS = ["slixmpp", "prosody"]
PEER = "plaintext"


def command(server, *words, status=0):
    """What a command of the running server answers."""
    if server.lab.kind == "prosody":
        raise Skip("these are Stonechat's own commands")
    arguments = [str(server.lab.binary), *words, "--json", "--config", str(server.configuration)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=server.folder, timeout=120)
    expect(done.returncode == status, f"{words}: status {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout or done.stderr)


def links(server, domain):
    return {link["direction"]: link for link in command(server, "s2s", "list") if link["domain"] == domain}


@check("s2s-commands", needs=NEEDS)
async def tells(lab):
    server, peer = lab.plain, lab.peers[PEER].account("juliet")
    pong = command(server, "s2s", "ping", peer.domain)
    expect(pong["answer"] == "pong", f"the other server answered {pong['answer']}")
    async with online(server.account("romeo")) as romeo, online(peer) as juliet:
        romeo.text(juliet.boundjid.full, "out")
        await juliet.message("out", seconds=60)
        juliet.text(romeo.boundjid.full, "in")
        await romeo.message("in", seconds=60)
        both = links(server, peer.domain)
        expect(set(both) == {"in", "out"}, f"there are streams in the directions {sorted(both)}")
        told = "\n".join(command(server, "s2s", "explain", peer.domain)["lines"])
        for word in ("connected to", "dialback", f"may send to {peer.domain}"):
            expect(word in told, f"{word!r} is not told: {told}")
        command(server, "s2s", "reset", peer.domain)
        # What comes next opens a stream of its own.
        romeo.text(juliet.boundjid.full, "again")
        await juliet.message("again", seconds=60)
    unknown = command(server, "s2s", "explain", "never-heard-of.lab", status=3)
    expect(unknown["error"]["code"] == "S2S-001", f"the error is {unknown}")


@check("s2s-deny", needs=NEEDS)
async def denied(lab):
    server, peer = lab.plain, lab.peers[PEER].account("juliet")
    command(server, "status")
    before = server.configuration.read_text()
    async with online(server.account("romeo")) as romeo, online(peer) as juliet:
        romeo.text(juliet.boundjid.full, "out")
        await juliet.message("out", seconds=60)
        juliet.text(romeo.boundjid.full, "in")
        await romeo.message("in", seconds=60)
        try:
            server.configuration.write_text(before.replace("[s2s]\n", f'[s2s]\ndeny = ["{peer.domain}"]\n'))
            reloaded = command(server, "reload")
            expect(reloaded["applied"] == ["s2s.deny"], f"the reload applied {reloaded['applied']}")
            error = await romeo.error_message(romeo.text(juliet.boundjid.full, "not out"))
            expect(error == "not-allowed", f"the sender was told {error}")
            error = await juliet.error_message(juliet.text(romeo.boundjid.full, "not in"))
            expect(error is not None, "the other sender was told nothing")
            told = command(server, "s2s", "explain", peer.domain)["lines"][-1]
            expect("[s2s] deny" in told, f"it is told: {told}")
        finally:
            server.configuration.write_text(before)
            command(server, "reload")
        romeo.text(juliet.boundjid.full, "out again")
        await juliet.message("out again", seconds=60)
        expect(not any(m == "not in" for m in (s.findtext("{jabber:client}body") for s in romeo.seen)), "it came in")
