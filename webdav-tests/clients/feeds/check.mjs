// Reads a calendar with ical.js and prints every instance within a time as JSON: [[UID, SUMMARY, start, end], …].
//   node check.mjs FILE FROM TO
import { readFileSync } from "node:fs";
import ICAL from "ical.js";

const [file, from, to] = process.argv.slice(2);
const calendar = new ICAL.Component(ICAL.parse(readFileSync(file, "utf8")));
for (const zone of calendar.getAllSubcomponents("vtimezone")) ICAL.TimezoneService.register(zone);

const [first, last] = [new Date(from), new Date(to)];
const told = (time) => (time.isDate ? time.toString() : time.toJSDate().toISOString().replace(".000Z", "Z"));
// A whole day is one of every zone; it is compared as one of UTC.
const at = (time) => (time.isDate ? new Date(`${time.toString()}T00:00:00Z`) : time.toJSDate());
const found = [];
const add = (event, start, end) => {
  if (at(start) < last && at(end) > first) found.push([event.uid, event.summary, told(start), told(end)]);
};

const components = calendar.getAllSubcomponents("vevent");
const exceptions = components.filter((c) => c.hasProperty("recurrence-id"));
for (const component of components.filter((c) => !c.hasProperty("recurrence-id"))) {
  const uid = component.getFirstPropertyValue("uid");
  const event = new ICAL.Event(component, { exceptions: exceptions.filter((c) => c.getFirstPropertyValue("uid") === uid) });
  if (!event.isRecurring()) {
    add(event, event.startDate, event.endDate);
    continue;
  }
  const all = event.iterator();
  for (let time = all.next(); time && at(time) < last; time = all.next()) {
    const one = event.getOccurrenceDetails(time);
    add(one.item, one.startDate, one.endDate);
  }
}
console.log(JSON.stringify(found));
