// The calendar: events made, dragged, repeated; views; calendars.
import assert from 'node:assert/strict';
import { PASSWORD, USER, api, base, button, closed, context, dav, drag, elsewhere, event, everything, failing, go, iso, loaded, look, monday, page, place, seen, stamp, step, tuesday, until } from './browser.mjs';

await step('an event is made on the page and seen over CalDAV; a wrong time is said at its field', async () => {
  await go('/');
  await loaded();
  await button('New event').click();
  await page.getByLabel('Title').fill('Coffee <script>alert(1)</script>');
  await page.getByLabel('Starts').fill(`${iso(monday)}T12:00`);
  await page.getByLabel('Ends').fill('2020-01-01T00:00');
  await failing([422], async () => {
    await button('Save').click();
    await page.getByText('It ends before it starts.').waitFor();
  });
  await look('event');
  await page.getByLabel('Ends').fill(`${iso(monday)}T13:00`);
  await page.getByLabel('Title').fill('Coffee');
  await button('Save').click();
  await page.locator('.fc-event', { hasText: 'Coffee' }).first().waitFor();
  assert.match(await everything(), /SUMMARY:Coffee(&#13;)?\n/);
});

await step('what a phone writes appears without a reload, script in it is text', async () => {
  const text = event('drag', 'Drag me &lt;b&gt;', `${stamp(monday)}T100000`).replace('&lt;b&gt;', '<img src=x onerror=alert(1)>');
  assert.equal((await dav('PUT', 'calendar/drag.ics', text)).status, 201);
  await page.locator('.fc-event', { hasText: 'Drag me <img' }).waitFor();
});

// Issue 5: a drag in the calendar, seen by a client of python-caldav
await step('an event is dragged to another day and made longer, which a client of python-caldav sees', async () => {
  const one = page.locator('.fc-event', { hasText: 'Drag me' });
  const from = await place(one);
  const to = await place(page.locator('.fc-timegrid-col.fc-day').nth(1));
  await drag({ x: from.x + from.width / 2, y: from.y + 8 }, { x: to.x + to.width / 2, y: from.y + 12 });
  await until('the drag', async () => (await dav('GET', 'calendar/drag.ics')).text.includes(`DTSTART;TZID=Europe/Berlin:${stamp(tuesday)}T100000`));
  assert.deepEqual(seen('drag').map((found) => [found.start.slice(0, 16), found.end.slice(0, 16)]), [[`${iso(tuesday)}T10:00`, `${iso(tuesday)}T11:00`]]);
  // The lower edge, two rows further down.
  await page.waitForFunction((x) => document.querySelector('[data-uid=drag]')?.getBoundingClientRect().left > x, from.x + from.width / 2);
  const there = await place(one);
  const row = (await place(page.locator('.fc-timegrid-slot-lane').first())).height;
  await one.hover();
  await drag({ x: there.x + there.width / 2, y: there.y + there.height - 2 }, { x: there.x + there.width / 2, y: there.y + there.height - 2 + 2 * row });
  await until('a longer one', () => seen('drag')[0].end.startsWith(`${iso(tuesday)}T12:00`));
  assert.ok(seen('drag')[0].start.startsWith(`${iso(tuesday)}T10:00`));
});

await step('one of a series is changed, then all of them', async () => {
  const text = event('class', 'Class', `${stamp(monday)}T140000`, 'RRULE:FREQ=DAILY;COUNT=5\r\nX-MINE:kept\r\n');
  assert.equal((await dav('PUT', 'calendar/class.ics', text)).status, 201);
  await page.locator('.fc-event', { hasText: 'Class' }).nth(4).waitFor();
  await page.locator('.fc-event', { hasText: 'Class' }).nth(1).click();
  await page.getByLabel('Place').fill('Hall');
  await page.getByRole('radio', { name: 'This one', exact: true }).check();
  await look('series');
  await button('Save').click();
  await until('one of them', async () => (await dav('GET', 'calendar/class.ics')).text.includes('RECURRENCE-ID'));
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
  await page.locator('.fc-event', { hasText: 'Class' }).nth(3).click();
  await page.getByLabel('Title').fill('Lesson');
  await page.getByLabel('All of them').check();
  await button('Save').click();
  await until('all of them', async () => (await dav('GET', 'calendar/class.ics')).text.includes('SUMMARY:Lesson'));
  assert.match((await dav('GET', 'calendar/class.ics')).text, /X-MINE:kept/);
});

await step('a drag of one of a series asks which are meant: none, this one, those after it', async () => {
  await closed();
  const all = page.locator('.fc-event', { hasText: 'Lesson' });
  await all.nth(2).waitFor();
  // Later by as many rows.
  const down = async (at, rows) => {
    const from = await place(all.nth(at));
    const row = (await place(page.locator('.fc-timegrid-slot-lane').first())).height;
    await drag({ x: from.x + from.width / 2, y: from.y + 8 }, { x: from.x + from.width / 2, y: from.y + 8 + rows * row });
    await page.getByRole('heading', { name: 'This event is repeated' }).waitFor();
  };
  const before = (await dav('GET', 'calendar/class.ics')).text;
  await down(0, 2);
  await look('series-drag');
  await page.keyboard.press('Escape');
  await closed();
  assert.equal((await dav('GET', 'calendar/class.ics')).text, before);
  // Monday's alone, half an hour later.
  await down(0, 1);
  await button('This one').click();
  await until('this one', () => seen('class').some((one) => one.instance?.startsWith(`${iso(monday)}T14:00`) && one.start.startsWith(`${iso(monday)}T14:30`)));
  await closed();
  // Thursday's and Friday's an hour later: the series ends before them, the rest is another event.
  await page.waitForFunction(() => [...document.querySelectorAll('.fc-event')].some((one) => one.textContent.includes('14:30')));
  await down(2, 2);
  await button('This one and those after it').click();
  await until('a shorter series', () => /UNTIL=/.test(seen('class').find((one) => one.rule)?.rule ?? ''));
  const thursday = new Date(+monday + 3 * 86400000);
  const rest = await until('the rest', async () => (await everything()).match(new RegExp(`DTSTART;TZID=Europe/Berlin:${stamp(thursday)}T150000`)));
  assert.ok(rest);
  assert.equal((await everything()).match(/X-MINE:kept/g).length >= 2, true);
  await page.waitForFunction(() => [...document.querySelectorAll('.fc-event')].filter((one) => one.textContent.includes('Lesson') && one.textContent.includes('15:00 - 16:00')).length === 2);
});

// Issue 5: a double click does nothing twice
await step('a double click makes one event', async () => {
  await button('New event').click();
  await page.getByLabel('Title').fill('Once only');
  await page.getByLabel('Starts').fill(`${iso(tuesday)}T17:00`);
  await page.getByLabel('Ends').fill(`${iso(tuesday)}T18:00`);
  await button('Save').dblclick();
  await closed();
  await page.locator('.fc-event', { hasText: 'Once only' }).first().waitFor();
  assert.equal((await everything()).match(/SUMMARY:Once only/g).length, 1);
});

// Issue 5: a booking made while the page is open appears without reload; the week view asks only for its week
await step('a week is asked for by itself; a booking made meanwhile appears without a reload', async () => {
  const next = new Date(+monday + 7 * 86400000);
  const asked = [];
  const note = (request) => { if (new URL(request.url()).pathname.endsWith('/calendar/events')) asked.push(new URL(request.url()).searchParams); };
  page.on('request', note);
  await go(`/?view=week&date=${iso(next)}`);
  await loaded();
  await until('what it asks for', () => asked.length);
  assert.equal(asked.length, 1);
  assert.equal((new Date(asked[0].get('end')) - new Date(asked[0].get('start'))) / 86400000, 7);
  page.off('request', note);
  await page.evaluate(() => { window.unchanged = true; });
  const day = iso(new Date(+next + 2 * 86400000));
  const made = await api('POST', '/bookings', { start: `${day}T11:00:00`, duration: 'PT45M', time_zone: 'Europe/Berlin', service: 'Haircut', customer: { name: 'Eva Example', email: 'eva@example.org' } });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  await page.locator('.fc-event', { hasText: 'Haircut: Eva Example' }).waitFor();
  assert.equal(await page.evaluate(() => window.unchanged), true);
});

// Issue 5: times in the reader's zone
await step('somebody in New York reads the times of New York', async () => {
  await dav('PUT', 'calendar/zone.ics', event('zone', 'Far away', `${stamp(tuesday)}T190000`));
  await elsewhere('America/New_York', 'en-US', async (there) => {
    await there.goto(`${base}/?view=week&date=${iso(tuesday)}`);
    const one = there.locator('.fc-event', { hasText: 'Far away' });
    await one.waitFor();
    assert.match(await one.textContent(), /1:00\s*PM|1:00/);
    await one.hover();
    assert.match(await there.locator('#tip').textContent(), /1:00/);
  });
});

// Issue 5: script in an event's title, place, notes and in the name of a calendar is text
await step('script in what others wrote is text everywhere', async () => {
  const bad = '<img src=x onerror=window.hit=1><script>window.hit=1</scr' + 'ipt>';
  const made = await api('POST', '/calendars', { display_name: `Odd ${bad}` });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const uid = (await api('POST', `/calendars/${made.body.id}/events`, { title: `Odd ${bad}`, location: bad, description: bad, start: `${iso(tuesday)}T08:00:00`, duration: 'PT1H', time_zone: 'Europe/Berlin' })).body.uid;
  for (const view of ['month', 'week', 'day', 'agenda']) {
    await go(`/?view=${view}&date=${iso(tuesday)}`);
    const one = page.locator(`[data-uid="${uid}"]`).first();
    await one.waitFor();
    await one.hover();
    await page.locator('#tip').getByText('<img src=x').first().waitFor();
    await one.click();
    await page.locator('dialog[open]').waitFor();
    assert.equal(await page.getByLabel('Place').inputValue(), bad);
    assert.equal(await page.getByLabel('Notes').inputValue(), bad);
    await page.keyboard.press('Escape');
    await closed();
  }
  assert.ok(await page.getByText('Odd <img src=x').count());
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal((await api('DELETE', `/calendars/${made.body.id}`)).status, 204);
});

// Issue 5: an expired session returns to where one was after sign-in
await step('an expired session comes back to where one was', async () => {
  await go(`/?view=month&date=${iso(monday)}`);
  await loaded();
  await page.locator('.fc-event').first().waitFor();
  const title = page.locator('.fc-toolbar-title');
  const was = await title.textContent();
  await context.clearCookies();
  await page.locator('.fc-next-button').click();
  await page.getByRole('heading', { name: 'Sign in to Kalends' }).waitFor();
  await page.getByLabel('Login name').fill(USER);
  await page.getByLabel('Password').fill(PASSWORD);
  await button('Sign in').click();
  await loaded();
  assert.equal(new URL(page.url()).searchParams.get('view'), 'month');
  assert.notEqual(await title.textContent(), was);
  await go('/');
  await loaded();
});

await step('month, day and agenda; the keyboard opens an event', async () => {
  for (const name of ['Month', 'Day', 'Agenda', 'Week']) {
    await page.getByRole('button', { name: new RegExp(`^${name}`) }).first().click();
    // A day may be empty.
    const shown = name === 'Day' ? '.fc-timeGridDay-view' : '.fc-event, .fc-list-event';
    await page.locator(shown).first().waitFor();
    if (name === 'Month') await look('calendar-month', 'anew');
  }
  await look('calendar-week', 'anew');
  await loaded();
  await page.locator('.fc-event', { hasText: 'Drag me' }).waitFor();
  await page.locator('.fc-event', { hasText: 'Drag me' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
});

await step('a calendar is made, gets a colour, can be hidden', async () => {
  await button('New calendar').click();
  await page.getByLabel('Name', { exact: true }).fill('Family');
  await button('Save').click();
  await page.getByRole('checkbox', { name: 'Family' }).waitFor();
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
  await page.getByPlaceholder('Find').fill('lesson');
  await page.locator('.fc-event', { hasText: 'Drag me' }).waitFor({ state: 'detached' });
  assert.ok(await page.locator('.fc-event', { hasText: 'Lesson' }).count());
  await page.getByPlaceholder('Find').fill('');
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).uncheck();
  await page.locator('.fc-event', { hasText: 'Drag me' }).waitFor({ state: 'detached' });
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).check();
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
});
