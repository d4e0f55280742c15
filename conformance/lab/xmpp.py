"""A slixmpp client for checks: sees every stanza, answers nothing by itself but pushes, waits with deadlines."""

import asyncio
from contextlib import asynccontextmanager
from xml.etree import ElementTree

import slixmpp
from slixmpp.exceptions import IqError

from .check import Failed

CLIENT = "{jabber:client}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
ROSTER = "{jabber:iq:roster}"
LIMIT = 15.0  # seconds that a check waits for one thing


class Client(slixmpp.ClientXMPP):
    """One connection. `seen` holds what came and nobody has asked for yet."""

    def __init__(self, jid, password, server, direct_tls=False):
        super().__init__(jid, password)
        self.at = server
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        certificate = server.settings.domains[self.boundjid.domain]
        if certificate is None:
            self.enable_starttls, self.enable_plaintext = False, True
            self["feature_mechanisms"].unencrypted_plain = True
        else:
            # One that signed itself is its own root; without roots slixmpp would check nothing.
            self.ca_certs = certificate.chain if certificate.self_signed else server.lab.authority.certificate
            if self.boundjid.domain not in certificate.names:
                # The misnamed peer is for servers to refuse; its own client must get in.
                self.ssl_context.check_hostname = False
        # A subscription is answered by the check, never by the library.
        self.auto_authorize = None
        self.auto_subscribe = None
        self.register_plugin("xep_0199")
        self.seen = []
        self._arrived = asyncio.Event()
        self._state = asyncio.get_running_loop().create_future()
        self.add_filter("in", self._record)
        self.add_event_handler("session_start", lambda _: self._settle(None))
        for event in ("failed_all_auth", "connection_failed", "disconnected", "stream_error"):
            self.add_event_handler(event, lambda detail, event=event: self._settle(f"{event}: {detail}"))

    def _settle(self, problem):
        if not self._state.done():
            self._state.set_result(problem)

    def _record(self, stanza):
        if isinstance(stanza, (slixmpp.Message, slixmpp.Presence, slixmpp.Iq)):
            self.seen.append(stanza.xml)
            self._arrived.set()
        return stanza

    async def log_in(self):
        """Connects, authenticates and binds."""
        self.connect(self.at.address, 5223 if self.enable_direct_tls else 5222)
        problem = await asyncio.wait_for(asyncio.shield(self._state), LIMIT)
        if problem:
            self.give_up()
            raise Failed(f"{self.boundjid.bare} could not log in: {problem}")

    def give_up(self):
        """Drops the connection, if there still is one."""
        self.cancel_connection_attempt()
        if self.transport and not self.transport.is_closing():
            self.transport.abort()

    async def log_out(self):
        await asyncio.wait_for(self.disconnect(wait=1.0), LIMIT)

    async def wait_for(self, what, matches, seconds=LIMIT):
        """Takes the first stanza that matches out of `seen`, waiting for it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            for stanza in self.seen:
                if matches(stanza):
                    self.seen.remove(stanza)
                    return stanza
            self._arrived.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(left, 0.001))
            except (TimeoutError, asyncio.TimeoutError):
                came = ", ".join(describe(stanza) for stanza in self.seen[-4:]) or "nothing"
                raise Failed(f"{self.boundjid.bare} waited {seconds:.0f} s for {what}; came: {came}") from None

    async def message(self, body, seconds=LIMIT):
        """Waits for a message with this body that is no error."""
        return await self.wait_for(
            f"the message {body!r}",
            lambda s: s.tag == f"{CLIENT}message" and s.get("type") != "error" and s.findtext(f"{CLIENT}body") == body,
            seconds,
        )

    async def error_message(self, of):
        """Waits for the error that answers the message with the id `of`; returns its condition."""
        stanza = await self.wait_for(
            "an error",
            lambda s: s.tag == f"{CLIENT}message" and s.get("type") == "error" and s.get("id") == of,
            seconds=60,
        )
        return condition(stanza)

    async def contact_presence(self, bare, kind=None, seconds=LIMIT):
        """Waits for a presence of a type (None: available) from an account."""
        return await self.wait_for(
            f"presence {kind or 'available'} from {bare}",
            lambda s: s.tag == f"{CLIENT}presence" and s.get("from", "").split("/")[0] == bare and s.get("type") == kind,
            seconds,
        )

    async def roster_push(self, jid, **attributes):
        """Waits for a roster push about a contact in which all given attributes have these values."""

        def matches(stanza):
            if stanza.tag != f"{CLIENT}iq" or stanza.get("type") != "set":
                return False
            item = stanza.find(f"{ROSTER}query/{ROSTER}item")
            return (
                item is not None
                and item.get("jid") == jid
                and all(item.get(name) == value for name, value in attributes.items())
            )

        stanza = await self.wait_for(f"a roster push for {jid} with {attributes}", matches)
        return stanza.find(f"{ROSTER}query/{ROSTER}item")

    async def wait_for_subscription(self, jid, states, seconds=LIMIT):
        """Waits for a roster push that gives a contact one of these subscription states."""

        def matches(stanza):
            item = stanza.find(f"{ROSTER}query/{ROSTER}item")
            return (
                stanza.get("type") == "set"
                and item is not None
                and item.get("jid") == jid
                and item.get("subscription") in states
            )

        await self.wait_for(f"a roster push that makes {jid} one of {states}", matches, seconds)

    async def query(self, kind, xml, to=None, limit=LIMIT):
        """Sends an IQ with a payload given as text; returns the answer's element, raises `IqError` for an error."""
        iq = self.make_iq(ito=to, itype=kind)
        iq["id"] = self.new_id()
        iq.append(ElementTree.fromstring(xml))
        answer = await iq.send(timeout=limit)
        return answer.xml

    async def refused(self, kind, xml, to=None, limit=LIMIT):
        """Sends an IQ that must fail; returns the condition."""
        try:
            await self.query(kind, xml, to, limit)
        except IqError as error:
            return condition(error.iq.xml)
        raise Failed(f"{xml} to {to} was answered with a result and must be refused")

    def presence(self, to=None, kind=None, status=None, priority=None):
        self.send_presence(pto=to, ptype=kind, pstatus=status, ppriority=priority)

    def text(self, to, body, kind="chat", identifier=None):
        """Sends a message; returns its id."""
        message = self.make_message(mto=to, mbody=body, mtype=kind)
        message["id"] = identifier or self.new_id()
        message.send()
        return message["id"]

    async def settle(self):
        """Returns when the server has worked on all that this client has sent so far."""
        await self.query("get", '<query xmlns="jabber:iq:roster"/>')


def condition(stanza):
    """The defined condition of an error stanza."""
    error = stanza.find(f"{CLIENT}error")
    if error is None:
        return None
    return next((child.tag.removeprefix(STANZAS) for child in error if child.tag.startswith(STANZAS)), None)


def describe(stanza):
    """A stanza in a few words."""
    kind = stanza.tag.removeprefix(CLIENT)
    error = condition(stanza)
    return f"{kind} type={stanza.get('type')} from={stanza.get('from')}" + (f" ({error})" if error else "")


@asynccontextmanager
async def online(account, resource="lab", presence=True, direct_tls=False):
    """A client of an account, logged in and (unless told otherwise) available, and logged out at the end."""
    client = Client(f"{account.jid}/{resource}", account.password, account.server, direct_tls)
    await client.log_in()
    try:
        if presence:
            await client.query("get", '<query xmlns="jabber:iq:roster"/>')
            client.presence()
            full = str(client.boundjid)
            await client.wait_for(
                "its own presence", lambda s: s.tag == f"{CLIENT}presence" and s.get("from") == full
            )
        yield client
    finally:
        try:
            await client.log_out()
        except (TimeoutError, asyncio.TimeoutError):
            client.give_up()


async def subscribe(watcher, watched):
    """RFC 6121 §3.1: `watcher` asks for the presence of `watched`, who approves; both sides see every step."""
    watcher_jid, watched_jid = watcher.boundjid.bare, watched.boundjid.bare
    watcher.presence(to=watched_jid, kind="subscribe")
    await watcher.roster_push(watched_jid, ask="subscribe")
    await watched.contact_presence(watcher_jid, "subscribe", seconds=60)
    watched.presence(to=watcher_jid, kind="subscribed")
    await watched.wait_for_subscription(watcher_jid, ("from", "both"))
    await watcher.wait_for_subscription(watched_jid, ("to", "both"), seconds=60)
    await watcher.contact_presence(watched_jid, "subscribed")
    # RFC 6121 §3.1.5: the contact's present availability comes with the approval.
    await watcher.contact_presence(watched_jid)
