"""Federation with Debian's Prosody, in every way two servers can trust each other, in both directions.

The peer is made to allow one way only (see `world.py`), and its log is read to prove that it was the one.
"""

import asyncio

from ..check import Failed, add, check, expect
from ..xmpp import CLIENT, condition, online, subscribe

NEEDS = ["slixmpp", "prosody"]
PATIENCE = 60.0  # seconds for what may need a connection, a refusal and an error
PING = '<ping xmlns="urn:xmpp:ping"/>'

# Each way: the server under test, its domain, the peer.
WAYS = {
    "external": ("strict", "stone.lab", "external"),
    "serverauth": ("strict", "stone2.lab", "serverauth"),
    "dialback": ("lax", "lax.lab", "dialback"),
    "plaintext": ("plain", "plain.lab", "plaintext"),
}


def parties(lab, way):
    """An account of the server under test and one of the peer."""
    server, domain, peer = WAYS[way]
    return lab.servers[server].account("romeo", domain), lab.peers[peer].account("juliet")


def ordered(way, direction, ours, theirs):
    return (ours, theirs) if direction == "out" else (theirs, ours)


async def message(lab, way, direction):
    source, target = ordered(way, direction, *parties(lab, way))
    async with online(source) as sender, online(target) as recipient:
        bodies = [f"{direction} {number} <ü&>" for number in range(5)]
        for body in bodies:
            sender.text(target.jid, body)
        last = await recipient.wait_for(
            "the last message", lambda s: s.findtext(f"{CLIENT}body") == bodies[-1], PATIENCE
        )
        expect(last.get("from") == str(sender.boundjid), f"the sender was shown as {last.get('from')}")
        came = [body for s in recipient.seen if (body := s.findtext(f"{CLIENT}body"))]
        expect(came == bodies[:-1], f"out of order or not once each: {came}")


async def subscription(lab, way, direction):
    source, target = ordered(way, direction, *parties(lab, way))
    async with online(source) as watcher, online(target) as watched:
        await subscribe(watcher, watched)
        watched.presence(status="across servers")
        await watcher.wait_for("the status", lambda s: s.findtext(f"{CLIENT}status") == "across servers")
        watched.presence(kind="unavailable")
        await watcher.contact_presence(target.jid, "unavailable")


async def ping(lab, way, direction):
    source, target = ordered(way, direction, *parties(lab, way))
    async with online(source) as asker, online(target) as asked:
        for address in (target.domain, str(asked.boundjid)):
            answer = await asker.query("get", PING, address, PATIENCE)
            expect(answer.get("from") == address, f"the answer came from {answer.get('from')}")


async def unknown_user(lab, way, direction):
    source, target = ordered(way, direction, *parties(lab, way))
    async with online(source) as sender:
        identifier = sender.text(f"nobody-at-all@{target.domain}", "hello?")
        error = await sender.error_message(identifier)
        expect(error in ("service-unavailable", "item-not-found"), f"the error was {error}")


async def away(lab, way, direction):
    source, target = ordered(way, direction, *parties(lab, way))
    async with online(source) as sender:
        sender.text(target.jid, "while you were away")
        # An answer from the other domain proves that what was sent before it has arrived.
        await sender.query("get", PING, target.domain, PATIENCE)
    async with online(target) as recipient:
        await recipient.message("while you were away")


PROOF = {
    # What the peer's log says of streams to and from the domain under test, and what it must not say.
    "external": (["Accepting SASL EXTERNAL identity from {0}", "SASL EXTERNAL with {0} succeeded"], []),
    "serverauth": (
        ["Accepting SASL EXTERNAL identity from {0}", "SASL EXTERNAL with {0} succeeded"],
        ["Received ack request"],
    ),
    "dialback": (
        ["verified dialback key... it is valid", "sent dialback key on outgoing s2s stream", "TLS"],
        ["Accepting SASL EXTERNAL identity from {0}", "SASL EXTERNAL with {0} succeeded"],
    ),
    "plaintext": (
        ["verified dialback key... it is valid", "sent dialback key on outgoing s2s stream"],
        ["Accepting SASL EXTERNAL identity from {0}", "TLS negotiation started"],
    ),
}


async def proved(lab, way):
    _, domain, peer = WAYS[way]
    for direction in ("out", "in"):
        await message(lab, way, direction)
    log = lab.peers[peer].log.read_text(errors="replace")
    wanted, unwanted = PROOF[way]
    for line in wanted:
        expect(line.format(domain) in log, f"the peer never logged: {line.format(domain)}")
    for line in unwanted:
        expect(line.format(domain) not in log, f"the peer logged: {line.format(domain)}")


for way in WAYS:
    for direction in ("out", "in"):
        for name, function in (
            ("message", message),
            ("subscription", subscription),
            ("ping", ping),
            ("unknown-user", unknown_user),
            ("offline", away),
        ):
            add(f"federation-{way}-{name}-{direction}", function, way, direction, needs=NEEDS)
    add(f"federation-{way}-proved", proved, way, needs=NEEDS)


@check("federation-external-acknowledged", needs=NEEDS)
async def acknowledged(lab):
    """Both servers ask what the other one has of their stanzas, and are told (XEP-0198)."""
    # What opens a stream is not counted yet.
    for direction in ("out", "in", "out", "in"):
        await message(lab, "external", direction)
    wanted = ["Received ack request, acking for", "Received[s2sout]: <a "]
    for _ in range(int(PATIENCE)):
        log = lab.peers["external"].log.read_text(errors="replace")
        missing = [line for line in wanted if line not in log]
        if not missing:
            return
        # The peer does not ask at once.
        await asyncio.sleep(1)
    raise Failed(f"the peer never logged: {missing}")


async def one_error(sender, target, conditions):
    """Sends a message that cannot arrive; exactly one error comes back, with one of the conditions (or any)."""
    identifier = sender.text(target, "this cannot arrive")
    error = await sender.error_message(identifier)
    expect(not conditions or error in conditions, f"the error was {error}")
    await sender.settle()
    again = [s for s in sender.seen if s.get("id") == identifier]
    expect(not again, "the sender was told more than once")


@check("federation-unreachable-nxdomain", "nobody@gone.lab", ("remote-server-not-found",), needs=NEEDS)
@check(
    "federation-unreachable-refused",
    "nobody@refused.lab",
    ("remote-server-timeout", "remote-server-not-found"),
    needs=NEEDS,
)
async def unreachable(lab, target, conditions):
    async with online(lab.strict.account("romeo")) as romeo:
        await one_error(romeo, target, conditions)


@check("federation-refuses-self-signed-out", "dialback", "dialback.lab", "out", needs=NEEDS)
@check("federation-refuses-self-signed-in", "dialback", "dialback.lab", "in", needs=NEEDS)
@check("federation-refuses-plaintext-out", "plaintext", "plaintext.lab", "out", needs=NEEDS)
@check("federation-refuses-plaintext-in", "plaintext", "plaintext.lab", "in", needs=NEEDS)
@check("federation-refuses-wrong-name-out", "dns", "wrongname.lab", "out", needs=NEEDS)
async def refused(lab, peer, domain, direction):
    """Both are there, so the message would arrive if the domain were believed; the sender gets an error instead."""
    ours, theirs = lab.strict.account("romeo"), lab.peers[peer].account("juliet", domain)
    source, target = (ours, theirs) if direction == "out" else (theirs, ours)
    async with online(source) as sender, online(target) as recipient:
        identifier = sender.text(target.jid, "over an unproved stream")
        error = asyncio.create_task(sender.error_message(identifier))
        arrival = asyncio.create_task(recipient.message("over an unproved stream", PATIENCE))
        done, pending = await asyncio.wait({error, arrival}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if arrival in done and not arrival.exception():
            raise Failed(f"a message was carried between {source.domain} and {target.domain}")
        await error
        await sender.settle()
        again = [s for s in sender.seen if s.get("id") == identifier]
        expect(not again, "the sender was told more than once")


@check("federation-iq-unreachable", needs=NEEDS)
async def iq_unreachable(lab):
    async with online(lab.strict.account("romeo")) as romeo:
        error = await romeo.refused("get", PING, "gone.lab", PATIENCE)
        expect(error == "remote-server-not-found", f"the error was {error}")


@check("federation-two-domains-one-peer", needs=NEEDS)
async def two_domains(lab):
    """Both domains of one server speak with the same peer, each under its own name."""
    peer = lab.peers["external"].account("juliet")
    first, second = lab.strict.account("romeo"), lab.strict.account("paris", "stone2.lab")
    async with online(peer) as juliet, online(first) as romeo, online(second) as paris:
        for client in (romeo, paris):
            client.text(peer.jid, f"from {client.boundjid.bare}")
            await juliet.wait_for(
                "both",
                lambda s, client=client: s.get("from") == str(client.boundjid) and condition(s) is None,
                PATIENCE,
            )
            juliet.text(str(client.boundjid), "back")
            await client.wait_for("the answer", lambda s: s.findtext(f"{CLIENT}body") == "back", PATIENCE)
