"""Message carbons (XEP-0280): every client of an account sees both directions, and nothing that is private."""

from ..check import check, expect
from ..stream import CARBONS, scripted, shown
from ..xmpp import CLIENT, online
from .archive import archive_id, ask

NEEDS = ["slixmpp", "pyopenssl"]
ENABLE = f"<enable xmlns='{CARBONS}'/>"
FORWARDED = "{urn:xmpp:forward:0}forwarded"


def inner(element, direction):
    """The message inside a carbon of this direction, or None."""
    return element.find(f"{{{CARBONS}}}{direction}/{FORWARDED}/{CLIENT}message")


async def carbon(stream, direction, body):
    """Waits for a carbon; returns the message in it."""
    element = await stream.take(
        f"a carbon of {body!r}",
        lambda e: (m := inner(e, direction)) is not None and m.findtext(f"{CLIENT}body") == body,
    )
    expect(element.get("from") == stream.account.jid, f"a carbon came from {element.get('from')}")
    expect(element.get("to") == stream.jid, f"a carbon for {stream.jid} is addressed to {element.get('to')}")
    return inner(element, direction)


def carbons(stream):
    return [e for e in stream.seen if inner(e, "sent") is not None or inner(e, "received") is not None]


async def settled(sender, *receivers):
    """What is sent last, on the same path, proves that nothing else came before it."""
    for number, receiver in enumerate(receivers):
        await sender.text(receiver.jid, f"marker {number}")
        await receiver.message(f"marker {number}")


@check("carbons-received", needs=NEEDS)
async def received(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        await garden.query("set", ENABLE)
        identifier = await romeo.text(hall.jid, "for the hall")
        direct = await hall.message("for the hall")
        copy = await carbon(garden, "received", "for the hall")
        for name, value in (("from", romeo.jid), ("to", hall.jid), ("id", identifier), ("type", "chat")):
            expect(copy.get(name) == value, f"the copy's {name} is {copy.get(name)}, the message's is {value}")
        expect(
            (one := archive_id(direct, second.jid)) == (other := archive_id(copy, second.jid)),
            f"the message has the archive id {one}, its carbon has {other}",
        )
        expect(not carbons(hall), "a client that did not ask for carbons got one")


@check("carbons-sent", needs=NEEDS)
async def sent(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        for stream in (hall, garden):
            await stream.query("set", ENABLE)
        identifier = await hall.text(first.jid, "to romeo")
        await romeo.message("to romeo")
        copy = await carbon(garden, "sent", "to romeo")
        for name, value in (("from", hall.jid), ("to", first.jid), ("id", identifier)):
            expect(copy.get(name) == value, f"the copy's {name} is {copy.get(name)}, the message's is {value}")
        page = await ask(garden)
        copied = archive_id(copy, second.jid)
        if lab.kind != "prosody":
            # XEP-0313 §3.5: carbons of sent messages carry the id as well.
            expect(copied == page.ids[-1], f"the archive id is {page.ids[-1]}, the carbon has {copied}")
        await settled(romeo, hall)
        own = [e for e in hall.seen if inner(e, "sent") is not None]
        expect(not own, "XEP-0280 §8: the sending client got a carbon of its own message")


@check("carbons-bare-address-reaches-each-client-once", needs=NEEDS)
async def once(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        for stream in (hall, garden):
            await stream.query("set", ENABLE)
        await romeo.text(second.jid, "for all of you")
        await settled(romeo, hall, garden)
        for stream in (hall, garden):
            ways = stream.bodies().count("for all of you") + len(
                [m for e in carbons(stream) if (m := inner(e, "received")) is not None
                 and m.findtext(f"{CLIENT}body") == "for all of you"]
            )  # fmt: skip
            expect(ways == 1, f"{stream.jid} got the message {ways} times")


@check("carbons-private-not-copied", needs=NEEDS)
async def private(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with (
        scripted(first) as romeo,
        scripted(first, "desk") as desk,
        scripted(second, "hall") as hall,
        scripted(second, "garden") as garden,
    ):
        for stream in (garden, desk):
            await stream.query("set", ENABLE)
        mark = f"<private xmlns='{CARBONS}'/><no-copy xmlns='urn:xmpp:hints'/>"
        await romeo.text(hall.jid, "between us", extra=mark)
        message = await hall.message("between us")
        if lab.kind != "prosody":
            # XEP-0280 §9: the element is removed before delivery.
            expect(message.find(f"{{{CARBONS}}}private") is None, f"<private/> was delivered: {shown(message)}")
        await settled(hall, garden)
        await settled(romeo, desk)
        for stream in (garden, desk):
            bodies = [
                m.findtext(f"{CLIENT}body")
                for e in carbons(stream)
                for m in (inner(e, "sent"), inner(e, "received"))
                if m is not None
            ]
            expect("between us" not in bodies, f"{stream.jid} got a copy of a private message")


@check("carbons-disabled", needs=NEEDS)
async def disabled(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        await garden.query("set", ENABLE)
        # XEP-0280 §4: enabling twice is no error.
        await garden.query("set", ENABLE)
        await romeo.text(hall.jid, "copied")
        await carbon(garden, "received", "copied")
        await garden.query("set", f"<disable xmlns='{CARBONS}'/>")
        await romeo.text(hall.jid, "not copied")
        await hall.message("not copied")
        await settled(romeo, garden)
        expect(not carbons(garden), "a carbon came after they were disabled")


@check("carbons-what-is-copied", needs=NEEDS)
async def eligible(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        await garden.query("set", ENABLE)
        sent = (
            ("chat", "a text", "", True),
            ("normal", "a text of type normal", "", True),
            ("chat", "", "<received xmlns='urn:xmpp:receipts' id='m1'/>", True),
            ("chat", "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", True),
            ("headline", "a headline", "", False),
        )
        expected = []
        for kind, body, extra, copied in sent:
            identifier = await romeo.text(hall.jid, body, kind=kind, extra=extra)
            await hall.take("it", lambda e, identifier=identifier: e.get("id") == identifier)
            expected += [identifier] if copied else []
        await settled(romeo, garden)
        ids = [m.get("id") for e in carbons(garden) if (m := inner(e, "received")) is not None]
        expect(ids == expected, f"copied were {ids}, and {expected} must be")


@check("carbons-federated", needs=[*NEEDS, "prosody"])
async def federated(lab):
    first, second = lab.strict.account("romeo"), lab.peers["external"].account("juliet")
    async with scripted(first, "desk") as desk, scripted(first, "phone") as phone, online(second) as juliet:
        await phone.query("set", ENABLE)
        await desk.text(second.jid, "out")
        await juliet.message("out", seconds=60)
        await carbon(phone, "sent", "out")
        juliet.text(desk.jid, "in")
        await desk.message("in", seconds=60)
        await carbon(phone, "received", "in")


@check("carbons-error-federated", needs=[*NEEDS, "prosody"])
async def error_federated(lab):
    first, nobody = lab.strict.account("romeo"), "nobody-of-that-name@external.lab"
    async with scripted(first, "desk") as desk, scripted(first, "phone") as phone:
        await phone.query("set", ENABLE)
        identifier = await desk.text(nobody, "is anybody there?")
        await desk.take("the error", lambda e: e.get("id") == identifier and e.get("type") == "error", seconds=60)
        # XEP-0280 §6.1: the message was copied, so the error is.
        await phone.take(
            "a copy of the error",
            lambda e: (m := inner(e, "received")) is not None and m.get("type") == "error" and m.get("id") == identifier,
        )


@check("carbons-forged-refused", needs=NEEDS)
async def forged(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, scripted(second, "hall") as hall:
        await hall.query("set", ENABLE)
        forgery = (
            f"<received xmlns='{CARBONS}'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
            f"from='boss@stone.lab' to='{hall.jid}' type='chat'><body>pay him</body></message></forwarded></received>"
        )
        await romeo.text(hall.jid, "", extra=forgery)
        await settled(romeo, hall)
        # A client believes a carbon that comes from its own account alone.
        believed = [e for e in carbons(hall) if e.get("from") in (None, second.jid)]
        expect(not believed, "a carbon of somebody else came as the account's own")
