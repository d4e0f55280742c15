"""A scripted client: one stream, element by element, for what no library lets one do.

It can be cut, answer acknowledgement requests or not, send before it was asked to, and use keying material of its TLS
session. Whoever wants an ordinary client takes `xmpp.online`.
"""

import asyncio
import hashlib
import itertools
from contextlib import asynccontextmanager
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from .check import Failed, expect
from .sasl import ENDINGS, HashedToken, Scram, decoded, encoded
from .xmpp import CLIENT, LIMIT, condition

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL2 = "urn:xmpp:sasl:2"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
BIND2 = "urn:xmpp:bind:0"
FAST = "urn:xmpp:fast:0"
SM = "urn:xmpp:sm:3"
CSI = "urn:xmpp:csi:0"
CARBONS = "urn:xmpp:carbons:2"
SASL_CB = "urn:xmpp:sasl-cb:0"
STREAMS = "{http://etherx.jabber.org/streams}"
STREAM_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
STANZAS = tuple(f"{CLIENT}{name}" for name in ("message", "presence", "iq"))


class Tls:
    """TLS over memory (pyOpenSSL). Whether the certificate is right is checked elsewhere."""

    def __init__(self, domain):
        from OpenSSL import SSL

        self.ssl = SSL
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_alpn_protos([b"xmpp-client"])
        self.connection = SSL.Connection(context, None)
        self.connection.set_tlsext_host_name(domain.encode())
        self.connection.set_connect_state()

    def handshake(self):
        """Goes one step; returns whether it is done."""
        try:
            self.connection.do_handshake()
            return True
        except self.ssl.WantReadError:
            return False

    def waiting(self):
        """What is to be written to the socket."""
        pieces = []
        while True:
            try:
                pieces.append(self.connection.bio_read(65536))
            except self.ssl.WantReadError:
                return b"".join(pieces)

    def received(self, data):
        """The plaintext that came with `data`; None when TLS has ended."""
        if data:
            self.connection.bio_write(data)
        pieces = []
        while True:
            try:
                pieces.append(self.connection.recv(65536))
            except self.ssl.WantReadError:
                return b"".join(pieces)
            except (self.ssl.ZeroReturnError, self.ssl.Error):
                return b"".join(pieces) or None

    def binding(self, kind):
        """Channel binding data: RFC 9266 and RFC 5929."""
        if kind == "tls-exporter":
            return kind, self.connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        from OpenSSL import crypto

        certificate = crypto.dump_certificate(crypto.FILETYPE_ASN1, self.connection.get_peer_certificate())
        return kind, hashlib.sha256(certificate).digest()


class Stream:
    """One stream of a client, over direct TLS. `seen` holds what came and nobody has asked for yet."""

    _numbers = itertools.count(1)

    def __init__(self, account, resource="lab"):
        self.account = account
        self.domain = account.domain
        self.resource = resource
        self.jid = None
        self.features = None
        self.seen = []
        self.handled = 0  # stanzas that came since stream management was enabled
        self.counting = False
        self.acknowledges = True  # whether an <r/> is answered
        self.ended = False
        self._arrived = asyncio.Event()
        self._reader_task = None
        self._first = None

    # The connection.

    async def connect(self):
        """TCP, TLS, and a task that reads."""
        self.reader, self.writer = await asyncio.open_connection(self.account.server.address, 5223)
        self.tls = Tls(self.domain)
        while not self.tls.handshake():
            await self._flush()
            data = await asyncio.wait_for(self.reader.read(65536), LIMIT)
            expect(data, "the server ended the connection in the TLS handshake")
            self.tls.connection.bio_write(data)
        await self._flush()
        self._restart()
        self._reader_task = asyncio.create_task(self._read())
        # What came with the handshake's last bytes.
        self._take_in(b"")

    async def _flush(self):
        self.writer.write(self.tls.waiting())
        await self.writer.drain()

    async def _read(self):
        try:
            while data := await self.reader.read(65536):
                if not self._take_in(data):
                    break
        except OSError:
            pass
        self.ended = True
        self._arrived.set()

    def _take_in(self, data):
        plaintext = self.tls.received(data)
        if plaintext is None:
            return False
        if plaintext:
            if self._first is not None and not self._first.done():
                self._first.set_result(plaintext.decode())
            self.parser.feed(plaintext)
        for event, element in self.parser.read_events():
            if event == "start":
                self.depth += 1
                if self.depth == 1:
                    self.header = element
            else:
                self.depth -= 1
                if self.depth == 1:
                    self.header.remove(element)
                    self._came(element)
        # Answers to <r/>.
        self.writer.write(self.tls.waiting())
        self._arrived.set()
        return True

    def _came(self, element):
        if element.tag in STANZAS and self.counting:
            self.handled += 1
        if element.tag in (f"{{{SM}}}enabled", f"{{{SM}}}resumed"):
            self._count_from(element)
        for inner in element.iter():
            if inner.tag in (f"{{{SM}}}enabled",) and inner is not element:
                self._count_from(inner)
        if element.tag == f"{{{SM}}}r" and self.acknowledges:
            self.tls.connection.sendall(f"<a xmlns='{SM}' h='{self.handled}'/>".encode())
            return
        self.seen.append(element)

    def _count_from(self, element):
        if element.tag == f"{{{SM}}}enabled":
            self.handled = 0
        self.counting = True

    def _restart(self):
        self.parser = ElementTree.XMLPullParser(("start", "end"))
        self.depth = 0
        self.header = None

    async def send(self, *xml):
        """Sends text as it is, in one flight."""
        self.tls.connection.sendall("".join(xml).encode())
        await self._flush()

    def cut(self):
        """Drops the connection as a dead network does: neither the stream nor TLS is closed."""
        if self._reader_task:
            self._reader_task.cancel()
        self.writer.transport.abort()
        self.ended = True

    async def close(self):
        """Closes the stream and waits for the server to do so."""
        if not self.ended:
            await self.send("</stream:stream>")
            await self.until_ended()
        self.cut()

    async def until_ended(self):
        """Waits until the server has ended the connection."""
        deadline = asyncio.get_running_loop().time() + LIMIT
        while not self.ended:
            self._arrived.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(left, 0.001))
            except asyncio.TimeoutError:
                raise Failed("the server did not end the connection") from None

    # What comes.

    async def take(self, what, matches, seconds=LIMIT):
        """Takes the first element that matches out of `seen`, waiting for it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            for element in self.seen:
                if matches(element):
                    self.seen.remove(element)
                    return element
            left = deadline - asyncio.get_running_loop().time()
            if not self.ended and left > 0:
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), left)
                    continue
                except asyncio.TimeoutError:
                    pass
            came = ", ".join(shown(element) for element in self.seen[-4:]) or "nothing"
            end = "the connection ended before" if self.ended else f"waited {seconds:.0f} s for"
            raise Failed(f"{self.jid or self.account.jid}: {end} {what}; came: {came}") from None

    def first_bytes(self):
        """A future for the text that comes first."""
        self._first = asyncio.get_running_loop().create_future()
        return asyncio.wait_for(self._first, LIMIT)

    async def nonza(self, namespace, *names, seconds=LIMIT):
        """Waits for an element that is no stanza."""
        tags = [f"{{{namespace}}}{name}" for name in names]
        return await self.take(f"<{' or '.join(names)}>", lambda e: e.tag in tags, seconds)

    async def message(self, body, seconds=LIMIT):
        """Waits for a message with this body that is no error."""
        return await self.take(
            f"the message {body!r}",
            lambda e: e.tag == f"{CLIENT}message" and e.get("type") != "error" and e.findtext(f"{CLIENT}body") == body,
            seconds,
        )

    async def error(self, identifier, seconds=LIMIT):
        """Waits for the error that answers the stanza with this id; returns its condition."""
        element = await self.take("an error", lambda e: e.get("type") == "error" and e.get("id") == identifier, seconds)
        return condition(element)

    async def stream_error(self):
        """Waits for a stream error; returns its conditions."""
        element = await self.take("a stream error", lambda e: e.tag == f"{STREAMS}error")
        return [child.tag.split("}")[-1] for child in element]

    def bodies(self):
        """The bodies of the messages in `seen` that are no errors, carbons or results."""
        return [
            body
            for e in self.seen
            if e.tag == f"{CLIENT}message" and e.get("type") != "error" and (body := e.findtext(f"{CLIENT}body"))
        ]

    async def iq(self, kind, payload, to=None):
        """Sends an IQ; returns the answer, whatever it is."""
        identifier = self.new_id()
        await self.send(f"<iq type='{kind}' id='{identifier}'{address(to)}>{payload}</iq>")
        return await self.take(
            f"the answer to {payload[:60]}",
            lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == identifier and e.get("type") in ("result", "error"),
        )

    async def query(self, kind, payload, to=None):
        """Sends an IQ that must succeed; returns the answer."""
        answer = await self.iq(kind, payload, to)
        expect(answer.get("type") == "result", f"{payload[:80]} to {to} was refused: {condition(answer)}")
        return answer

    async def settle(self):
        """Returns when the server has worked on all that this client has sent so far."""
        await self.query("get", "<query xmlns='jabber:iq:roster'/>")

    async def text(self, to, body, kind="chat", extra="", identifier=None):
        """Sends a message; returns its id."""
        identifier = identifier or self.new_id()
        content = f"<body>{escape(body)}</body>" if body else ""
        await self.send(f"<message type='{kind}' id='{identifier}'{address(to)}>{content}{extra}</message>")
        return identifier

    async def presence(self, to=None, kind=None, content=""):
        kind = f" type='{kind}'" if kind else ""
        await self.send(f"<presence{address(to)}{kind}>{content}</presence>")

    @classmethod
    def new_id(cls):
        return f"id-{next(cls._numbers)}"

    # The steps of a log-in.

    def opening(self):
        return (
            f"<?xml version='1.0'?><stream:stream from={quoteattr(self.account.jid)} "
            f"to={quoteattr(self.domain)} version='1.0' xml:lang='en' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    async def open(self):
        """Sends the stream's header and waits for the features."""
        self._restart()
        await self.send(self.opening())
        return await self.get_features()

    async def get_features(self):
        self.features = await self.take("features", lambda e: e.tag == f"{STREAMS}features")
        return self.features

    def mechanisms(self):
        """The mechanisms of classic SASL and of SASL2."""
        classic = [m.text for m in self.features.iterfind(f"{{{SASL}}}mechanisms/{{{SASL}}}mechanism")]
        return classic, [m.text for m in self.features.iterfind(f"{{{SASL2}}}authentication/{{{SASL2}}}mechanism")]

    def scram(self, offered):
        """The best SCRAM without channel binding among what is offered."""
        name = next((n for n in ("SCRAM-SHA-256", "SCRAM-SHA-1") if n in offered), None)
        expect(name, f"no SCRAM is offered, only {offered}")
        return Scram(name, self.account)

    def token(self, mechanism, token):
        """A FAST mechanism with the binding that its name asks for."""
        kind = ENDINGS[mechanism.rsplit("-", 1)[1]]
        return HashedToken(mechanism, self.account, token, self.tls.binding(kind) if kind else None)

    async def authenticate(self):
        """Classic SASL, and the stream after it."""
        exchange = self.scram(self.mechanisms()[0])
        await self.send(f"<auth xmlns='{SASL}' mechanism='{exchange.mechanism}'>{encoded(exchange.first)}</auth>")
        challenge = await self.nonza(SASL, "challenge", "failure")
        expect(challenge.tag.endswith("challenge"), f"{self.account.jid} could not log in: {shown(challenge)}")
        await self.send(f"<response xmlns='{SASL}'>{encoded(exchange.answer(decoded(challenge.text)))}</response>")
        success = await self.nonza(SASL, "success", "failure")
        expect(success.tag.endswith("success"), f"{self.account.jid} could not log in: {shown(success)}")
        exchange.verify(decoded(success.text))
        return await self.open()

    async def bind(self):
        """Classic resource binding."""
        answer = await self.query("set", f"<bind xmlns='{BIND}'><resource>{self.resource}</resource></bind>")
        self.jid = answer.findtext(f"{{{BIND}}}bind/{{{BIND}}}jid")
        return self.jid

    def authentication(self, exchange, inline="", agent=None, fast=None):
        """The text of XEP-0388's <authenticate/>; `agent` is the device's UUID, `fast` the attributes of <fast/>."""
        device = ""
        if agent:
            device = f"<user-agent id='{agent}'><software>lab</software><device>script</device></user-agent>"
        mark = f"<fast xmlns='{FAST}' {fast}/>" if fast is not None else ""
        return (
            f"<authenticate xmlns='{SASL2}' mechanism='{exchange.mechanism}'><initial-response>{encoded(exchange.first)}"
            f"</initial-response>{device}{inline}{mark}</authenticate>"
        )

    async def sasl2(self, exchange, inline="", agent=None, fast=None, sent=False):
        """Authenticates with XEP-0388; returns <success/> or <failure/>. The features come after success."""
        if not sent:
            await self.send(self.authentication(exchange, inline, agent, fast))
        answer = await self.nonza(SASL2, "challenge", "success", "failure", "continue")
        if answer.tag.endswith("challenge"):
            await self.send(f"<response xmlns='{SASL2}'>{encoded(exchange.answer(decoded(answer.text)))}</response>")
            answer = await self.nonza(SASL2, "success", "failure", "continue")
        if answer.tag.endswith("success"):
            exchange.verify(decoded(answer.findtext(f"{{{SASL2}}}additional-data")))
            # XEP-0386: with an inline bind the identifier is the full address.
            identifier = answer.findtext(f"{{{SASL2}}}authorization-identifier")
            expect(identifier, "XEP-0388 §2.6.1: <success/> without <authorization-identifier/>")
            self.jid = identifier if "/" in identifier else None
        return answer

    async def enable(self, resume=True):
        """Stream management; returns <enabled/>."""
        await self.send(f"<enable xmlns='{SM}'{' resume=' + quoteattr('true') if resume else ''}/>")
        enabled = await self.nonza(SM, "enabled", "failed")
        expect(enabled.tag.endswith("enabled"), f"stream management was refused: {shown(enabled)}")
        return enabled

    async def acknowledge(self, handled=None):
        await self.send(f"<a xmlns='{SM}' h='{self.handled if handled is None else handled}'/>")

    async def requested(self):
        """Asks what the server has handled; returns its h."""
        await self.send(f"<r xmlns='{SM}'/>")
        return int((await self.nonza(SM, "a")).get("h"))


def address(to):
    return f" to={quoteattr(str(to))}" if to else ""


def shown(element):
    """An element, shortened."""
    return ElementTree.tostring(element, encoding="unicode")[:300]


@asynccontextmanager
async def unauthenticated(account, resource="lab"):
    """A stream with its features, before authentication."""
    stream = Stream(account, resource)
    await stream.connect()
    try:
        await stream.open()
        yield stream
    finally:
        stream.cut()


@asynccontextmanager
async def authenticated(account, resource="lab"):
    """A stream after classic SASL, before bind."""
    async with unauthenticated(account, resource) as stream:
        await stream.authenticate()
        yield stream


async def available(stream, content=""):
    """Initial presence, and its echo."""
    await stream.settle()
    await stream.presence(content=content)
    await stream.take("its own presence", lambda e: e.tag == f"{CLIENT}presence" and e.get("from") == stream.jid)


@asynccontextmanager
async def scripted(account, resource="lab", presence=True, management=None):
    """A bound stream: available unless told otherwise, with stream management (False: that cannot be resumed) if told so."""
    async with authenticated(account, resource) as stream:
        await stream.bind()
        if management is not None:
            stream.enabled = await stream.enable(resume=management)
        if presence:
            await available(stream)
        yield stream
        # A check that went well leaves nothing behind.
        await stream.close()


@asynccontextmanager
async def resumed(account, previous, handled=None):
    """A stream that goes on with what `previous`, whose connection was cut, has left."""
    async with authenticated(account) as stream:
        handled = previous.handled if handled is None else handled
        stream.jid = previous.jid
        stream.handled, stream.counting = handled, True
        await stream.send(f"<resume xmlns='{SM}' h='{handled}' previd={quoteattr(previous.enabled.get('id'))}/>")
        stream.enabled = previous.enabled
        stream.answer = await stream.nonza(SM, "resumed", "failed")
        yield stream
        await stream.close()
