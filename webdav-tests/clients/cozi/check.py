#!/usr/bin/env python3
"""Two kits for Python on the simulated Cozi: py-cozi, and py-cozi-client, which speaks as Cozi's own web page does.

KALENDS_SIM is the simulator's address; it was started with --control, for the user `demo` with the password `demo`.
"""
import asyncio
import datetime
import logging
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from common import Steps, act, forget_proxies, sim  # noqa: E402

forget_proxies()

import cozi  # noqa: E402
import cozi_client  # noqa: E402
from cozi_client.calendar import Extent, Occurrence, repeat_rule  # noqa: E402
from cozi_client.exceptions import AuthenticationError, ConflictError, ResourceNotFoundError, WriteVerificationError  # noqa: E402

# py-cozi turns all logging on, and logs tokens.
logging.disable(logging.CRITICAL)
SIM = os.environ["KALENDS_SIM"].rstrip("/")
# Its addresses are fixed; that of signing in was made from the base when the module was read.
cozi.URL_LOGIN = cozi.URL_LOGIN.replace(cozi.URL_BASE, SIM)
cozi.URL_BASE = SIM
steps = Steps("cozi-python")
loop = asyncio.new_event_loop()
step = lambda title, action, needed=False: steps.step(title, lambda: loop.run_until_complete(action()), needed)  # noqa: E731


async def refused(kind, action, word=""):
    try:
        await action
    except kind as error:
        assert word in str(error), error
        return
    raise AssertionError(f"not refused with {kind.__name__}")


class Plain:
    """py-cozi."""

    def __init__(self):
        self.kit = cozi.Cozi("demo", "demo")

    async def sign_in(self):
        await refused(cozi.InvalidLoginException, cozi.Cozi("demo", "wrong").login())
        await self.kit.login()
        assert self.kit._access_token and self.kit._acct_id and self.kit._token_expires == 14400

    async def people(self):
        people = await self.kit.get_persons()
        assert [person["name"] for person in people] == ["Robin", "Kim"], people
        self.robin = people[0]["accountPersonId"]

    async def lists(self):
        made = await self.kit.add_list("Groceries", "shopping")
        id = made["listId"]
        for position, text in enumerate(["Milk", "Bread", "FRUIT"]):
            await self.kit.add_item(id, text, position)
        [found] = await self.kit.get_lists()
        assert [(item["text"], item["itemType"]) for item in found["items"]] == [("Milk", None), ("Bread", None), ("FRUIT", "header")], found
        milk, bread, fruit = found["items"]
        assert (await self.kit.mark_item(id, milk["itemId"], "complete"))["status"] == "complete"
        assert (await self.kit.edit_item(id, bread["itemId"], "Rye bread"))["text"] == "Rye bread"
        turned = await self.kit.reorder_list(id, "Food", [fruit, milk, bread], "shopping")
        assert [item["text"] for item in turned["items"]] == ["FRUIT", "Milk", "Bread"] and turned["title"] == "Food", turned
        left = await self.kit.remove_items(id, [milk["itemId"]])
        assert [item["text"] for item in left["items"]] == ["FRUIT", "Bread"], left
        await self.kit.remove_list(id)
        assert await self.kit.get_lists() == []

    async def appointments(self):
        page = await self.kit.add_appointment(2026, 3, 2, "09:00", "10:30", 0, [self.robin], "Town", "bring the card", "Dentist")
        [(id, item)] = page["items"].items()
        times = (item["day"], item["startTime"], item["endTime"], item["dateSpan"])
        assert times == ("2026-03-02", "09:00:00", "10:30:00", 0), item
        assert item["description"] == "Dentist" and item["itemDetails"] == {"location": "Town", "notes": "bring the card"}, item
        assert item["householdMembers"] == [self.robin] and page["days"] == {"2026-03-02": [{"id": id}]}, page
        # Over midnight, and all day for two days: the span says how many days later it ends.
        await self.kit.add_appointment(2026, 3, 31, "22:00", "02:00", 1, [], "", "", "Night train")
        page = await self.kit.add_appointment(2026, 3, 10, "00:00", "00:00", 2, [], "", "", "Away")
        days = {day: [page["items"][ref["id"]]["description"] for ref in refs] for day, refs in page["days"].items()}
        assert days == {"2026-03-02": ["Dentist"], "2026-03-10": ["Away"], "2026-03-11": ["Away"], "2026-03-31": ["Night train"]}, days
        april = await self.kit.get_calendar(2026, 4)
        assert [refs[0]["multiday"] for refs in april["days"].values()] == [{"startDay": "2026-03-31"}], april
        # Its edit takes the title from a name that the module does not have (version 2026.4.0).
        cozi._subject = "Dentist, later"
        page = await self.kit.edit_appointment(id, 2026, 3, 3, "11:00", "12:00", 0, [], "Dentist, later")
        item = page["items"][id]
        assert (item["day"], item["description"], item["itemVersion"]) == ("2026-03-03", "Dentist, later", 2), item
        assert item["itemDetails"] == {"location": "", "notes": ""}, "an edit replaces the item whole"
        for id in list(page["items"]):
            page = await self.kit.remove_appointment(2026, 3, id)
        assert page == {"items": {}, "days": {}}, page
        page = await self.kit.remove_appointment(2026, 3, id)
        assert page["rejectedItems"] == [{"id": id, "error": "no such item"}], page

    async def signs_in_again(self):
        act("expire_access")
        sim("DELETE", "requests")
        again = await self.kit.get_calendar(2026, 3)
        # After any refusal it returns a call that is still to be made (version 2026.4.0): that one signs in.
        assert asyncio.iscoroutine(again) and [person["name"] for person in await again] == ["Robin", "Kim"]
        statuses = [entry["status"] for entry in sim("GET", "requests")["requests"]]
        assert statuses == [401, 200, 200], statuses
        assert await self.kit.get_calendar(2026, 3) == {"items": {}, "days": {}}


class Web(cozi_client.CoziClient):
    BASE_URL = SIM.replace("127.0.0.1", "localhost")  # its cookies are for names, not for numbers


def day(text):
    return datetime.date.fromisoformat(text)


class Whole:
    """py-cozi-client."""

    async def sign_in(self):
        await refused(AuthenticationError, Web("demo", "wrong").authenticate())
        self.kit = Web("demo", "demo")
        await self.kit.authenticate()
        assert self.kit.account_id

    async def household(self):
        house = await self.kit.get_household()
        assert house.timezone and [person.name for person in await self.kit.get_family_members()] == ["Robin", "Kim"]

    async def page(self, month, year=2026):
        return await self.kit.get_calendar(year, month)

    async def single(self):
        new = cozi_client.CoziAppointment(
            subject="Tea", start_day=day("2026-03-02"), start_time=datetime.time(16), end_time=datetime.time(17), location="Here",
            notes="two lines\nof it", reminders=[15, 1440],
        )
        made = await self.kit.create_appointment(new)
        assert (made.subject, made.location, made.notes, made.reminders) == ("Tea", "Here", "two lines\nof it", [15, 1440]), made
        made.subject, made.start_day = "Coffee", day("2026-03-04")
        changed = await self.kit.update_appointment(made)
        assert (changed.id, changed.subject, changed.start_day, changed.item_version) == (made.id, "Coffee", day("2026-03-04"), 2)
        await refused(WriteVerificationError, self.kit.delete_appointment(made), "version mismatch")
        await self.kit.delete_appointment(changed)
        assert await self.page(3) == []

    async def series(self):
        start = day("2026-03-02")
        new = cozi_client.CoziAppointment(
            subject="Choir", start_day=start, start_time=datetime.time(18), end_time=datetime.time(19),
            recurrence=repeat_rule("weekly", start_day=start, until=day("2026-04-27")),
        )
        made = await self.kit.create_appointment(new)
        assert [d.day for d in made.occurrence_days] == [2, 9, 16, 23, 30] and made.end_day == day("2026-04-27"), made
        # One is moved, one is left out, and from the third week of April on it is another series.
        moved = made.model_copy(update={"subject": "Choir, elsewhere", "start_day": day("2026-03-10")})
        stand_in = await self.kit.update_appointment(moved, Occurrence(day("2026-03-09"), Extent.DAY))
        assert stand_in.id != made.id and not stand_in.is_recurring and stand_in.start_day == day("2026-03-10"), stand_in
        [series] = [item for item in await self.page(3) if item.id == made.id]
        await self.kit.delete_appointment(series, Occurrence(day("2026-03-16"), Extent.DAY))
        [series] = [item for item in await self.page(3) if item.id == made.id]
        assert [d.day for d in series.occurrence_days] == [2, 23, 30] and series.skipped_days == [day("2026-03-16")], series
        [series] = await self.page(4)
        later = series.model_copy(update={"subject": "Orchestra", "start_day": day("2026-04-13")})
        orchestra = await self.kit.update_appointment(later, Occurrence(day("2026-04-13"), Extent.FORWARD))
        assert orchestra.id != made.id and orchestra.subject == "Orchestra", orchestra
        days = {item.subject: [d.day for d in item.occurrence_days] for item in await self.page(4)}
        assert days == {"Choir": [6], "Orchestra": [13, 20, 27]}, days
        # From its first day on that is all of it.
        again = orchestra.model_copy(update={"subject": "Band"})
        band = await self.kit.update_appointment(again, Occurrence(day("2026-04-13"), Extent.FORWARD))
        assert band.id == orchestra.id and [d.day for d in band.occurrence_days] == [13, 20, 27], band
        await self.kit.delete_appointment(band, Occurrence(day("2026-04-20"), Extent.FORWARD))
        days = {item.subject: [d.day for d in item.occurrence_days] for item in await self.page(4)}
        assert days == {"Choir": [6], "Band": [13]}, days
        for month in (3, 4):
            for item in await self.page(month):
                await self.kit.delete_appointment(item, cozi_client.WHOLE_SERIES if item.is_recurring else None)
        assert await self.page(3) == [] and await self.page(4) == []

    async def birthday(self):
        made = await self.kit.create_birthday("Kim", day("2026-02-28"), birth_year=1990)
        assert (made.item_type, made.name, made.birth_year, made.recurrence_start_day) == ("birthday", "Kim", 1990, day("1990-02-28")), made
        unknown = await self.kit.create_birthday("Robin", day("2028-02-29"))
        assert unknown.recurrence_start_day == day("1904-02-29"), unknown
        assert [item.occurrence_days for item in await self.page(2, 2027) if item.name == "Robin"] == [[day("2027-02-28")]]
        for item in [made, unknown]:
            await self.kit.delete_appointment(item.model_copy(update={"start_day": item.recurrence_start_day}))
        assert await self.page(2) == []

    async def lists(self):
        made = await self.kit.create_list(" Trip ", "todo")
        assert made.title == "Trip" and await self.kit.get_lists("shopping") == []
        tent = await self.kit.add_item(made.id, "Tent")
        head = await self.kit.add_item(made.id, "Camping", header=True)
        assert (await self.kit.mark_item(made.id, tent.id, "complete")).status == "complete"
        old = (await self.kit.get_lists())[0]
        assert [item.id for item in old.items] == [head.id, tent.id], old
        assert (await self.kit.rename_list(made.id, "Journey")).title == "Journey"
        await refused(ConflictError, self.kit.update_list(old))
        await self.kit.delete_item(made.id, head.id)
        await self.kit.remove_items(made.id, [tent.id])
        await self.kit.delete_list(made.id)
        await refused(ResourceNotFoundError, self.kit.delete_list(made.id))

    async def faults(self):
        act("expire_access")
        sim("DELETE", "requests")
        assert await self.page(3) == []
        asked = [(entry["path"].rsplit("/", 1)[1], entry["status"]) for entry in sim("GET", "requests")["requests"]]
        assert asked == [("3", 401), ("reauth", 200), ("3", 200)], asked
        sim("DELETE", "requests")
        sim("POST", "rules", {"method": "GET", "path": "*/calendar/*", "fault": "throttle"})
        sim("POST", "rules", {"method": "GET", "path": "*/calendar/*", "skip": 1, "fault": "status", "code": 503})
        assert await self.page(3) == []
        statuses = [entry["status"] for entry in sim("GET", "requests")["requests"]]
        assert statuses == [429, 503, 200], statuses

    async def ends(self):
        await self.kit.logout()
        act("revoke_grant")
        await refused(AuthenticationError, self.page(3))
        await self.kit.close()


def main():
    plain = Plain()
    step("py-cozi: signing in", plain.sign_in, needed=True)
    step("py-cozi: the people of the household", plain.people, needed=True)
    step("py-cozi: lists and their items", plain.lists)
    step("py-cozi: appointments are added, read, changed and removed", plain.appointments)
    step("py-cozi: a token that ended", plain.signs_in_again)
    whole = Whole()
    step("py-cozi-client: signing in", whole.sign_in, needed=True)
    step("py-cozi-client: the household", whole.household)
    step("py-cozi-client: an appointment and its version", whole.single)
    step("py-cozi-client: a series, one day, one gap, this and following", whole.series)
    step("py-cozi-client: birthdays", whole.birthday)
    step("py-cozi-client: lists", whole.lists)
    step("py-cozi-client: a token that ended, 429 and 503", whole.faults)
    step("py-cozi-client: a password that was changed", whole.ends)
    steps.done()


if __name__ == "__main__":
    main()
