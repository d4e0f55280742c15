"""Ways a domain can be found, and ways it cannot. Each domain's records are in `world.py`, `_variations`.

A ping to the domain needs a stream to it and one back, so each check goes both ways.
"""

from ..check import add, check, expect
from ..xmpp import CLIENT, online
from .federation import NEEDS, PATIENCE, PING, one_error

FOUND = {
    "srv-other-port": "ports.lab",
    "srv-second-priority": "failover.lab",
    "cname": "alias.lab",
    "no-srv": "bare.lab",
    "ipv6-only": "sixonly.lab",
    "direct-tls-only": "xmpps.lab",
    "direct-tls-dead-starttls-alive": "mixed.lab",
}


async def found(lab, domain):
    async with online(lab.strict.account("romeo")) as romeo:
        answer = await romeo.query("get", PING, domain, PATIENCE)
        expect(answer.get("from") == domain, f"the answer came from {answer.get('from')}")


for name, domain in FOUND.items():
    add(f"dns-{name}", found, domain, needs=NEEDS)


@check("dns-srv-target-root", needs=NEEDS)
async def no_service(lab):
    async with online(lab.strict.account("romeo")) as romeo:
        # RFC 2782: "." means that the service is decidedly not available; the address must not be tried.
        await one_error(romeo, "nobody@noservice.lab", ("remote-server-not-found",))
    log = lab.peers["dns"].log.read_text(errors="replace")
    expect("noservice.lab" not in log, "the domain's address was tried though its SRV target is '.'")


@check("dns-found-by-direct-tls-only", needs=NEEDS)
async def direct_tls_in(lab):
    """The peer can only reach stone-xmpps.lab by direct TLS."""
    source, target = lab.peers["external"].account("juliet"), lab.strict.account("romeo", "stone-xmpps.lab")
    async with online(source) as juliet, online(target) as romeo:
        juliet.text(target.jid, "over direct TLS")
        message = await romeo.wait_for("it", lambda s: s.findtext(f"{CLIENT}body") == "over direct TLS", PATIENCE)
        romeo.text(message.get("from"), "back")
        await juliet.wait_for("the answer", lambda s: s.findtext(f"{CLIENT}body") == "back", PATIENCE)
