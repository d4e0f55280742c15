"""Two nbxmpp clients on one GLib loop: log in, roster, a message from the first to the second, presence, disconnect.

Reads an order as JSON on standard input, prints {step: "ok" or the problem} as its last line. Run by Debian's Python.
"""

import json
import logging
import sys

import gi

gi.require_version("Soup", "3.0")

from gi.repository import GLib  # noqa: E402
from nbxmpp.client import Client  # noqa: E402
from nbxmpp.const import ConnectionProtocol, ConnectionType  # noqa: E402
from nbxmpp.protocol import JID, Message, Presence  # noqa: E402
from nbxmpp.structs import StanzaHandler  # noqa: E402

LIMIT = 30  # seconds for everything
TEXT = "hello from Gajim's library & <friends>"


class Session:
    """One client. nbxmpp holds callbacks weakly: they are methods of an object that lives until the end."""

    def __init__(self, script, account, order):
        self.script = script
        self.jid = JID.from_string(account["jid"])
        client = Client(log_context=account["jid"])
        client.set_username(self.jid.localpart)
        client.set_domain(self.jid.domain)
        client.set_resource("lab")
        client.set_password(account["password"])
        kind = ConnectionType.START_TLS if order["transport"] == "starttls" else ConnectionType.DIRECT_TLS
        client.set_custom_host(order["host"], ConnectionProtocol.TCP, kind)
        client.subscribe("connected", self.on_connected)
        client.subscribe("disconnected", self.on_disconnected)
        client.subscribe("connection-failed", self.on_failed)
        self.handlers = [
            StanzaHandler(name="message", callback=self.on_message),
            StanzaHandler(name="presence", callback=self.on_presence),
        ]
        for handler in self.handlers:
            client.register_handler(handler)
        self.client = client

    def on_connected(self, _client, _signal):
        self.full = self.client.get_bound_jid()
        self.script.connected(self)

    def on_disconnected(self, _client, _signal):
        self.script.disconnected(self, self.client.get_error())

    def on_failed(self, _client, _signal):
        self.script.fail(f"{self.jid}: connection failed: {self.client.get_error()}")

    def on_message(self, _client, stanza, _properties):
        self.script.message(self, stanza)

    def on_presence(self, _client, stanza, _properties):
        self.script.presence(self, stanza)

    def on_roster(self, task):
        try:
            self.roster = task.finish()
        except Exception as error:
            self.script.fail(f"the roster was refused: {error}")
            return
        self.script.roster(self)


class Script:
    """The order of things."""

    def __init__(self, order):
        self.loop = GLib.MainLoop()
        self.steps = {}
        self.problem = None
        self.ready = set()
        self.present = set()
        self.gone = set()
        self.sessions = [Session(self, account, order) for account in order["accounts"]]

    def run(self):
        GLib.timeout_add_seconds(LIMIT, self.expired)
        for session in self.sessions:
            session.client.connect()
        self.loop.run()
        for step in ("login", "roster", "message", "presence", "disconnect"):
            self.steps.setdefault(step, self.problem or "was not reached")
        print(json.dumps(self.steps))

    def fail(self, problem):
        self.problem = self.problem or problem
        self.loop.quit()

    def expired(self):
        self.fail(f"no end within {LIMIT} s; done: {', '.join(self.steps) or 'nothing'}")
        return False

    def connected(self, session):
        session.client.get_module("Roster").request_roster(callback=session.on_roster)

    def roster(self, session):
        self.ready.add(session)
        if len(self.ready) == len(self.sessions):
            self.steps["login"] = self.steps["roster"] = "ok"
            for one in self.sessions:
                one.client.send_stanza(Presence(status="here", priority=5))

    def presence(self, session, stanza):
        # The server echoes a session its own presence: then it is available.
        if stanza.getFrom() == session.full and stanza.getStatus() == "here" and session not in self.present:
            self.present.add(session)
            if len(self.present) == len(self.sessions):
                self.steps["presence"] = "ok"
                first, second = self.sessions
                first.client.send_stanza(Message(to=second.jid, body=TEXT, typ="chat"))

    def message(self, session, stanza):
        first, second = self.sessions
        if session is second and stanza.getBody() == TEXT and stanza.getFrom() == first.full:
            self.steps["message"] = "ok"
            for one in self.sessions:
                one.client.disconnect()

    def disconnected(self, session, error):
        if "message" not in self.steps:
            self.fail(f"{session.jid} was disconnected: {error}")
            return
        self.gone.add(session)
        if len(self.gone) == len(self.sessions):
            self.steps["disconnect"] = "ok"
            self.loop.quit()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    Script(json.load(sys.stdin)).run()
