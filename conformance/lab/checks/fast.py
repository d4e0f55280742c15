"""Tokens for the next log-in (FAST, XEP-0484): requested, used, rotated, revoked."""

import uuid

from ..check import Skip, check, expect
from ..server import Account
from ..stream import BIND2, FAST, SASL2, Stream, shown, unauthenticated
from .sasl2 import binding, bound, only_stonechat, refused, succeeded

NEEDS = ["slixmpp", "pyopenssl"]
MECHANISM = "HT-SHA-256-NONE"


class Device:
    """A device of an account: its user-agent id, and the token it was given last."""

    def __init__(self, account, mechanism=MECHANISM):
        self.account = account
        self.mechanism = mechanism
        self.agent = str(uuid.uuid4())
        self.token = None

    def keep(self, success):
        """Keeps the token that came with a success, if one did; returns whether."""
        element = success.find(f"{{{FAST}}}token")
        if element is None:
            return False
        expect(element.get("token"), f"a token without a token: {shown(element)}")
        expect(element.get("expiry"), "XEP-0484 §3.3: a token without an expiry")
        self.token = element.get("token")
        return True

    async def request(self):
        """Logs in with the password and asks for a token."""
        async with unauthenticated(self.account) as stream:
            exchange = stream.scram(stream.mechanisms()[1])
            wish = f"<request-token xmlns='{FAST}' mechanism='{self.mechanism}'/>"
            success = succeeded(await stream.sasl2(exchange, binding() + wish, self.agent))
            expect(self.keep(success), f"no token came: {shown(success)}")
            await stream.close()
        return self

    async def attempt(self, stream, token=None, fast="", mechanism=None, agent=None, extra=""):
        """Tries to log in with a token on this stream; returns <success/> or <failure/>."""
        exchange = stream.token(mechanism or self.mechanism, token or self.token)
        return await stream.sasl2(exchange, binding() + extra, agent or self.agent, fast)

    async def enter(self, **options):
        """Logs in with the token; returns <success/>."""
        async with unauthenticated(self.account) as stream:
            success = succeeded(await self.attempt(stream, **options))
            expect(success.find(f"{{{BIND2}}}bound") is not None, f"not bound: {shown(success)}")
            await stream.get_features()
            await stream.query("get", "<ping xmlns='urn:xmpp:ping'/>", "stone.lab")
            await stream.close()
            return success

    async def fail(self, **options):
        async with unauthenticated(self.account) as stream:
            refused(await self.attempt(stream, **options), "not-authorized", "credentials-expired")


def bound_token(end):
    async def run(lab):
        device = Device(lab.strict.account(), f"HT-SHA-256-{end}")
        if end != "NONE":
            only_stonechat(lab, "0.12 has no channel binding over TLS 1.3")
        await device.request()
        await device.enter()
        if end != "NONE":
            # The binding is part of the proof: without it the same token does not do.
            await device.fail(mechanism=MECHANISM)

    return run


for end in ("NONE", "ENDP", "EXPR"):
    check(f"fast-token-{end.lower()}", needs=NEEDS)(bound_token(end))


@check("fast-token-survives-failed-attempts", needs=NEEDS)
async def wrong_token(lab):
    device = await Device(lab.strict.account()).request()
    await device.fail(token="not the token")
    await device.enter()


@check("fast-token-of-another-device-refused", needs=NEEDS)
async def other_device(lab):
    device = await Device(lab.strict.account()).request()
    await device.fail(agent=str(uuid.uuid4()))
    await device.enter()


@check("fast-token-of-another-account-refused", needs=NEEDS)
async def other_account(lab):
    device = await Device(lab.strict.account()).request()
    thief = Device(lab.strict.account("thief"))
    thief.agent = device.agent
    await thief.fail(token=device.token)


@check("fast-token-in-one-flight", needs=NEEDS)
async def one_flight(lab):
    device = await Device(lab.strict.account()).request()
    stream = Stream(device.account)
    await stream.connect()
    try:
        exchange = stream.token(device.mechanism, device.token)
        if lab.kind == "prosody":
            await stream.open()
        # The header, the proof, the binding and the first stanza, before anything came back.
        first = "" if lab.kind == "prosody" else stream.opening()
        start = stream.authentication(exchange, binding(), device.agent, "")
        await stream.send(first, start, "<iq type='get' id='early'><query xmlns='jabber:iq:roster'/></iq>")
        success = succeeded(await stream.sasl2(exchange, sent=True))
        expect(success.find(f"{{{BIND2}}}bound") is not None, f"not bound: {shown(success)}")
        await stream.take("the roster", lambda e: e.get("id") == "early" and e.get("type") == "result")
        await stream.close()
    finally:
        stream.cut()


@check("fast-token-rotates", needs=NEEDS)
async def rotation(lab):
    device = await Device(lab.strict.account()).request()
    old = device.token
    if not device.keep(await device.enter(extra=f"<request-token xmlns='{FAST}' mechanism='{MECHANISM}'/>")):
        raise Skip("the server gives no new token at a log-in by token")
    expect(device.token != old, "the new token is the old one")
    # The answer may have been lost: until the new one is used, the old one does.
    await device.enter(token=old)
    device.keep(await device.enter())
    await device.fail(token=old)
    await device.enter()


@check("fast-token-invalidated", needs=NEEDS)
async def invalidated(lab):
    device = await Device(lab.strict.account()).request()
    async with unauthenticated(device.account) as stream:
        # XEP-0484 §3.6: the log-in succeeds, and is the last one by this token.
        success = succeeded(await device.attempt(stream, fast="invalidate='true'"))
        expect(success.find(f"{{{FAST}}}token") is None, "a new token, though the client gives up the one it has")
    await device.fail()


@check("fast-count-must-rise", needs=NEEDS)
async def count(lab):
    only_stonechat(lab, "does not look at the count")
    device = await Device(lab.strict.account()).request()
    old = device.token
    success = await device.enter(fast="count='3'")
    if success.find(f"{{{FAST}}}token") is not None:
        old = device.token
    # XEP-0484 §3.4: a count that was seen, or a lower one, is a replay.
    await device.fail(token=old, fast="count='3'")
    await device.fail(token=old, fast="count='2'")
    await device.enter(token=old, fast="count='4'")


@check("fast-new-password-ends-tokens", needs=NEEDS)
async def new_password(lab):
    only_stonechat(lab, "keeps its tokens when the password changes")
    device = await Device(lab.strict.account()).request()
    account = device.account
    async with unauthenticated(account) as stream:
        await bound(stream)
        await stream.query(
            "set",
            f"<query xmlns='jabber:iq:register'><username>{account.local}</username><password>another</password></query>",
            account.domain,
        )
        await stream.close()
    await device.fail()
    device.account = Account(account.jid, "another", account.server)
    await device.request()
    await device.enter()


@check("fast-needs-a-device", needs=NEEDS)
async def no_device(lab):
    async with unauthenticated(lab.strict.account()) as stream:
        exchange = stream.scram(stream.mechanisms()[1])
        wish = f"<request-token xmlns='{FAST}' mechanism='{MECHANISM}'/>"
        # XEP-0484 §4.1: without a user-agent id there is nothing to give a token to.
        answer = await stream.sasl2(exchange, binding() + wish)
        expect(answer.find(f"{{{FAST}}}token") is None, "a token for nobody")
        expect(answer.tag in (f"{{{SASL2}}}success", f"{{{SASL2}}}failure"), shown(answer))
