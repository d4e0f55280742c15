"""Roster management with pushes, and subscriptions (RFC 6121 §2 and §3), with slixmpp."""

from ..check import check, expect
from ..xmpp import ROSTER, online, subscribe

NEEDS = ["slixmpp"]
FRIEND = "friend@elsewhere.lab"


def item(jid, attributes="", groups=()):
    inner = "".join(f"<group>{group}</group>" for group in groups)
    return f'<query xmlns="jabber:iq:roster"><item jid="{jid}" {attributes}>{inner}</item></query>'


async def contacts(client):
    """The roster as {jid: element}."""
    answer = await client.query("get", '<query xmlns="jabber:iq:roster"/>')
    return {element.get("jid"): element for element in answer.findall(f"{ROSTER}query/{ROSTER}item")}


@check("roster-add", needs=NEEDS)
async def add(lab):
    async with online(lab.strict.account()) as client:
        await client.query("set", item(FRIEND, 'name="Frïend &amp; co"', ["Old", "New"]))
        push = await client.roster_push(FRIEND, name="Frïend & co", subscription="none")
        groups = {group.text for group in push.findall(f"{ROSTER}group")}
        expect(groups == {"Old", "New"}, f"the push has the groups {groups}")
        expect(FRIEND in await contacts(client), "the roster does not show the new contact")


@check("roster-rename", needs=NEEDS)
async def rename(lab):
    async with online(lab.strict.account()) as client:
        await client.query("set", item(FRIEND, 'name="Before"', ["One"]))
        await client.query("set", item(FRIEND, 'name="After"', ["Two"]))
        push = await client.roster_push(FRIEND, name="After")
        groups = [group.text for group in push.findall(f"{ROSTER}group")]
        expect(groups == ["Two"], f"a set replaces groups, the push has {groups}")
        expect((await contacts(client))[FRIEND].get("name") == "After", "the roster still has the old name")


@check("roster-remove", needs=NEEDS)
async def remove(lab):
    async with online(lab.strict.account()) as client:
        await client.query("set", item(FRIEND))
        await client.query("set", item(FRIEND, 'subscription="remove"'))
        await client.roster_push(FRIEND, subscription="remove")
        expect(not await contacts(client), "the roster still has the contact")
        error = await client.refused("set", item("never-there@elsewhere.lab", 'subscription="remove"'))
        expect(error == "item-not-found", f"RFC 6121 §2.5.3: removing a stranger gave {error}")


@check("roster-push-to-every-resource", needs=NEEDS)
async def pushes(lab):
    account = lab.strict.account()
    async with online(account, "desk") as desk, online(account, "phone") as phone:
        await desk.query("set", item(FRIEND, 'name="Friend"'))
        await desk.roster_push(FRIEND, name="Friend")
        await phone.roster_push(FRIEND, name="Friend")


@check("roster-of-others-refused", needs=NEEDS)
async def of_others(lab):
    other = lab.strict.account("juliet")
    async with online(lab.strict.account("romeo")) as romeo:
        await romeo.refused("get", '<query xmlns="jabber:iq:roster"/>', other.jid)
        await romeo.refused("set", item(FRIEND), other.jid)


@check("roster-survives-log-out", needs=NEEDS)
async def survives(lab):
    account = lab.strict.account()
    async with online(account) as client:
        await client.query("set", item(FRIEND, 'name="Friend"'))
    async with online(account) as client:
        expect(FRIEND in await contacts(client), "the contact is gone after a new log-in")


@check("subscription-handshake", needs=NEEDS)
async def handshake(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        await subscribe(romeo, juliet)
        expect((await contacts(romeo))[second.jid].get("subscription") == "to", "the asker has no subscription 'to'")
        expect((await contacts(juliet))[first.jid].get("subscription") == "from", "the other has no 'from'")


@check("subscription-both-ways", needs=NEEDS)
async def both_ways(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        await subscribe(romeo, juliet)
        await subscribe(juliet, romeo)
        for client, other in ((romeo, second), (juliet, first)):
            state = (await contacts(client))[other.jid].get("subscription")
            expect(state == "both", f"{client.boundjid.bare} has the state {state}")


@check("subscription-asked-while-away", needs=NEEDS)
async def while_away(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo:
        romeo.presence(to=second.jid, kind="subscribe")
        await romeo.roster_push(second.jid, ask="subscribe")
        async with online(second) as juliet:
            # RFC 6121 §3.1.3: kept, and delivered when the contact comes.
            await juliet.contact_presence(first.jid, "subscribe")
            juliet.presence(to=first.jid, kind="subscribed")
            await romeo.wait_for_subscription(second.jid, ("to",))


@check("subscription-refused", needs=NEEDS)
async def refused(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        romeo.presence(to=second.jid, kind="subscribe")
        await juliet.contact_presence(first.jid, "subscribe")
        juliet.presence(to=first.jid, kind="unsubscribed")
        await romeo.contact_presence(second.jid, "unsubscribed")
        entry = (await contacts(romeo))[second.jid]
        expect(entry.get("ask") is None and entry.get("subscription") == "none", "the refused request is still pending")


@check("subscription-ended-by-watcher", "unsubscribe", needs=NEEDS)
@check("subscription-ended-by-watched", "unsubscribed", needs=NEEDS)
@check("subscription-ended-by-removal", "remove", needs=NEEDS)
async def ended(lab, how):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        await subscribe(romeo, juliet)
        if how == "unsubscribe":
            romeo.presence(to=second.jid, kind="unsubscribe")
        elif how == "unsubscribed":
            juliet.presence(to=first.jid, kind="unsubscribed")
        else:
            await romeo.query("set", item(second.jid, 'subscription="remove"'))
        await juliet.wait_for_subscription(first.jid, ("none",))
        await romeo.wait_for_subscription(second.jid, ("none", "remove"))
        # RFC 6121 §3.2.2 and §3.3.3: who no longer may see the contact sees it leave.
        await romeo.contact_presence(second.jid, "unavailable")
