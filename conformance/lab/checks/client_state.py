"""Client state indication (XEP-0352): what can wait waits, and comes in order before what cannot."""

from ..check import Skip, check, expect
from ..stream import CSI, SM, scripted, shown
from ..xmpp import CLIENT, online, subscribe

NEEDS = ["slixmpp", "pyopenssl"]
INACTIVE, ACTIVE = f"<inactive xmlns='{CSI}'/>", f"<active xmlns='{CSI}'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


async def friends(lab):
    """Two accounts that see each other's presence."""
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        await subscribe(juliet, romeo)
    return first, second


async def rest(phone):
    """Becomes inactive, and knows that the server has taken notice."""
    await phone.send(INACTIVE)
    await phone.requested()


def status_of(element):
    return element.findtext(f"{CLIENT}status")


def stanzas(stream):
    """What came, without the nonzas."""
    return [e for e in stream.seen if e.tag.startswith(CLIENT)]


@check("client-state-holds-what-can-wait", needs=NEEDS)
async def held(lab):
    first, second = await friends(lab)
    async with (
        scripted(first) as romeo,
        scripted(second, "desk") as desk,
        scripted(second, "phone", management=True) as phone,
    ):
        await phone.take("romeo's presence", lambda e: e.get("from") == romeo.jid)
        await phone.take("the desk's presence", lambda e: e.get("from") == desk.jid)
        # A request for acknowledgement lets go what waits at Prosody, and comes when it likes: it has three tries.
        for round_number in range(3 if lab.kind == "prosody" else 1):
            await rest(phone)
            status, state = f"dozing {round_number}", f"state-{round_number}"
            await romeo.presence(content=f"<status>{status}</status>")
            await romeo.text(second.jid, "", extra=COMPOSING, identifier=state)
            # The client beside it, which is active, has got both.
            await desk.take("the presence", lambda e, status=status: status_of(e) == status)
            await desk.take("the chat state", lambda e, state=state: e.get("id") == state)
            await desk.settle()
            if lab.kind != "prosody":
                # <a/> is no stanza: it shows that nothing came before it, and lets nothing go.
                await phone.requested()
            came = [shown(e) for e in stanzas(phone)]
            await phone.send(ACTIVE)
            await phone.take("the presence", lambda e, status=status: status_of(e) == status)
            if not came:
                return
            phone.seen.clear()
        expect(False, f"an inactive client got {came}")


@check("client-state-flushes-in-order-before-a-message", needs=NEEDS)
async def flushed(lab):
    first, second = await friends(lab)
    async with online(first) as romeo, scripted(second, "phone", management=True) as phone:
        await phone.take("romeo's presence", lambda e: e.get("from") == str(romeo.boundjid))
        await rest(phone)
        romeo.presence(status="first")
        romeo.presence(status="second")
        await romeo.settle()
        romeo.text(second.jid, "wake up")
        romeo.text(second.jid, "quickly")
        await phone.message("quickly")
        order = [status_of(e) or e.findtext(f"{CLIENT}body") for e in stanzas(phone)]
        order = [what for what in order if what]
        # The older presence of the same client may have been dropped.
        expect(order in (["first", "second", "wake up"], ["second", "wake up"]), f"the client got {order}")


@check("client-state-messages-do-not-wait", needs=NEEDS)
async def urgent(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    propose = (
        "<propose xmlns='urn:xmpp:jingle-message:0' id='call'><description xmlns='urn:xmpp:jingle:apps:rtp:1' "
        "media='audio'/></propose><store xmlns='urn:xmpp:hints'/>"
    )
    async with online(first) as romeo, scripted(second, "phone", management=True) as phone:
        await rest(phone)
        romeo.text(second.jid, "a text")
        await phone.message("a text")
        if lab.kind != "prosody":
            romeo.send_raw(f"<message to='{second.jid}' type='chat' id='call'>{propose}</message>")
            await phone.take("the call", lambda e: e.get("id") == "call")
        # A question waits for its answer.
        romeo.send_raw(f"<iq to='{phone.jid}' type='get' id='ask'><ping xmlns='urn:xmpp:ping'/></iq>")
        await phone.take("the question", lambda e: e.get("id") == "ask")
        await phone.query("get", "<ping xmlns='urn:xmpp:ping'/>", "stone.lab")


@check("client-state-active-flushes", needs=NEEDS)
async def active(lab):
    first, second = await friends(lab)
    async with online(first) as romeo, scripted(second, "phone", management=True) as phone:
        await phone.take("romeo's presence", lambda e: e.get("from") == str(romeo.boundjid))
        for round_number in range(3):
            await rest(phone)
            romeo.presence(status=f"round {round_number}")
            await romeo.settle()
            await phone.send(ACTIVE)
            await phone.take("the presence", lambda e, n=round_number: status_of(e) == f"round {n}")


@check("client-state-presence-of-those-who-left", needs=NEEDS)
async def left(lab):
    first, second = await friends(lab)
    async with scripted(second, "phone", management=True) as phone:
        await rest(phone)
        async with online(first) as romeo:
            full = str(romeo.boundjid)
        async with online(first, "settled"):
            pass
        await phone.send(ACTIVE)
        # Whatever was left out on the way, the last that is told is the truth.
        end = await phone.take(
            "the end", lambda e: e.get("from") == f"{first.jid}/settled" and e.get("type") == "unavailable"
        )
        await phone.requested()
        last = [e.get("type") for e in [*phone.seen, end] if e.get("from") == full][-1:]
        expect(last in ([], ["unavailable"]), f"the last that was told of {full} is {last}")


@check("client-state-without-stream-management", needs=NEEDS)
async def plain(lab):
    if lab.kind == "prosody":
        raise Skip("Prosody 0.12 holds everything when there is no stream management")
    first, second = await friends(lab)
    async with online(first) as romeo, scripted(second, "phone") as phone:
        # Saying it twice changes nothing.
        await phone.send(INACTIVE, INACTIVE)
        romeo.presence(status="held or not")
        romeo.text(second.jid, "a text")
        await phone.message("a text")
        statuses = [status_of(e) for e in phone.seen]
        expect("held or not" in statuses, "what came first did not come before the message")
        await phone.send(ACTIVE)
        expect(not [e for e in phone.seen if e.tag == f"{{{SM}}}r"], "asked for acknowledgement, which nobody enabled")
