"""Messages for those who are away (XEP-0160), with slixmpp."""

from datetime import datetime

from ..check import check, expect
from ..xmpp import CLIENT, online

NEEDS = ["slixmpp"]
DELAY = "{urn:xmpp:delay}delay"


def bodies(client):
    return [body for stanza in client.seen if (body := stanza.findtext(f"{CLIENT}body"))]


@check("offline-messages-in-order-once", needs=NEEDS)
async def drained(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo:
        for text in ("one", "two", "three"):
            romeo.text(second.jid, text)
        await romeo.settle()
        async with online(second) as juliet:
            messages = [await juliet.message(text) for text in ("one", "two", "three")]
            for message in messages:
                delay = message.find(DELAY)
                expect(delay is not None, "a kept message carries XEP-0203 delay")
                datetime.fromisoformat(delay.get("stamp").replace("Z", "+00:00"))
                expect(message.get("from") == str(romeo.boundjid), f"the sender became {message.get('from')}")
            expect(not bodies(juliet), f"more came than was sent: {bodies(juliet)}")
        async with online(second) as juliet:
            romeo.text(second.jid, "live")
            live = await juliet.message("live")
            expect(live.find(DELAY) is None, "a live message is marked as delayed")
            expect(not bodies(juliet), f"kept messages came again: {bodies(juliet)}")


@check("offline-messages-order-on-the-wire", needs=NEEDS)
async def order(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    texts = [f"kept {number}" for number in range(25)]
    async with online(first) as romeo:
        for text in texts:
            romeo.text(second.jid, text)
        await romeo.settle()
    async with online(second) as juliet:
        await juliet.message(texts[-1])
        expect(bodies(juliet) == texts[:-1], f"came as {bodies(juliet)}")


@check("offline-messages-not-for-negative-priority", needs=NEEDS)
async def negative(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo:
        romeo.text(second.jid, "kept for people")
        await romeo.settle()
        async with online(second, "bot", presence=False) as bot:
            bot.presence(priority=-1)
            await bot.settle()
            romeo.text(str(bot.boundjid), "marker")
            await bot.message("marker")
            expect("kept for people" not in bodies(bot), "a resource with negative priority drained kept messages")
            async with online(second, "desk") as desk:
                await desk.message("kept for people")


@check("offline-headlines-not-kept", needs=NEEDS)
async def not_kept(lab):
    first, second = lab.strict.account("romeo"), lab.strict.account("juliet")
    async with online(first) as romeo:
        romeo.text(second.jid, "breaking news", kind="headline")
        romeo.text(second.jid, "worth keeping")
        await romeo.settle()
    async with online(second) as juliet:
        await juliet.message("worth keeping")
        # RFC 6121 §8.5.2.2: a headline for nobody is dropped in silence.
        expect("breaking news" not in bodies(juliet), "a headline was kept")
