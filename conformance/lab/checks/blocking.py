"""Blocking (XEP-0191) and reports (XEP-0377)."""

from ..check import Skip, check, expect
from ..stream import CARBONS, scripted, shown
from ..xmpp import CLIENT, condition, online, subscribe
from .archive import ask

NEEDS = ["slixmpp", "pyopenssl"]
BLOCKING = "urn:xmpp:blocking"
ERRORS = "{urn:xmpp:blocking:errors}"
REPORTING = "urn:xmpp:reporting:1"
PING = "<ping xmlns='urn:xmpp:ping'/>"


async def block(stream, *jids, report=""):
    items = "".join(f"<item jid='{jid}'>{report}</item>" for jid in jids)
    await stream.query("set", f"<block xmlns='{BLOCKING}'>{items}</block>")


async def unblock(stream, *jids):
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    await stream.query("set", f"<unblock xmlns='{BLOCKING}'>{items}</unblock>")


async def blocked(stream):
    answer = await stream.query("get", f"<blocklist xmlns='{BLOCKING}'/>")
    return {item.get("jid") for item in answer.iterfind(f"{{{BLOCKING}}}blocklist/{{{BLOCKING}}}item")}


async def push(stream, name):
    """The addresses of a push of the list's change."""
    element = await stream.take(
        f"a push of <{name}/>",
        lambda e: e.tag == f"{CLIENT}iq" and e.get("type") == "set" and e.find(f"{{{BLOCKING}}}{name}") is not None,
    )
    expect(element.get("from") in (None, stream.account.jid), f"the push came from {element.get('from')}")
    return {item.get("jid") for item in element.find(f"{{{BLOCKING}}}{name}")}


def pair(lab):
    return lab.strict.account("romeo"), lab.strict.account("juliet")


@check("blocking-list-and-pushes", needs=NEEDS)
async def lists(lab):
    account = lab.strict.account("juliet")
    async with scripted(account, "hall") as hall, scripted(account, "garden") as garden:
        for stream in (hall, garden):
            expect(await blocked(stream) == set(), "a new account blocks somebody")
        await block(hall, "spammer@example.org", "example.net", "room@rooms.example.com/nick")
        everybody = {"spammer@example.org", "example.net", "room@rooms.example.com/nick"}
        for stream in (hall, garden):
            expect((jids := await push(stream, "block")) == everybody, f"pushed were {jids}")
        expect((jids := await blocked(garden)) == everybody, f"the list is {jids}")
        await unblock(garden, "example.net")
        for stream in (hall, garden):
            expect((jids := await push(stream, "unblock")) == {"example.net"}, f"pushed were {jids}")
        # XEP-0191 §3.5: without items, everybody.
        await unblock(garden)
        for stream in (hall, garden):
            expect((jids := await push(stream, "unblock")) == set(), f"pushed were {jids}")
        expect(await blocked(hall) == set(), "somebody is still blocked")


@check("blocking-empty-request-refused", needs=NEEDS)
async def empty(lab):
    async with scripted(lab.strict.account("juliet")) as juliet:
        answer = await juliet.iq("set", f"<block xmlns='{BLOCKING}'/>")
        # XEP-0191 §3.3.
        expect(condition(answer) == "bad-request", f"blocking nobody was answered: {shown(answer)}")


@check("blocking-list-survives-the-session", needs=NEEDS)
async def survives(lab):
    account = lab.strict.account("juliet")
    async with scripted(account) as juliet:
        await block(juliet, "spammer@example.org")
    async with scripted(account) as juliet:
        expect(await blocked(juliet) == {"spammer@example.org"}, "the list is gone")


@check("blocking-what-a-blocked-sender-gets", needs=NEEDS)
async def sender(lab):
    first, second = pair(lab)
    async with scripted(first) as romeo, scripted(second) as juliet:
        await block(juliet, first.jid)
        # XEP-0191 §3.3: as if nobody was there.
        identifier = await romeo.text(second.jid, "let me in")
        expect((error := await romeo.error(identifier)) == "service-unavailable", f"the message's error is {error}")
        identifier = await romeo.text(juliet.jid, "let me in there")
        if lab.kind != "prosody":  # which drops it
            expect((error := await romeo.error(identifier)) == "service-unavailable", f"the message's error is {error}")
        for target in (second.jid, juliet.jid):
            answer = await romeo.iq("get", PING, target)
            expect(condition(answer) == "service-unavailable", f"a request to {target} got {shown(answer)}")
        await romeo.presence(to=second.jid, content="<status>look</status>")
        await romeo.presence(to=second.jid, kind="subscribe")
        await romeo.settle()
        await unblock(juliet, first.jid)
        await romeo.text(second.jid, "marker")
        await juliet.message("marker")
        expect(not juliet.bodies(), f"of a blocked sender came {juliet.bodies()}")
        came = [shown(e) for e in juliet.seen if (e.get("from") or "").startswith(first.jid)]
        expect(not came, f"of a blocked sender came {came}")
        page = await ask(juliet)
        expect(page.bodies == ["marker"], f"the archive has {page.bodies}")


@check("blocking-nothing-kept-while-away", needs=NEEDS)
async def away(lab):
    first, second = pair(lab)
    async with scripted(second) as juliet:
        await block(juliet, first.jid)
    async with scripted(first) as romeo:
        identifier = await romeo.text(second.jid, "for later")
        expect((error := await romeo.error(identifier)) == "service-unavailable", f"the message's error is {error}")
    async with scripted(second) as juliet:
        await juliet.settle()
        expect(not juliet.bodies(), f"kept was {juliet.bodies()}")
        page = await ask(juliet)
        expect(page.bodies == [], f"the archive has {page.bodies}")


@check("blocking-presence", needs=NEEDS)
async def presence(lab):
    first, second = pair(lab)
    async with online(first) as romeo, online(second) as juliet:
        await subscribe(romeo, juliet)
        async with scripted(second, "phone") as phone:
            full = f"{second.jid}/lab"
            await romeo.wait_for("the phone", lambda s: s.get("from") == phone.jid and s.get("type") is None)
            await block(phone, first.jid)
            # XEP-0191 §3.3: the blocked contact sees the user go, …
            for gone in (full, phone.jid):
                await romeo.wait_for(
                    f"{gone} to leave", lambda s, gone=gone: s.get("from") == gone and s.get("type") == "unavailable"
                )
            await phone.presence(content="<status>hidden</status>")
            await phone.settle()
            await unblock(phone, first.jid)
            # … §3.4: and come back.
            await romeo.wait_for("the phone", lambda s: s.get("from") == phone.jid and s.get("type") is None)
            await romeo.wait_for("the other client", lambda s: s.get("from") == full and s.get("type") is None)


@check("blocking-outbound-refused", needs=NEEDS)
async def outbound(lab):
    first, second = pair(lab)
    async with scripted(first) as romeo, scripted(second) as juliet:
        await block(juliet, first.jid)
        identifier = await juliet.text(first.jid, "never mind")
        answer = await juliet.take("an error", lambda e: e.get("id") == identifier and e.get("type") == "error")
        # XEP-0191 §3.3: not-acceptable, with an element that says why.
        expect(condition(answer) == "not-acceptable", f"the error is {shown(answer)}")
        expect(
            answer.find(f"{CLIENT}error/{ERRORS}blocked") is not None, f"the error does not say why: {shown(answer)}"
        )
        await unblock(juliet, first.jid)
        await juliet.text(first.jid, "marker")
        await romeo.message("marker")
        expect(not romeo.bodies(), "a message to a blocked address was delivered")


@check("blocking-whole-domain-federated", needs=[*NEEDS, "prosody"])
async def federated(lab):
    first, second = lab.peers["external"].account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, scripted(second) as juliet:
        await block(juliet, "external.lab")
        identifier = romeo.text(second.jid, "from a blocked domain")
        expect((error := await romeo.error_message(identifier)) == "service-unavailable", f"the error is {error}")
        await unblock(juliet, "external.lab")
        romeo.text(second.jid, "marker")
        await juliet.message("marker", seconds=60)
        expect(not juliet.bodies(), f"of a blocked domain came {juliet.bodies()}")


@check("blocking-no-carbons-of-the-blocked", needs=NEEDS)
async def carbons(lab):
    first, second = pair(lab)
    async with scripted(first) as romeo, scripted(second, "hall") as hall, scripted(second, "garden") as garden:
        await garden.query("set", f"<enable xmlns='{CARBONS}'/>")
        await block(hall, first.jid)
        identifier = await romeo.text(second.jid, "let me in")
        await romeo.error(identifier)
        await unblock(hall, first.jid)
        await romeo.text(garden.jid, "marker")
        await garden.message("marker")
        expect(
            not [e for e in garden.seen if e.find(f"{{{CARBONS}}}received") is not None],
            "a carbon of a blocked message",
        )


@check("blocking-with-a-report", needs=NEEDS)
async def report(lab):
    if lab.kind == "prosody":
        raise Skip("Debian's Prosody takes no reports")
    first, second = pair(lab)
    async with scripted(first) as romeo, scripted(second) as juliet:
        answer = await juliet.query("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", second.domain)
        features = {e.get("var") for e in answer[0]}
        expect(REPORTING in features, "the domain does not say that it takes reports")
        await romeo.text(second.jid, "buy now")
        await juliet.message("buy now")
        page = await ask(juliet)
        said = (
            f"<report xmlns='{REPORTING}' reason='urn:xmpp:reporting:spam'><stanza-id xmlns='urn:xmpp:sid:0' "
            f"by='{second.jid}' id='{page.ids[0]}'/><text xml:lang='en'>never asked for it</text></report>"
        )
        # Only who has asked for the list is told of its changes.
        await blocked(juliet)
        await block(juliet, first.jid, report=said)
        # A reason that nobody knows does not keep somebody from blocking.
        await block(juliet, "other@example.org", report=f"<report xmlns='{REPORTING}' reason='urn:example:dull'/>")
        expect(await blocked(juliet) == {first.jid, "other@example.org"}, "the reported are not blocked")
        for jids in (await push(juliet, "block"), await push(juliet, "block")):
            expect(len(jids) == 1, f"pushed were {jids}")
