"""An application server of push notifications (XEP-0357): a component of the `external` peer, reached over federation."""

import asyncio
from contextlib import asynccontextmanager

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from .check import Failed
from .server import COMPONENT_PORT
from .xmpp import LIMIT

PUBSUB = "{http://jabber.org/protocol/pubsub}"
PUSH = "{urn:xmpp:push:0}"
FORM = "{jabber:x:data}"
JID = "push.external.lab"


class AppServer(slixmpp.ComponentXMPP):
    """Keeps what is published and answers as `answers` says: {node: (error type, condition)}; else with a result."""

    def __init__(self, peer):
        super().__init__(JID, peer.settings.components[JID], peer.address, COMPONENT_PORT)
        self.answers = {}
        self.notices = []
        self._arrived = asyncio.Event()
        match = MatchXPath(f"{{jabber:component:accept}}iq/{PUBSUB}pubsub/{PUBSUB}publish")
        self.register_handler(Callback("publish", match, self._published))

    def _published(self, iq):
        publish = iq.xml.find(f"{PUBSUB}pubsub/{PUBSUB}publish")
        node = publish.get("node")
        self.notices.append(Notice(node, iq.xml))
        self._arrived.set()
        reply = iq.reply()
        if (error := self.answers.get(node)) is not None:
            reply = iq.reply(clear=True)
            reply["type"] = "error"
            reply["error"]["type"], reply["error"]["condition"] = error
        reply.send()

    async def notice(self, node, what="a message"):
        """Takes the first notification for a node, waiting for it."""
        deadline = asyncio.get_running_loop().time() + 2 * LIMIT
        while True:
            for notice in self.notices:
                if notice.node == node:
                    self.notices.remove(notice)
                    return notice
            self._arrived.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(left, 0.001))
            except asyncio.TimeoutError:
                nodes = [notice.node for notice in self.notices]
                raise Failed(f"no notification of {what} came for {node}; for {nodes} there are some") from None

    def nodes(self):
        """The nodes of the notifications that nobody has asked for."""
        return [notice.node for notice in self.notices]


class Notice:
    """One notification."""

    def __init__(self, node, iq):
        self.node = node
        self.sender = iq.get("from")
        self.item = iq.find(f"{PUBSUB}pubsub/{PUBSUB}publish/{PUBSUB}item/{PUSH}notification")
        self.summary = self._fields(self.item)
        self.options = self._fields(iq.find(f"{PUBSUB}pubsub/{PUBSUB}publish-options"))

    @staticmethod
    def _fields(holder):
        found = holder.iterfind(f"{FORM}x/{FORM}field") if holder is not None else ()
        return {field.get("var"): field.findtext(f"{FORM}value") for field in found}


@asynccontextmanager
async def app_server(lab):
    """A running application server."""
    component = AppServer(lab.peers["external"])
    component.connect()
    await component.wait_until("session_start", LIMIT)
    try:
        yield component
    finally:
        await asyncio.wait_for(component.disconnect(wait=1.0), LIMIT)
