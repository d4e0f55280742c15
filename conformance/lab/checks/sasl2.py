"""Log-in in one flight: SASL2 (XEP-0388), Bind 2 (XEP-0386), inline resumption, and what clients do without them."""

import base64
import hashlib
import uuid

from ..check import Skip, check, expect
from ..sasl import Scram
from ..server import Account
from ..stream import (
    BIND2,
    CARBONS,
    CSI,
    FAST,
    SASL,
    SASL2,
    SASL_CB,
    SM,
    Stream,
    available,
    scripted,
    shown,
    unauthenticated,
)
from ..xmpp import CLIENT, online
from .archive import ask

NEEDS = ["slixmpp", "pyopenssl"]
MAM = "urn:xmpp:mam:2"
PING = "<ping xmlns='urn:xmpp:ping'/>"


def binding(content="", tag="lab"):
    return f"<bind xmlns='{BIND2}'><tag>{tag}</tag>{content}</bind>"


def only_stonechat(lab, why):
    if lab.kind == "prosody":
        raise Skip(f"Debian's Prosody {why}")


def succeeded(answer):
    expect(answer.tag == f"{{{SASL2}}}success", f"the log-in failed: {shown(answer)}")
    bound, resumed = answer.find(f"{{{BIND2}}}bound"), answer.find(f"{{{SM}}}resumed")
    expect(bound is None or resumed is None, "XEP-0386: bound and resumed at once")
    return answer


def refused(answer, *conditions):
    expect(answer.tag == f"{{{SASL2}}}failure", f"must fail, and answered {shown(answer)}")
    names = [child.tag.removeprefix(f"{{{SASL}}}") for child in answer]
    expect(not conditions or set(names) & set(conditions), f"failed with {names}, not with one of {conditions}")


async def log_in(stream, inline="", **options):
    """SASL2 with the password; <success/>, and the features that follow it."""
    answer = succeeded(await stream.sasl2(stream.scram(stream.mechanisms()[1]), inline, **options))
    await stream.get_features()
    return answer


async def bound(stream, content="", tag="lab", **options):
    """SASL2 and Bind 2; returns <bound/>."""
    answer = await log_in(stream, binding(content, tag), **options)
    element = answer.find(f"{{{BIND2}}}bound")
    expect(element is not None, f"not bound: {shown(answer)}")
    expect(stream.jid, "XEP-0386 §3.2: the authorization identifier is not the full address")
    return element


def inline(stream, tag):
    return stream.features.find(f"{{{SASL2}}}authentication/{{{SASL2}}}inline/{tag}")


@check("sasl2-offered-with-what-goes-inline", needs=NEEDS)
async def offered(lab):
    async with unauthenticated(lab.strict.account()) as stream:
        classic, modern = stream.mechanisms()
        expect(modern, "SASL2 is not offered")
        expect(set(classic) == set(modern), f"SASL offers {classic}, SASL2 {modern}")
        expect(inline(stream, f"{{{BIND2}}}bind") is not None, "Bind 2 is not offered inline")
        fast = inline(stream, f"{{{FAST}}}fast")
        expect(fast is not None, "FAST is not offered inline")
        if lab.kind == "prosody":
            return
        expect(inline(stream, f"{{{SM}}}sm") is not None, "resumption is not offered inline")
        names = {f.get("var") for f in inline(stream, f"{{{BIND2}}}bind").iter(f"{{{BIND2}}}feature")}
        missing = {SM, CARBONS, CSI} - names
        expect(not missing, f"Bind 2 does not offer {missing} inline")
        mechanisms = {m.text for m in fast}
        missing = {f"HT-SHA-256-{end}" for end in ("EXPR", "ENDP", "NONE")} - mechanisms
        expect(not missing, f"FAST does not offer {missing}")


@check("sasl2-then-classic-bind", needs=NEEDS)
async def without_bind2(lab):
    async with unauthenticated(lab.strict.account()) as stream:
        answer = await log_in(stream)
        identifier = answer.findtext(f"{{{SASL2}}}authorization-identifier")
        expect(identifier == stream.account.jid, f"the authorization identifier is {identifier}")
        # XEP-0388 §2.6.1: the features follow, on the same stream.
        await stream.bind()
        await available(stream)
        await stream.query("get", PING, "stone.lab")
        await stream.close()


@check("sasl2-bind2", needs=NEEDS)
async def with_bind2(lab):
    account = lab.strict.account()
    async with unauthenticated(account) as stream, online(lab.strict.account("romeo")) as romeo:
        await bound(stream)
        bare, resource = stream.jid.split("/", 1)
        expect(bare == account.jid, f"bound to {stream.jid}")
        expect(resource.startswith("lab"), f"XEP-0386 §3.2.1: the tag begins the resource, which is {resource}")
        await available(stream)
        romeo.text(stream.jid, "are you there?")
        await stream.message("are you there?")
        await stream.close()


@check("sasl2-bind2-carbons-and-stream-management-inline", needs=NEEDS)
async def everything_inline(lab):
    only_stonechat(lab, "0.12 lacks what its mod_sasl2_sm needs")
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    wishes = f"<enable xmlns='{CARBONS}'/><enable xmlns='{SM}' resume='true'/><inactive xmlns='{CSI}'/>"
    async with online(first) as romeo, scripted(second, "desk") as desk, unauthenticated(second) as phone:
        romeo.text(second.jid, "for the archive")
        await desk.message("for the archive")
        newest = (await ask(desk)).ids[-1]
        element = await bound(phone, wishes)
        enabled = element.find(f"{{{SM}}}enabled")
        expect(enabled is not None and enabled.get("id"), f"stream management is not enabled: {shown(element)}")
        # XEP-0386 §3.2: the state of the archive at this moment.
        end = element.find(f"{{{MAM}}}metadata/{{{MAM}}}end")
        expect(end is not None, f"the archive's metadata is missing: {shown(element)}")
        expect(end.get("id") == newest, f"the archive's newest id is {newest}, the metadata says {end.get('id')}")
        phone.enabled = enabled
        await phone.presence()
        # The server has counted from <enabled/> on.
        await phone.settle()
        expect((h := await phone.requested()) == 2, f"h is {h} after two stanzas")
        romeo.text(desk.jid, "for the desk")
        await phone.take("the carbon", lambda e: e.find(f"{{{CARBONS}}}received") is not None)
        # Inactive from the start: presence waits.
        await phone.requested()
        await desk.presence(content="<status>at the desk</status>")
        await desk.settle()
        await phone.requested()
        at_desk = f"{CLIENT}status"
        expect(not [e for e in phone.seen if e.findtext(at_desk)], "presence came to a client that began as inactive")
        await phone.send(f"<active xmlns='{CSI}'/>")
        await phone.take("the presence", lambda e: e.findtext(at_desk) == "at the desk")
        await phone.close()


@check("sasl2-bind2-leaves-kept-messages-to-the-archive", needs=NEEDS)
async def kept_messages(lab):
    only_stonechat(lab, "gives kept messages all the same")
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with scripted(first) as romeo, unauthenticated(second) as juliet:
        await romeo.text(second.jid, "while away")
        await romeo.settle()
        # XEP-0386 §3.2: who binds like this reads the archive, and is not sent what was kept.
        await bound(juliet)
        await available(juliet)
        await romeo.text(second.jid, "live")
        await juliet.message("live")
        expect(not juliet.bodies(), f"kept messages came: {juliet.bodies()}")
        page = await ask(juliet)
        expect(page.bodies == ["while away", "live"], f"the archive has {page.bodies}")
        await juliet.close()
    async with scripted(second) as juliet:
        await juliet.settle()
        expect(not juliet.bodies(), f"kept messages came at the next log-in: {juliet.bodies()}")


@check("sasl2-resumes-inline", needs=NEEDS)
async def inline_resumption(lab):
    only_stonechat(lab, "0.12 lacks what its mod_sasl2_sm needs")
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.cut()
        romeo.text(second.jid, "in the tunnel")
        await romeo.settle()
        async with unauthenticated(second) as again:
            again.handled, again.counting = juliet.handled, True
            wish = f"<resume xmlns='{SM}' h='{juliet.handled}' previd='{juliet.enabled.get('id')}'/>"
            # A client asks for both: whichever is possible.
            exchange = again.scram(again.mechanisms()[1])
            answer = succeeded(await again.sasl2(exchange, wish + binding(f"<enable xmlns='{SM}' resume='true'/>")))
            resumed = answer.find(f"{{{SM}}}resumed")
            expect(resumed is not None, f"not resumed: {shown(answer)}")
            expect(again.jid == juliet.jid, f"resumed as {again.jid}, which was {juliet.jid}")
            await again.message("in the tunnel")
            await again.text(first.jid, "and out again")
            message = await romeo.message("and out again")
            expect(message.get("from") == juliet.jid, f"sends as {message.get('from')}")
            await again.close()


@check("sasl2-failed-resumption-binds-in-the-same-success", needs=NEEDS)
async def failed_resumption(lab):
    only_stonechat(lab, "0.12 lacks what its mod_sasl2_sm needs")
    async with unauthenticated(lab.strict.account()) as stream:
        wish = f"<resume xmlns='{SM}' h='7' previd='no-such-session'/>"
        exchange = stream.scram(stream.mechanisms()[1])
        answer = succeeded(await stream.sasl2(exchange, wish + binding(f"<enable xmlns='{SM}' resume='true'/>")))
        expect(answer.find(f"{{{SM}}}failed") is not None, f"nothing says that resumption failed: {shown(answer)}")
        expect(answer.find(f"{{{BIND2}}}bound/{{{SM}}}enabled") is not None, f"not bound instead: {shown(answer)}")
        await stream.get_features()
        await stream.query("get", PING, "stone.lab")
        await stream.close()


@check("sasl2-then-classic-resumption", needs=NEEDS)
async def classic_resumption(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, scripted(second, management=True) as juliet:
        juliet.cut()
        romeo.text(second.jid, "in the tunnel")
        await romeo.settle()
        async with unauthenticated(second) as again:
            await log_in(again)
            await again.send(f"<resume xmlns='{SM}' h='{juliet.handled}' previd='{juliet.enabled.get('id')}'/>")
            answer = await again.nonza(SM, "resumed", "failed")
            expect(answer.tag.endswith("resumed"), f"not resumed: {shown(answer)}")
            again.handled = juliet.handled
            await again.message("in the tunnel")
            await again.close()


@check("sasl2-wrong-password-refused", needs=NEEDS)
async def wrong_password(lab):
    account = lab.strict.account()
    async with unauthenticated(Account(account.jid, "wrong", account.server)) as stream:
        refused(await stream.sasl2(stream.scram(stream.mechanisms()[1])), "not-authorized")
    async with unauthenticated(Account("nobody-at-all@stone.lab", "wrong", lab.strict)) as stream:
        refused(await stream.sasl2(stream.scram(stream.mechanisms()[1])), "not-authorized")


@check("sasl2-wrong-then-right-password", needs=NEEDS)
async def second_try(lab):
    only_stonechat(lab, "does not begin again on the same stream")
    account = lab.strict.account()
    async with unauthenticated(account) as stream:
        name = stream.scram(stream.mechanisms()[1]).mechanism
        refused(await stream.sasl2(Scram(name, Account(account.jid, "wrong", account.server))))
        # RFC 6120 §6.4.4: a client may try again on the same stream.
        await bound(stream)


@check("sasl2-unknown-mechanism-refused", needs=NEEDS)
async def unknown_mechanism(lab):
    async with unauthenticated(lab.strict.account()) as stream:
        response = "<initial-response>AA==</initial-response>"
        await stream.send(f"<authenticate xmlns='{SASL2}' mechanism='X-NOT-THERE'>{response}</authenticate>")
        refused(await stream.nonza(SASL2, "success", "failure"), "invalid-mechanism")


@check("sasl2-sent-before-the-features", needs=NEEDS)
async def pipelined(lab):
    account = lab.strict.account()
    async with unauthenticated(account) as known:
        name = known.scram(known.mechanisms()[1]).mechanism
    stream = Stream(account)
    await stream.connect()
    try:
        exchange = Scram(name, account)
        # One flight: the header and what a client knows from its last visit.
        await stream.send(stream.opening(), stream.authentication(exchange, binding()))
        answer = succeeded(await stream.sasl2(exchange, sent=True))
        expect(answer.find(f"{{{BIND2}}}bound") is not None, f"not bound: {shown(answer)}")
        expect(stream.jid, "no full address")
        await stream.query("get", PING, "stone.lab")
        await stream.close()
    finally:
        stream.cut()


@check("sasl2-same-device-same-resource", needs=NEEDS)
async def same_device(lab):
    account = lab.strict.account()
    devices = [str(uuid.uuid4()) for _ in range(2)]
    seen = []
    for device in (devices[0], devices[0], devices[1]):
        async with unauthenticated(account) as stream:
            await bound(stream, agent=device)
            seen.append(stream.jid)
            await stream.close()
    expect(seen[0] == seen[1], f"XEP-0386 §3.2.1: one device was bound as {seen[0]}, then as {seen[1]}")
    expect(seen[0] != seen[2], f"two devices were bound as {seen[0]}")


def channel_binding(kind):
    async def run(lab):
        async with unauthenticated(lab.strict.account()) as stream:
            modern = stream.mechanisms()[1]
            name = next((n for n in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS") if n in modern), None)
            if name is None:
                only_stonechat(lab, "0.12 does not offer -PLUS over TLS 1.3")
            expect(name, f"no SCRAM with channel binding among {modern}")
            types = {e.get("type") for e in stream.features.iter(f"{{{SASL_CB}}}channel-binding")}
            expect(kind in types, f"XEP-0440: {kind} is not among {types}")
            exchange = Scram(name, stream.account, stream.tls.binding(kind))
            succeeded(await stream.sasl2(exchange, binding()))
            await stream.close()
        # With other keying material it must fail: that is what it is for.
        async with unauthenticated(lab.strict.account()) as stream:
            exchange = Scram(name, stream.account, (kind, b"x" * 32))
            refused(await stream.sasl2(exchange), "not-authorized")

    return run


for kind in ("tls-exporter", "tls-server-end-point"):
    check(f"sasl2-bound-by-{kind}", needs=NEEDS)(channel_binding(kind))


@check("sasl2-downgrade-protection", needs=NEEDS)
async def downgrade(lab):
    only_stonechat(lab, "protects nobody from a downgrade")
    async with unauthenticated(lab.strict.account()) as stream:
        modern = stream.mechanisms()[1]
        exchange = stream.scram(modern)
        succeeded(await stream.sasl2(exchange, binding()))
        # XEP-0474 §6.1: a hash over what was offered, which nobody between can forge.
        types = sorted(e.get("type") for e in stream.features.iter(f"{{{SASL_CB}}}channel-binding"))
        text = "\x1e".join(sorted(modern)) + ("\x1f" + "\x1e".join(types) if types else "")
        expected = base64.b64encode(hashlib.new(exchange.hash, text.encode()).digest()).decode()
        expect(exchange.told.get("h") == expected, f"the hash of what is offered is {exchange.told.get('h')}")
        # XEP-0515.
        version = {"TLSv1.3": "0304", "TLSv1.2": "0303"}[stream.tls.connection.get_protocol_version_name()]
        expect(exchange.told.get("t") == version, f"TLS {version} is told as {exchange.told.get('t')}")
        await stream.close()


@check("sasl2-only-one-session-per-resource", needs=NEEDS)
async def replaced(lab):
    account, device = lab.strict.account(), str(uuid.uuid4())
    async with unauthenticated(account) as first, unauthenticated(account) as second:
        await bound(first, agent=device)
        await bound(second, agent=device)
        if first.jid == second.jid:
            await first.until_ended()
        await second.query("get", PING, "stone.lab")
        stanzas = [e for e in second.seen if e.tag.startswith(CLIENT)]
        expect(not stanzas, f"a fresh session got {[shown(e) for e in stanzas]}")
