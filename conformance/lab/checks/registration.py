"""In-band registration (XEP-0077): open and closed, password change and removal of the account."""

import asyncio
import itertools
import ssl
from xml.sax.saxutils import quoteattr

from ..check import Failed, check, expect
from ..server import Account
from ..xmpp import LIMIT, online

NEEDS = ["slixmpp"]
FIELDS = '<query xmlns="jabber:iq:register"/>'
NUMBERS = itertools.count(1)


class Unauthenticated:
    """A stream over direct TLS that stops before SASL, read as text."""

    def __init__(self, server):
        self.server = server
        self.text = ""

    async def __aenter__(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.reader, self.writer = await asyncio.open_connection(
            self.server.address, 5223, ssl=context, server_hostname=self.server.domain
        )
        await self.send(
            f"<?xml version='1.0'?><stream:stream to={quoteattr(self.server.domain)} version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        self.features = await self.until("</stream:features>")
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    async def send(self, text):
        self.writer.write(text.encode())
        await self.writer.drain()

    async def until(self, *ends):
        """Reads until one of the texts; returns what came since the last call."""
        while not any(end in self.text for end in ends):
            data = await asyncio.wait_for(self.reader.read(4096), LIMIT)
            if not data:
                if self.text:
                    break
                raise Failed("the server closed the stream")
            self.text += data.decode()
        came, self.text = self.text, ""
        return came

    async def register(self, local, password):
        """Asks for the fields and fills them; returns the answer as text."""
        await self.send(f"<iq type='get' id='fields' to={quoteattr(self.server.domain)}>{FIELDS}</iq>")
        fields = await self.until("</iq>", "/></iq>", "</stream:stream>")
        if "</stream:stream>" in fields:
            return fields
        await self.send(
            f"<iq type='set' id='register' to={quoteattr(self.server.domain)}><query xmlns='jabber:iq:register'>"
            f"<username>{local}</username><password>{password}</password></query></iq>"
        )
        return await self.until("</iq>", "id='register'/>", 'id="register"/>', "register", "</stream:stream>")


@check("registration-open", needs=NEEDS)
async def registration_open(lab):
    name = f"newcomer-{next(NUMBERS)}"
    async with Unauthenticated(lab.lax) as stream:
        expect("http://jabber.org/features/iq-register" in stream.features, "registration is not announced")
        answer = await stream.register(name, "secret1")
        expect("error" not in answer, f"refused: {answer}")
    async with online(Account(f"{name}@lax.lab", "secret1", lab.lax)):
        pass


@check("registration-name-taken", needs=NEEDS)
async def registration_taken(lab):
    account = lab.lax.account()
    async with Unauthenticated(lab.lax) as stream:
        answer = await stream.register(account.local, "another")
        expect("conflict" in answer, f"answered: {answer}")
    async with online(account):
        pass


@check("registration-closed", needs=NEEDS)
async def registration_closed(lab):
    name = f"newcomer-{next(NUMBERS)}"
    async with Unauthenticated(lab.strict) as stream:
        expect("iq-register" not in stream.features, "registration is announced though it is closed")
        answer = await stream.register(name, "secret1")
        expect("error" in answer or "not-authorized" in answer, f"answered: {answer}")
    try:
        async with online(Account(f"{name}@stone.lab", "secret1", lab.strict)):
            pass
    except Failed:
        return
    raise Failed("the account was made all the same")


@check("password-change", needs=NEEDS)
async def password_change(lab):
    account = lab.strict.account()
    renewed = Account(account.jid, "brand new pässword", account.server)
    async with online(account) as client:
        await client.query(
            "set",
            f'<query xmlns="jabber:iq:register"><username>{account.local}</username>'
            f"<password>{renewed.password}</password></query>",
            "stone.lab",
        )
    async with online(renewed):
        pass
    try:
        async with online(account):
            pass
    except Failed:
        return
    raise Failed("the old password still works")


@check("account-removal", needs=NEEDS)
async def account_removal(lab):
    account = lab.strict.account()
    async with online(account) as client:
        # The answer may be overtaken by the end of the stream.
        iq = client.make_iq(itype="set")
        iq["id"] = client.new_id()
        client.send_raw(
            f'<iq type="set" id="{iq["id"]}"><query xmlns="jabber:iq:register"><remove/></query></iq>'
        )
        await asyncio.wait_for(client.disconnected, LIMIT)
    try:
        async with online(account):
            pass
    except Failed:
        return
    raise Failed("the removed account still logs in")
