// The calendar: events made, dragged, repeated; views; calendars.
import assert from 'node:assert/strict';
import { button, dav, event, everything, failing, go, iso, loaded, look, monday, page, stamp, step, tuesday, until } from './browser.mjs';

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

await step('an event is dragged to another day, which a CalDAV client sees', async () => {
  const from = await page.locator('.fc-event', { hasText: 'Drag me' }).boundingBox();
  const columns = page.locator('.fc-timegrid-col.fc-day');
  const to = await columns.nth(1).boundingBox();
  await page.mouse.move(from.x + from.width / 2, from.y + 8);
  await page.mouse.down();
  await page.mouse.move(to.x + to.width / 2, from.y + 12, { steps: 12 });
  await page.mouse.up();
  await until('the drag over CalDAV', async () => (await dav('GET', 'calendar/drag.ics')).text.includes(`DTSTART;TZID=Europe/Berlin:${stamp(tuesday)}T100000`));
  assert.match((await dav('GET', 'calendar/drag.ics')).text, /DURATION:PT1H/);
});

await step('one of a series is changed, then all of them', async () => {
  const text = event('class', 'Class', `${stamp(monday)}T140000`, 'RRULE:FREQ=DAILY;COUNT=5\r\nX-MINE:kept\r\n');
  assert.equal((await dav('PUT', 'calendar/class.ics', text)).status, 201);
  await page.locator('.fc-event', { hasText: 'Class' }).nth(4).waitFor();
  await page.locator('.fc-event', { hasText: 'Class' }).nth(1).click();
  await page.getByLabel('Place').fill('Hall');
  await page.getByLabel('This one').check();
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

await step('month, day and agenda; the keyboard opens an event', async () => {
  for (const name of ['Month', 'Day', 'Agenda', 'Week']) {
    await page.getByRole('button', { name: new RegExp(`^${name}`) }).first().click();
    // A day may be empty.
    const shown = name === 'Day' ? '.fc-timeGridDay-view' : '.fc-event, .fc-list-event';
    await page.locator(shown).first().waitFor();
    if (name === 'Month') await look('calendar-month');
  }
  await look('calendar-week');
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
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).uncheck();
  await page.locator('.fc-event', { hasText: 'Drag me' }).waitFor({ state: 'detached' });
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).check();
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
});
