// tsdav, the library behind Cal.com: discovery, calendars, objects, sync. Run by ../tsdav.sh.
import assert from 'node:assert/strict';
import { createDAVClient } from 'tsdav';
import { steps } from '../steps.mjs';

const [serverUrl, username, password] = process.argv.slice(2);
const { step, done } = steps('tsdav');

const event = (uid, title, start = '20260310T090000Z', more = []) =>
  [
    'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//kalends//client tests//EN', 'BEGIN:VEVENT', `UID:${uid}`,
    'DTSTAMP:20260101T000000Z', `DTSTART:${start}`, 'DURATION:PT1H', `SUMMARY:${title}`, ...more,
    'END:VEVENT', 'END:VCALENDAR', '',
  ].join('\r\n');

const client = await step('it signs in from the bare address', () =>
  createDAVClient({
    serverUrl,
    credentials: { username, password },
    authMethod: 'Basic',
    defaultAccountType: 'caldav',
  }),
);

if (client) {
  await step('a wrong password is refused', async () => {
    await assert.rejects(
      createDAVClient({
        serverUrl,
        credentials: { username, password: `${password}-wrong` },
        authMethod: 'Basic',
        defaultAccountType: 'caldav',
      }),
    );
  });

  const before = (await step('it lists the calendars of the first home', () => client.fetchCalendars())) ?? [];
  const home = before[0]?.url.replace(/[^/]+\/$/, '');
  const url = `${home}tsdav-${Date.now()}/`;

  await step('it makes a calendar', async () => {
    const responses = await client.makeCalendar({ url, props: { 'd:displayname': '2026' } });
    assert.ok(responses.every((r) => r.ok || r.status === 201), JSON.stringify(responses));
  });

  let calendar = await step('it finds the new calendar with name, token and components', async () => {
    const found = (await client.fetchCalendars()).find((c) => c.url === url);
    assert.ok(found, 'not listed');
    assert.equal(String(found.displayName), '2026');
    assert.ok(found.syncToken, 'no sync-token');
    assert.ok(found.ctag, 'no ctag');
    assert.ok(found.components.includes('VEVENT'), `components: ${found.components}`);
    assert.ok(found.reports.includes('syncCollection'), `reports: ${found.reports}`);
    assert.ok(found.reports.includes('calendarQuery'), `reports: ${found.reports}`);
    return found;
  });

  if (calendar) {
    await step('it creates two events', async () => {
      for (const [name, title] of [['one', 'First'], ['two', 'Second']]) {
        const answer = await client.createCalendarObject({
          calendar, filename: `${name}.ics`, iCalString: event(`${name}@kalends.example`, title),
        });
        assert.equal(answer.status, 201, await answer.text());
        assert.ok(answer.headers.get('etag'), 'PUT brings no ETag (Q-36)');
      }
    });

    await step('creating over an event is refused', async () => {
      const answer = await client.createCalendarObject({
        calendar, filename: 'one.ics', iCalString: event('one@kalends.example', 'Again'),
      });
      assert.equal(answer.status, 412);
    });

    await step('it reads them back, whole and by time', async () => {
      const all = await client.fetchCalendarObjects({ calendar });
      assert.deepEqual(all.map((o) => o.url.split('/').pop()).sort(), ['one.ics', 'two.ics']);
      assert.ok(all.every((o) => o.etag && o.data.includes('BEGIN:VEVENT')));
      const inside = await client.fetchCalendarObjects({
        calendar, timeRange: { start: '2026-03-10T00:00:00Z', end: '2026-03-11T00:00:00Z' },
      });
      assert.equal(inside.length, 2);
      const outside = await client.fetchCalendarObjects({
        calendar, timeRange: { start: '2027-03-10T00:00:00Z', end: '2027-03-11T00:00:00Z' },
      });
      assert.equal(outside.length, 0);
    });

    await step('it has a series expanded by the server', async () => {
      const series = event('series@kalends.example', 'Daily', '20260501T090000Z', ['RRULE:FREQ=DAILY']);
      await client.createCalendarObject({ calendar, filename: 'series.ics', iCalString: series });
      const found = await client.fetchCalendarObjects({
        calendar, expand: true, timeRange: { start: '2026-05-10T00:00:00Z', end: '2026-05-13T00:00:00Z' },
      });
      assert.equal(found.length, 1);
      assert.equal(found[0].data.match(/BEGIN:VEVENT/g).length, 3, found[0].data);
      assert.ok(!found[0].data.includes('RRULE'));
    });

    await step('it updates with If-Match, and a stale update is refused', async () => {
      const [object] = await client.fetchCalendarObjects({ calendar, objectUrls: [`${url}one.ics`] });
      const edited = { ...object, data: event('one@kalends.example', 'First edited') };
      const answer = await client.updateCalendarObject({ calendarObject: edited });
      assert.ok(answer.ok, `${answer.status}`);
      const late = { ...object, data: event('one@kalends.example', 'First but too late') };
      const stale = await client.updateCalendarObject({ calendarObject: late });
      assert.equal(stale.status, 412);
    });

    await step('sync-collection tells the new, the changed and the deleted', async () => {
      const objects = await client.fetchCalendarObjects({ calendar });
      [calendar] = (await client.fetchCalendars()).filter((c) => c.url === url);
      const token = calendar.syncToken;
      const two = objects.find((o) => o.url.endsWith('two.ics'));
      assert.ok((await client.deleteCalendarObject({ calendarObject: two })).ok);
      await client.createCalendarObject({
        calendar, filename: 'three.ics', iCalString: event('three@kalends.example', 'Third'),
      });
      const told = await client.syncCollection({ url, props: { 'd:getetag': {} }, syncLevel: 1, syncToken: token });
      const seen = Object.fromEntries(told.filter((r) => r.href).map((r) => [r.href.split('/').pop(), r.status]));
      assert.deepEqual(Object.keys(seen).sort(), ['three.ics', 'two.ics'], JSON.stringify(seen));
      assert.equal(seen['two.ics'], 404);
      const synced = await client.smartCollectionSync({
        collection: { ...calendar, objects, objectMultiGet: client.calendarMultiGet }, method: 'webdav', detailedResult: true,
      });
      assert.deepEqual(synced.objects.created.map((o) => o.url.split('/').pop()), ['three.ics']);
      assert.deepEqual(synced.objects.deleted.map((o) => o.url.split('/').pop()), ['two.ics']);
    });

    await step('it asks for free and busy times', async () => {
      const found = await client.freeBusyQuery({
        url, timeRange: { start: '2026-03-10T00:00:00Z', end: '2026-03-11T00:00:00Z' },
      });
      assert.ok(found, 'no answer');
    });

    await step('it deletes the calendar, and the name is free again', async () => {
      assert.ok((await client.deleteObject({ url })).ok);
      assert.ok(!(await client.fetchCalendars()).some((c) => c.url === url));
      const responses = await client.makeCalendar({ url, props: { 'd:displayname': 'again' } });
      assert.ok(responses.every((r) => r.ok || r.status === 201), JSON.stringify(responses));
      assert.ok((await client.deleteObject({ url })).ok);
    });
  }
}

done();
