"""Stream management (XEP-0198): counters, resumption after a cut link, and the server that ends meanwhile."""

import asyncio

from ..check import Skip, add, check, expect
from ..stream import (
    CARBONS,
    CSI,
    SM,
    STREAMS,
    authenticated,
    available,
    resumed,
    scripted,
    shown,
)
from ..xmpp import CLIENT, LIMIT, condition, online, subscribe
from .archive import MAM, ask

NEEDS = ["slixmpp", "pyopenssl"]
PING = "<ping xmlns='urn:xmpp:ping'/>"


def pair(lab, server="strict"):
    server = lab.servers[server]
    return server.account("romeo"), server.account("juliet")


def is_resumed(stream):
    expect(stream.answer.tag == f"{{{SM}}}resumed", f"not resumed: {shown(stream.answer)}")
    return int(stream.answer.get("h"))


def no_surplus(stream, what):
    """Nothing came that the check has not asked for."""
    expect(not stream.bodies(), f"{what}: {stream.bodies()} came besides")


@check("sm-enable", needs=NEEDS)
async def enable(lab):
    async with authenticated(lab.strict.account()) as stream:
        expect(stream.features.find(f"{{{SM}}}sm") is not None, "stream management is not offered after log-in")
        await stream.bind()
        enabled = await stream.enable()
        expect(enabled.get("resume") in ("true", "1"), f"resumption was asked for and not granted: {shown(enabled)}")
        expect(enabled.get("id"), "resumption without an id")
        expect(0 < len(enabled.get("id")) <= 4000, "XEP-0198 §3: the id is at most 4000 bytes long")


@check("sm-enable-without-resumption", needs=NEEDS)
async def no_resumption(lab):
    async with scripted(lab.strict.account(), management=False) as stream:
        expect(stream.enabled.get("resume") not in ("true", "1"), "resumption was granted and not asked for")
        await stream.query("get", PING, "stone.lab")


@check("sm-enable-before-bind-refused", needs=NEEDS)
async def too_early(lab):
    async with authenticated(lab.strict.account()) as stream:
        await stream.send(f"<enable xmlns='{SM}'/>")
        # XEP-0198 §3: only after binding a resource.
        answer = await stream.take("a refusal", lambda e: e.tag in (f"{{{SM}}}failed", f"{STREAMS}error"))
        expect(answer.find(f"{{{SM}}}enabled") is None, "enabled before bind")


@check("sm-counts-stanzas-only", needs=NEEDS)
async def counters(lab):
    first, second = pair(lab)
    async with scripted(first, presence=False, management=True) as stream, online(second) as juliet:
        expect(await stream.requested() == 0, "stanzas are counted that nobody sent")
        await stream.presence()
        await stream.text(second.jid, "one")
        await stream.text(second.jid, "two")
        await stream.query("get", PING, "stone.lab")
        # XEP-0198 §4: <a/>, <r/> and whatever is no stanza does not count.
        await stream.acknowledge()
        await stream.send(f"<inactive xmlns='{CSI}'/><active xmlns='{CSI}'/>")
        await juliet.message("two")
        expect((h := await stream.requested()) == 4, f"h is {h} after four stanzas")


@check("sm-server-asks-for-acknowledgement", needs=NEEDS)
async def asks(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.acknowledges = False
        romeo.text(second.jid, "is this read?")
        await juliet.message("is this read?")
        await juliet.nonza(SM, "r")
        await juliet.acknowledge()
        # One that was acknowledged is not asked about again before something else comes.
        juliet.acknowledges = True
        await juliet.requested()


@check("sm-acknowledging-too-much-ends-the-stream", needs=NEEDS)
async def too_much(lab):
    async with scripted(lab.strict.account(), management=True) as stream:
        await stream.acknowledge(stream.handled + 100)
        conditions = await stream.stream_error()
        # XEP-0198 §4: undefined-condition with handled-count-too-high. Prosody only ends the stream.
        expect("undefined-condition" in conditions, f"the stream error was {conditions}")
        if lab.kind != "prosody":
            expect("handled-count-too-high" in conditions, f"the stream error was {conditions}")
        await stream.until_ended()


@check("sm-resume-after-cut-link", needs=NEEDS)
async def resume(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        await juliet.text(first.jid, "sent before the cut")
        await romeo.message("sent before the cut")
        romeo.text(second.jid, "seen and acknowledged")
        await juliet.message("seen and acknowledged")
        # Handled on the way down and on the way up: three stanzas went up (roster, presence, message).
        juliet.cut()
        for number in range(10):
            romeo.text(second.jid, f"in the tunnel {number}")
        await romeo.settle()
        async with resumed(second, juliet) as again:
            h = is_resumed(again)
            expect(h == 3, f"the server has handled three stanzas and says {h}")
            for number in range(10):
                await again.message(f"in the tunnel {number}")
            romeo.text(second.jid, "live again")
            await again.message("live again")
            no_surplus(again, "after resumption")
            # The session still is who it was: bound, available, allowed to send.
            await again.text(first.jid, "from the resumed stream")
            answer = await romeo.message("from the resumed stream")
            expect(answer.get("from") == juliet.jid, f"the resumed stream sends as {answer.get('from')}")


@check("sm-resume-order-on-the-wire", needs=NEEDS)
async def resume_order(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.acknowledges = False
        bodies = [f"line {number}" for number in range(30)]
        for body in bodies[:10]:
            romeo.text(second.jid, body)
        await juliet.message("line 9")
        came_before = juliet.handled
        juliet.cut()
        for body in bodies[10:20]:
            romeo.text(second.jid, body)
        await romeo.settle()
        # Six of the first ten were read by the client before its link was cut; it says so now.
        async with resumed(second, juliet, handled=came_before - 4) as again:
            is_resumed(again)
            for body in bodies[20:]:
                romeo.text(second.jid, body)
            await again.message("line 29")
            expect(again.bodies() == bodies[6:-1], f"replayed and went on as {again.bodies()}")


@check("sm-resume-replays-what-was-not-acknowledged", needs=NEEDS)
async def replay(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        handled = juliet.handled
        juliet.acknowledges = False
        identifier = romeo.text(second.jid, "read, not acknowledged")
        original = await juliet.message("read, not acknowledged")
        juliet.cut()
        async with resumed(second, juliet, handled=handled) as again:
            is_resumed(again)
            copy = await again.message("read, not acknowledged")
            expect(copy.get("id") == identifier, "the replayed message has another id")
            # One archive id in the live copy and in the replay.
            ids = [e.get("id") for m in (original, copy) for e in m.iterfind("{urn:xmpp:sid:0}stanza-id")]
            expect(len(set(ids)) <= 1, f"the live copy and the replay have the archive ids {ids}")
            no_surplus(again, "after the replay")


@check("sm-resume-keeps-presence", needs=NEEDS)
async def keeps_presence(lab):
    first, second = pair(lab)
    async with online(first) as romeo, online(second, "other") as other:
        await subscribe(romeo, other)
        async with scripted(second, management=True) as juliet:
            await romeo.wait_for("juliet", lambda s: s.get("from") == juliet.jid and s.get("type") is None)
            juliet.cut()
            romeo.text(juliet.jid, "are you there?")
            await romeo.settle()
            async with resumed(second, juliet) as again:
                is_resumed(again)
                await again.message("are you there?")
                await again.presence(content="<status>still here</status>")
                await romeo.wait_for("the status", lambda s: s.findtext(f"{CLIENT}status") == "still here")
                gone = [s for s in romeo.seen if s.get("from") == juliet.jid and s.get("type") == "unavailable"]
                expect(not gone, "the contact was told that a session that waits for resumption has gone")


@check("sm-resume-keeps-carbons", needs=NEEDS)
async def keeps_carbons(lab):
    first, second = pair(lab)
    async with online(first) as romeo, online(second, "desk") as desk, scripted(second, management=True) as juliet:
        await juliet.query("set", f"<enable xmlns='{CARBONS}'/>")
        juliet.cut()
        romeo.text(str(desk.boundjid), "for the desk")
        await desk.message("for the desk")
        async with resumed(second, juliet) as again:
            is_resumed(again)
            await again.take("the carbon", lambda e: e.find(f"{{{CARBONS}}}received") is not None)


@check("sm-resume-takes-over-from-a-live-connection", needs=NEEDS)
async def takes_over(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        async with resumed(second, juliet) as again:
            is_resumed(again)
            # The old connection may not have been noticed as dead: it ends now.
            await juliet.until_ended()
            romeo.text(second.jid, "to the new connection")
            await again.message("to the new connection")


@check("sm-resume-twice", needs=NEEDS)
async def resume_twice(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.cut()
        romeo.text(second.jid, "first tunnel")
        async with resumed(second, juliet) as again:
            is_resumed(again)
            await again.message("first tunnel")
            again.cut()
            romeo.text(second.jid, "second tunnel")
            await romeo.settle()
            async with resumed(second, again) as third:
                is_resumed(third)
                await third.message("second tunnel")
                no_surplus(third, "after the second resumption")


@check("sm-resume-unknown-id-fails-and-binds", needs=NEEDS)
async def unknown(lab):
    async with authenticated(lab.strict.account()) as stream:
        await stream.send(f"<resume xmlns='{SM}' h='0' previd='no-such-session'/>")
        failed = await stream.nonza(SM, "resumed", "failed")
        expect(failed.tag.endswith("failed"), "an unknown session was resumed")
        names = [child.tag.split("}")[-1] for child in failed]
        expect("item-not-found" in names, f"XEP-0198 §5: item-not-found, not {names}")
        # The stream is as good as new.
        await stream.bind()
        await stream.enable()
        await stream.query("get", PING, "stone.lab")


@check("sm-resume-of-another-account-refused", needs=NEEDS)
async def foreign(lab):
    first, second = pair(lab)
    async with scripted(second, management=True) as juliet, online(first) as romeo:
        juliet.cut()
        async with resumed(first, juliet) as thief:
            expect(thief.answer.tag.endswith("failed"), "a session was resumed by somebody else's account")
        # And it is still there for its owner.
        romeo.text(second.jid, "still yours")
        async with resumed(second, juliet) as again:
            is_resumed(again)
            await again.message("still yours")


@check("sm-resume-after-close-fails", needs=NEEDS)
async def after_close(lab):
    account = lab.strict.account()
    async with scripted(account, management=True) as stream:
        await stream.close()
    async with resumed(account, stream) as again:
        expect(again.answer.tag.endswith("failed"), "a session that was closed was resumed")


@check("sm-unacknowledged-goes-to-the-next-session", needs=NEEDS)
async def leftovers(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=False) as juliet:
        juliet.acknowledges = False
        romeo.text(second.jid, "written to a dead link")
        await juliet.message("written to a dead link")
        juliet.cut()
        # This session cannot be resumed: what it did not acknowledge goes where the plan says.
        async with online(second, "next") as following:
            await following.message("written to a dead link", seconds=60)
            again = [s for s in following.seen if s.findtext(f"{CLIENT}body")]
            expect(not again, "it came twice")
        errors = [s for s in romeo.seen if s.get("type") == "error"]
        expect(not errors, "the sender got an error for a message that was delivered")


@check("sm-client-state-is-active-after-resumption", needs=NEEDS)
async def state_after_resumption(lab):
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        await juliet.send(f"<inactive xmlns='{CSI}'/>")
        await juliet.requested()
        juliet.cut()
        async with resumed(second, juliet) as again:
            is_resumed(again)
            # A chat state is what waits while a client is inactive.
            state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
            romeo.send_raw(f"<message to='{second.jid}' type='chat' id='state'>{state}</message>")
            await again.take("the chat state", lambda e: e.get("id") == "state")


async def restarted(lab, kill, archive="always"):
    """The session of `juliet` at a server that ends, by request or by force, while she is away."""
    if lab.kind == "prosody":
        raise Skip("Prosody 0.12 keeps no sessions over a restart")
    first, second = pair(lab, "plain")
    async with scripted(first, management=True) as romeo, scripted(second, management=True) as juliet:
        juliet.acknowledges = False
        for stream in (romeo, juliet):
            await stream.query("set", f"<prefs xmlns='{MAM}' default='{archive}'><always/><never/></prefs>")
        await juliet.text(first.jid, "sent before the end")
        await romeo.message("sent before the end")
        handled = await juliet.requested()
        await romeo.text(second.jid, "read, not acknowledged")
        await juliet.message("read, not acknowledged")
        juliet.cut()
        for number in range(5):
            await romeo.text(second.jid, f"while away {number}")
        # Acknowledged means durable.
        await romeo.requested()
        waiting = [f"while away {number}" for number in range(5)]
        await asyncio.to_thread(lab.plain.restart, kill)
        return first, second, romeo, juliet, handled, waiting


@check("sm-resume-after-orderly-restart", needs=NEEDS)
async def orderly_restart(lab):
    _, second, _, juliet, handled, waiting = await restarted(lab, kill=False)
    async with resumed(second, juliet, handled=juliet.handled - 1) as again:
        h = is_resumed(again)
        expect(h == handled, f"the server had acknowledged {handled} and says {h} after its restart")
        await again.message(waiting[-1])
        expected = ["read, not acknowledged", *waiting[:-1]]
        expect(again.bodies() == expected, f"after the restart came {again.bodies()}")


@check("sm-killed-server-says-what-it-handled", "always", needs=NEEDS)
@check("sm-killed-server-without-archive-loses-nothing", "never", needs=NEEDS)
async def killed(lab, archive):
    _, second, _, juliet, handled, waiting = await restarted(lab, True, archive)
    async with authenticated(second) as again:
        await again.send(f"<resume xmlns='{SM}' h='{juliet.handled}' previd='{juliet.enabled.get('id')}'/>")
        answer = await again.nonza(SM, "failed", "resumed")
        # What was acknowledged was committed, and the count with it.
        h = int(answer.get("h", "-1"))
        expect(h == handled, f"the killed server had acknowledged {handled} and says {h}: {shown(answer)}")
        if answer.tag.endswith("failed"):
            await again.bind()
            await available(again)
        if archive == "never":
            await again.message(waiting[-1])
            # The one before the cut was acknowledged with <resume/>.
            expect(again.bodies() == waiting[:-1], f"acknowledged messages came as {again.bodies()} after the kill")
        else:
            # What the archive has is found there; whether it also comes by itself is left open.
            page = await ask(again)
            expected = ["sent before the end", "read, not acknowledged", *waiting]
            expect(page.bodies == expected, f"after the kill the archive has {page.bodies}")
            expect(again.bodies() in ([], waiting), f"after the kill came {again.bodies()}")


@check("sm-messages-sent-again-are-shown-once", needs=NEEDS)
async def sent_again(lab):
    if lab.kind == "prosody":
        raise Skip("Prosody 0.12 shows a message that is sent again twice")
    first, second = pair(lab)
    origin = "<origin-id xmlns='urn:xmpp:sid:0' id='origin-of-one'/>"
    async with online(second) as juliet, scripted(first, management=True) as romeo:
        await romeo.text(second.jid, "once", extra=origin, identifier="origin-of-one")
        await romeo.requested()
        romeo.cut()
    async with online(second) as juliet, scripted(first, "again", management=True) as romeo:
        before = await romeo.requested()
        await romeo.text(second.jid, "once", extra=origin, identifier="origin-of-one")
        expect(await romeo.requested() == before + 1, "a message that was sent again is not acknowledged")
        await romeo.text(second.jid, "marker")
        await juliet.message("marker")
        copies = [s for s in juliet.seen if s.findtext(f"{CLIENT}body") == "once"]
        expect(len(copies) <= 1, "a message that was sent again is shown twice")


async def hibernating_iq(lab):
    """RFC 6120 §8.2.3: whoever asks gets an answer, even of somebody whose link is cut."""
    first, second = pair(lab)
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.cut()
        asking = asyncio.create_task(romeo.query("get", PING, juliet.jid, LIMIT * 2))
        async with resumed(second, juliet) as again:
            is_resumed(again)
            request = await again.take("the ping", lambda e: e.find("{urn:xmpp:ping}ping") is not None)
            await again.send(f"<iq type='result' id='{request.get('id')}' to='{romeo.boundjid}'/>")
            answer = await asking
            expect(condition(answer) is None, "the answer of a resumed session was an error")


add("sm-resume-answers-requests", hibernating_iq, needs=NEEDS)
