"""The extensions of the core: disco, vCard, private XML, ping, version, time, last activity, contact addresses."""

from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

from ..check import check, expect
from ..xmpp import online, subscribe

NEEDS = ["slixmpp"]
INFO = "{http://jabber.org/protocol/disco#info}"
DISCO_INFO = '<query xmlns="http://jabber.org/protocol/disco#info"/>'
DISCO_ITEMS = '<query xmlns="http://jabber.org/protocol/disco#items"/>'
VCARD = "{vcard-temp}"
CARD = '<vCard xmlns="vcard-temp"><FN>Romeo Montague</FN><NICKNAME>rö</NICKNAME></vCard>'
LAST = '<query xmlns="jabber:iq:last"/>'


def features(answer):
    return {feature.get("var") for feature in answer.iter(f"{INFO}feature")}


@check("disco-info-domain", needs=NEEDS)
async def info_domain(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", DISCO_INFO, "stone.lab")
        identities = {(i.get("category"), i.get("type")) for i in answer.iter(f"{INFO}identity")}
        expect(("server", "im") in identities, f"the identities are {identities}")
        wanted = {
            "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items",
            "urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "vcard-temp", "jabber:iq:private",
        }  # fmt: skip
        absent = wanted - features(answer)
        expect(not absent, f"not announced: {sorted(absent)}")


@check("disco-items-domain", needs=NEEDS)
async def items_domain(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", DISCO_ITEMS, "stone.lab")
        # Whatever is listed must answer, or clients give up.
        for item in answer.iter("{http://jabber.org/protocol/disco#items}item"):
            await client.query("get", DISCO_INFO, item.get("jid"))


@check("disco-info-own-account", needs=NEEDS)
async def info_account(lab):
    account = lab.strict.account()
    async with online(account) as client:
        answer = await client.query("get", DISCO_INFO, account.jid)
        identities = {(i.get("category"), i.get("type")) for i in answer.iter(f"{INFO}identity")}
        expect(("account", "registered") in identities, f"the identities are {identities}")


@check("disco-info-account-of-stranger-refused", needs=NEEDS)
async def info_stranger(lab):
    other = lab.strict.account("juliet")
    async with online(lab.strict.account("romeo")) as romeo:
        error = await romeo.refused("get", DISCO_INFO, other.jid)
        expect(error == "service-unavailable", f"XEP-0030 §8: a stranger learned more than nothing: {error}")


@check("contact-addresses", needs=NEEDS)
async def contact_addresses(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", DISCO_INFO, "stone.lab")
        forms = {v.text for v in answer.iter("{jabber:x:data}value")}
        # Nothing is configured, so nothing may be promised; what is there must name its form.
        if any(True for _ in answer.iter("{jabber:x:data}x")):
            expect(any((form or "").startswith(("http", "urn")) for form in forms), f"a form without a type: {forms}")


@check("vcard-own", needs=NEEDS)
async def vcard_own(lab):
    async with online(lab.strict.account()) as client:
        await client.query("set", CARD)
        card = (await client.query("get", '<vCard xmlns="vcard-temp"/>')).find(f"{VCARD}vCard")
        expect(card is not None and card.findtext(f"{VCARD}NICKNAME") == "rö", "the card did not come back")


@check("vcard-of-another", needs=NEEDS)
async def vcard_other(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        await romeo.query("set", CARD)
        card = (await juliet.query("get", '<vCard xmlns="vcard-temp"/>', first.jid)).find(f"{VCARD}vCard")
        expect(card.findtext(f"{VCARD}FN") == "Romeo Montague", "another account cannot read the card")
        error = await juliet.refused("set", CARD, first.jid)
        expect(error in ("forbidden", "not-allowed", "service-unavailable"), f"writing another's card gave {error}")


@check("private-xml", needs=NEEDS)
async def private_xml(lab):
    account, other = lab.strict.account("romeo"), lab.strict.account("juliet")
    stored = '<lab xmlns="urn:example:lab" mark="a&amp;b"><x> two  spaces &lt;kept&gt;\n</x><y/></lab>'
    ask = '<query xmlns="jabber:iq:private"><lab xmlns="urn:example:lab"/></query>'
    async with online(account) as client:
        await client.query("set", f'<query xmlns="jabber:iq:private">{stored}</query>')
    async with online(account) as client, online(other) as stranger:
        found = (await client.query("get", ask)).find(".//{urn:example:lab}lab")
        # In meaning and white space the same.
        expect(
            ElementTree.canonicalize(ElementTree.tostring(found, encoding="unicode"))
            == ElementTree.canonicalize(ElementTree.tostring(ElementTree.fromstring(stored), encoding="unicode")),
            f"came back as {ElementTree.tostring(found)}",
        )
        empty = (await stranger.query("get", ask)).find(".//{urn:example:lab}lab")
        expect(empty is not None and len(empty) == 0, "what was never stored must come back empty")
        await stranger.refused("get", ask, account.jid)


@check("ping-domain", needs=NEEDS)
async def ping_domain(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", '<ping xmlns="urn:xmpp:ping"/>', "stone.lab")
        expect(answer.get("from") == "stone.lab", f"the answer came from {answer.get('from')}")


@check("ping-own-account", needs=NEEDS)
async def ping_account(lab):
    account = lab.strict.account()
    async with online(account) as client:
        await client.query("get", '<ping xmlns="urn:xmpp:ping"/>', account.jid)
        await client.query("get", '<ping xmlns="urn:xmpp:ping"/>')


@check("version", needs=NEEDS)
async def version(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", '<query xmlns="jabber:iq:version"/>', "stone.lab")
        name = answer.findtext(".//{jabber:iq:version}name")
        expect(name and name.lower() == lab.kind, f"the name is {name}")
        expect(answer.findtext(".//{jabber:iq:version}version"), "no version is given")


@check("time", needs=NEEDS)
async def time(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", '<time xmlns="urn:xmpp:time"/>', "stone.lab")
        stamp = answer.findtext(".//{urn:xmpp:time}utc")
        away = abs(datetime.fromisoformat(stamp.replace("Z", "+00:00")) - datetime.now(timezone.utc))
        expect(away < timedelta(minutes=1), f"the server's time is {stamp}")
        expect(answer.findtext(".//{urn:xmpp:time}tzo"), "XEP-0202: no offset is given")


@check("last-activity-domain", needs=NEEDS)
async def uptime(lab):
    async with online(lab.strict.account()) as client:
        answer = await client.query("get", LAST, "stone.lab")
        expect(int(answer.find("{jabber:iq:last}query").get("seconds")) >= 0, "no seconds are given")


@check("last-activity-of-contact", needs=NEEDS)
async def last_of_contact(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo:
        async with online(second) as juliet:
            await subscribe(romeo, juliet)
            juliet.presence(kind="unavailable", status="gone to bed")
            await romeo.contact_presence(second.jid, "unavailable")
        last = (await romeo.query("get", LAST, second.jid)).find("{jabber:iq:last}query")
        expect(0 <= int(last.get("seconds")) < 90, f"the contact left {last.get('seconds')} s ago")


@check("last-activity-of-stranger-refused", needs=NEEDS)
async def last_of_stranger(lab):
    other = lab.strict.account("juliet")
    async with online(lab.strict.account("romeo")) as romeo:
        # XEP-0012 §4: only who may see the presence may ask.
        error = await romeo.refused("get", LAST, other.jid)
        expect(error in ("forbidden", "service-unavailable"), f"a stranger got {error}")
