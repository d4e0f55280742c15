"""Push notifications (XEP-0357): for sessions that are away, waiting or asleep, with a real application server.

The application server is a component of another server (`app_server.py`): every notification crosses federation.
"""

import asyncio

from ..app_server import JID, app_server
from ..check import Skip, check, expect
from ..stream import CSI, Stream, resumed, scripted, shown
from ..xmpp import CLIENT, condition, online

NEEDS = ["slixmpp", "pyopenssl", "prosody", "prosody-modules"]
PUSH = "urn:xmpp:push:0"
PUBLISH_OPTIONS = "http://jabber.org/protocol/pubsub#publish-options"
SECRET = "secret of the app"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


def pair(lab, server="strict"):
    server = lab.servers[server]
    return server.account("romeo"), server.account("juliet")


def enabling(node, secret=True):
    options = ""
    if secret:
        options = (
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"
            f"{PUBLISH_OPTIONS}</value></field><field var='secret'><value>{SECRET}</value></field></x>"
        )
    return f"<enable xmlns='{PUSH}' jid='{JID}' node='{node}'>{options}</enable>"


async def enable(stream, secret=True):
    """Asks for notifications; returns the node."""
    node = f"node-{Stream.new_id()}"
    await stream.query("set", enabling(node, secret))
    return node


async def disable(stream, node=None):
    await stream.query("set", f"<disable xmlns='{PUSH}' jid='{JID}'{f' node={node!r}' if node else ''}/>")


async def registered(account):
    """An account that is offline and wants to be woken; returns the node."""
    async with scripted(account, "phone") as phone:
        return await enable(phone)


def is_notification(notice, account):
    """What a notification is made of."""
    expect(notice.item is not None, "the published item is no notification")
    expect(notice.sender in (account.jid, account.domain), f"the notification came from {notice.sender}")
    expect(notice.options.get("secret") == SECRET, f"the options of the registration came as {notice.options}")
    # XEP-0357 §7: no more of the message than its recipient wants to tell the application's maker.
    body = notice.summary.get("last-message-body")
    expect(body is None or "secret plan" not in body, f"the notification tells {body!r}")


@check("push-wakes-who-is-offline", needs=NEEDS)
async def offline(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        node = await registered(second)
        await romeo.text(second.jid, "the secret plan")
        is_notification(await app.notice(node), second)
        async with scripted(second, "phone") as phone:
            await phone.message("the secret plan")


@check("push-wakes-a-session-that-waits-for-resumption", needs=NEEDS)
async def hibernating(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo, scripted(second, "phone", management=True) as phone:
        node = await enable(phone)
        phone.cut()
        await romeo.text(second.jid, "the secret plan")
        is_notification(await app.notice(node), second)
        async with resumed(second, phone) as again:
            await again.message("the secret plan")


@check("push-wakes-an-inactive-session", needs=NEEDS)
async def inactive(lab):
    if lab.kind == "prosody":
        raise Skip("Debian's Prosody wakes no session that is connected")
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo, scripted(second, "phone", management=True) as phone:
        node = await enable(phone)
        await phone.send(f"<inactive xmlns='{CSI}'/>")
        await phone.requested()
        await romeo.text(second.jid, "the secret plan")
        is_notification(await app.notice(node), second)


@check("push-leaves-an-active-session-alone", needs=NEEDS)
async def active(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        async with scripted(second, "phone") as phone:
            node = await enable(phone)
            await romeo.text(second.jid, "you are looking at it")
            await phone.message("you are looking at it")
        await romeo.text(second.jid, "and now you are away")
        await app.notice(node)
        await romeo.settle()
        expect(node not in app.nodes(), "a session that is active was woken")


@check("push-for-what-a-person-wants-to-be-woken-for", needs=NEEDS)
async def what(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        node = await registered(second)
        store = "<store xmlns='urn:xmpp:hints'/>"
        await romeo.text(second.jid, "", extra=COMPOSING)
        await romeo.text(second.jid, "", extra=f"<received xmlns='urn:xmpp:receipts' id='m1'/>{store}")
        await romeo.text(second.jid, "", extra=f"<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>{store}")
        await romeo.text(second.jid, "a headline", kind="headline")
        await romeo.settle()
        if lab.kind != "prosody":
            call = (
                "<propose xmlns='urn:xmpp:jingle-message:0' id='call'><description "
                "xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>"
            )
            await romeo.text(second.jid, "", extra=call + store)
            await app.notice(node, "the call")
        await romeo.text(
            second.jid,
            "",
            extra="<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>"
            "<payload>AA==</payload></encrypted>"
            f"<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>{store}",
        )
        await app.notice(node, "the encrypted text")
        await romeo.text(second.jid, "a text")
        await app.notice(node, "the text")
        if lab.kind == "prosody":
            return  # it also wakes for receipts and markers
        expect(
            node not in app.nodes(), f"{app.nodes().count(node)} notifications for what nobody wants to be woken for"
        )


@check("push-temporary-error-keeps-the-registration", needs=NEEDS)
async def temporary(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        node = await registered(second)
        app.answers[node] = ("wait", "internal-server-error")
        await romeo.text(second.jid, "first")
        await app.notice(node)
        await romeo.settle()
        del app.answers[node]
        await romeo.text(second.jid, "second")
        await app.notice(node)


@check("push-permanent-error-ends-the-registration", needs=NEEDS)
async def permanent(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        gone, good = await registered(second), await registered(second)
        app.answers[gone] = ("cancel", "item-not-found")
        await romeo.text(second.jid, "first")
        await app.notice(gone)
        await app.notice(good)
        if lab.kind == "prosody":
            raise Skip("Debian's Prosody tries sixteen times")
        # The answer went back on the same stream between servers as these, which came to their end.
        await ping_over_federation(lab, romeo)
        for number in range(3):
            await romeo.text(second.jid, f"more {number}")
            await app.notice(good)
        await ping_over_federation(lab, romeo)
        expect(gone not in app.nodes(), "a registration that the application server knows no more is still used")


async def ping_over_federation(lab, stream):
    """Goes to the application server's server and back."""
    await stream.iq("get", "<ping xmlns='urn:xmpp:ping'/>", lab.peers["external"].domain)


@check("push-disabled", needs=NEEDS)
async def disabled(lab):
    first, second = pair(lab)
    async with app_server(lab) as app, scripted(first) as romeo:
        async with scripted(second, "phone") as phone:
            one, other, rest = [await enable(phone) for _ in range(3)]
            await disable(phone, one)
        await romeo.text(second.jid, "first")
        await app.notice(other)
        await app.notice(rest)
        async with scripted(second, "tablet") as tablet:
            # XEP-0357 §6: without a node, all of that service.
            await disable(tablet)
            last = await enable(tablet)
        await romeo.text(second.jid, "second")
        await app.notice(last)
        await ping_over_federation(lab, romeo)
        expect(not app.nodes(), f"notifications for {app.nodes()}, which were disabled")


@check("push-request-without-a-service-refused", needs=NEEDS)
async def malformed(lab):
    async with scripted(lab.strict.account("juliet")) as juliet:
        answer = await juliet.iq("set", f"<enable xmlns='{PUSH}' node='x'/>")
        # XEP-0357 §5.
        expect(condition(answer) in ("bad-request", "jid-malformed"), f"answered: {shown(answer)}")
        # Without a node it is in order.
        await juliet.query("set", f"<enable xmlns='{PUSH}' jid='{JID}'/>")


@check("push-survives-a-restart", needs=NEEDS)
async def restart(lab):
    first, second = pair(lab, "plain")
    async with app_server(lab) as app:
        node = await registered(second)
        await asyncio.to_thread(lab.plain.restart)
        async with scripted(first) as romeo:
            await romeo.text(second.jid, "after the restart")
            is_notification(await app.notice(node), second)


@check("push-for-a-message-from-another-server", needs=NEEDS)
async def from_afar(lab):
    first, second = lab.peers["serverauth"].account("romeo"), lab.strict.account("juliet", "stone2.lab")
    async with app_server(lab) as app, online(first) as romeo:
        node = await registered(second)
        romeo.text(second.jid, "from another server")
        is_notification(await app.notice(node), second)
        errors = [s for s in romeo.seen if s.tag == f"{CLIENT}message" and s.get("type") == "error"]
        expect(not errors, "the message was bounced")
