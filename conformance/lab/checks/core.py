"""Log-in, messages and presence between accounts of one server, with slixmpp."""

from ..check import Failed, check, expect
from ..server import Account
from ..xmpp import Client, condition, online, subscribe

NEEDS = ["slixmpp"]


@check("login-starttls", False, needs=NEEDS)
@check("login-direct-tls", True, needs=NEEDS)
async def login(lab, direct_tls):
    async with online(lab.strict.account(), direct_tls=direct_tls) as client:
        expect(client.boundjid.resource == "lab", f"bound {client.boundjid}, asked for the resource 'lab'")


@check("login-wrong-password-refused", needs=NEEDS)
async def wrong_password(lab):
    account = lab.strict.account()
    try:
        async with online(Account(account.jid, "wrong", account.server)):
            pass
    except Failed:
        return
    raise Failed("a wrong password logged in")


@check("login-unknown-account-refused", needs=NEEDS)
async def unknown_account(lab):
    client = Client("nobody-at-all@stone.lab/lab", "wrong", lab.strict)
    try:
        await client.log_in()
    except Failed:
        return
    raise Failed("an account that does not exist logged in")


@check("login-second-domain", needs=NEEDS)
async def second_domain(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("romeo", "stone2.lab")
    async with online(first) as one, online(second) as other:
        one.text(second.jid, "to the other domain")
        await other.message("to the other domain")


@check("message-to-account", needs=NEEDS)
async def to_account(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        romeo.text(second.jid, "ℵ 🎈 <&> ' \" ]]>")
        message = await juliet.message("ℵ 🎈 <&> ' \" ]]>")
        expect(message.get("from") == str(romeo.boundjid), f"the sender was shown as {message.get('from')}")


@check("message-to-resource", needs=NEEDS)
async def to_resource(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second, "balcony") as balcony, online(second, "hall") as hall:
        romeo.text(str(balcony.boundjid), "only for the balcony")
        await balcony.message("only for the balcony")
        romeo.text(str(hall.boundjid), "end")
        await hall.message("end")
        bodies = [stanza.findtext("{jabber:client}body") for stanza in hall.seen]
        expect("only for the balcony" not in bodies, "a message for one resource reached another")


@check("message-order", needs=NEEDS)
async def order(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        bodies = [f"line {number}" for number in range(100)]
        for body in bodies:
            romeo.text(second.jid, body)
        await juliet.message(bodies[-1])
        came = [body for s in juliet.seen if (body := s.findtext("{jabber:client}body"))]
        expect(came == bodies[:-1], f"out of order or not once each: {came}")


@check("message-to-unknown-account-refused", needs=NEEDS)
async def to_unknown(lab):
    async with online(lab.strict.account("romeo")) as romeo:
        identifier = romeo.text("nobody-at-all@stone.lab", "hello?")
        # RFC 6121 §8.5.1.
        error = await romeo.error_message(identifier)
        expect(error in ("service-unavailable", "item-not-found"), f"the error was {error}")


@check("iq-unknown-payload-refused", needs=NEEDS)
async def unknown_iq(lab):
    async with online(lab.strict.account("romeo")) as romeo:
        for target in ("stone.lab", romeo.boundjid.bare):
            # RFC 6120 §8.4.
            error = await romeo.refused("get", '<query xmlns="urn:example:nobody-knows"/>', target)
            expect(error in ("service-unavailable", "feature-not-implemented"), f"{target} answered {error}")


@check("iq-between-clients", needs=NEEDS)
async def iq_between_clients(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        answer = await romeo.query("get", '<ping xmlns="urn:xmpp:ping"/>', str(juliet.boundjid))
        expect(answer.get("from") == str(juliet.boundjid), f"the answer came from {answer.get('from')}")


@check("presence-fan-out", needs=NEEDS)
async def fan_out(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first, "orchard") as romeo, online(second, "balcony") as juliet:
        await subscribe(juliet, romeo)
        async with online(second, "hall") as hall:
            # RFC 6121 §4.3.2: a resource that comes later learns who is there.
            await hall.contact_presence(first.jid)
            romeo.presence(status="in the orchard")
            for resource in (juliet, hall):
                await resource.wait_for("the new status", lambda s: s.findtext("{jabber:client}status") == "in the orchard")
            async with online(first, "street"):
                full = f"{first.jid}/street"
                for resource in (juliet, hall):
                    await resource.wait_for(
                        "the second resource", lambda s: s.get("from") == full and s.get("type") is None
                    )
            for resource in (juliet, hall):
                await resource.wait_for(
                    "its departure", lambda s: s.get("from") == full and s.get("type") == "unavailable"
                )


@check("presence-not-for-strangers", needs=NEEDS)
async def strangers(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second) as juliet:
        romeo.presence(status="secret")
        await romeo.settle()
        # What follows on the same path proves that nothing came before it.
        romeo.text(second.jid, "after the presence")
        await juliet.message("after the presence")
        leaked = [s for s in juliet.seen if s.get("from", "").startswith(first.jid)]
        expect(not leaked, "presence went to somebody who has no subscription")


@check("presence-directed", needs=NEEDS)
async def directed(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(second) as juliet:
        async with online(first) as romeo:
            romeo.presence(to=second.jid, status="just for you")
            await juliet.wait_for("it", lambda s: s.findtext("{jabber:client}status") == "just for you")
        # RFC 6121 §4.6.3: who was told of the presence is told of its end.
        await juliet.contact_presence(first.jid, "unavailable")


@check("presence-negative-priority-gets-no-messages", needs=NEEDS)
async def negative_priority(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo, online(second, "bot", presence=False) as bot, online(second, "desk") as desk:
        bot.presence(priority=-1)
        await bot.settle()
        romeo.text(second.jid, "for people")
        await desk.message("for people")
        romeo.text(str(bot.boundjid), "for the bot")
        await bot.message("for the bot")
        bodies = [s.findtext("{jabber:client}body") for s in bot.seen if condition(s) is None]
        expect("for people" not in bodies, "RFC 6121 §8.5.2.1.1: a negative priority got a message to the bare address")
