"""What clients look for after log-in: the probes of the compliance tester (CAAS) and of Conversations' server screen.

Like the tester, these log in without presence. Probes of what this version does not have (PEP, rooms, uploads, …) come
with it.
"""

from ..check import Skip, check, expect
from ..stream import CSI, SM, Stream, authenticated

NEEDS = ["slixmpp", "pyopenssl"]
INFO = "http://jabber.org/protocol/disco#info"
# Stream features after log-in.
ON_STREAM = {
    "roster-versioning": "{urn:xmpp:features:rosterver}ver",
    "stream-management": f"{{{SM}}}sm",
    "client-state": f"{{{CSI}}}csi",
    "entity-capabilities": "{http://jabber.org/protocol/caps}c",
}
# Features of the domain, and of the account as its owner sees it.
AT_DOMAIN = {
    "blocking": "urn:xmpp:blocking",
    "carbons": "urn:xmpp:carbons:2",
    "offline-storage": "msgoffline",
    "ping": "urn:xmpp:ping",
    "registration": "jabber:iq:register",
    "reports": "urn:xmpp:reporting:1",
}
AT_ACCOUNT = {
    "archive": "urn:xmpp:mam:2",
    "archive-extended": "urn:xmpp:mam:2#extended",
    "push": "urn:xmpp:push:0",
    "stanza-ids": "urn:xmpp:sid:0",
}
# What Debian's Prosody does not offer.
NOT_PROSODY = {"reports", "entity-capabilities"}


async def features(stream, target):
    answer = await stream.query("get", f"<query xmlns='{INFO}'/>", target)
    return {e.get("var") for e in answer.iterfind(f"{{{INFO}}}query/{{{INFO}}}feature")}


def missing(lab, name):
    if lab.kind == "prosody" and name in NOT_PROSODY:
        raise Skip("Debian's Prosody does not offer it")


async def on_stream(lab, name):
    async with authenticated(lab.strict.account("caas"), "caas") as stream:
        if stream.features.find(ON_STREAM[name]) is None:
            missing(lab, name)
        expect(stream.features.find(ON_STREAM[name]) is not None, f"the stream's features have no {ON_STREAM[name]}")


async def by_disco(lab, name, wanted, at_account):
    account = lab.strict.account("caas")
    async with authenticated(account, "caas") as stream:
        await stream.bind()
        found = await features(stream, account.jid if at_account else account.domain)
        if wanted not in found:
            missing(lab, name)
        expect(wanted in found, f"{wanted} is not among {sorted(found)}")


for name in ON_STREAM:
    check(f"probe-{name}", name, needs=NEEDS)(on_stream)
for names, at_account in ((AT_DOMAIN, False), (AT_ACCOUNT, True)):
    for name, wanted in names.items():
        check(f"probe-{name}", name, wanted, at_account, needs=NEEDS)(by_disco)


@check("probe-direct-tls-begins-with-an-xml-declaration", needs=NEEDS)
async def declaration(lab):
    stream = Stream(lab.strict.account("caas"))
    await stream.connect()
    try:
        first = stream.first_bytes()
        await stream.send(stream.opening())
        text = await first
        expect(text.startswith("<?xml"), f"the stream begins with {text[:40]!r}")
    finally:
        stream.cut()


@check("probe-session-request-answered", needs=NEEDS)
async def session(lab):
    async with authenticated(lab.strict.account("caas")) as stream:
        await stream.bind()
        # RFC 3921, which old clients still follow.
        await stream.query("set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>")


@check("probe-account-of-somebody-else-tells-nothing", needs=NEEDS)
async def stranger(lab):
    other = lab.strict.account("other")
    async with authenticated(lab.strict.account("caas")) as stream:
        await stream.bind()
        answers = []
        for target in (other.jid, "nobody-at-all@stone.lab"):
            answer = await stream.iq("get", f"<query xmlns='{INFO}'/>", target)
            answers.append((answer.get("type"), sorted(child.tag for child in answer)))
        expect(answers[0] == answers[1], f"an account and none are answered differently: {answers}")
