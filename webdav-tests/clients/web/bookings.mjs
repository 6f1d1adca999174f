// Bookings: hours and rules, free times, a booking from the page to its end.
import assert from 'node:assert/strict';
import { button, dav, event, everything, failing, go, iso, look, monday, page, stamp, step } from './browser.mjs';

// A Monday that is far enough ahead, and not so far.
const day = new Date(+monday + 14 * 86400000);

await step('hours and rules are settled; what is wrong is said at the day', async () => {
  await go('/bookings');
  await page.getByRole('heading', { name: 'Nobody has booked' }).waitFor();
  await look('bookings-empty');
  await page.getByRole('link', { name: 'Hours and rules' }).first().click();
  await page.getByRole('radio', { name: /^In weekly hours/ }).check();
  await page.getByLabel('Monday, 1, to').fill('08:00');
  await failing([422], async () => {
    await button('Save').click();
    await page.locator('.days .why', { hasText: 'It ends before it begins.' }).waitFor();
  });
  assert.equal(await page.getByLabel('Monday, 1, to').inputValue(), '08:00');
  await page.getByLabel('Monday, 1, to').fill('12:00');
  await page.getByLabel('Monday, 2, from').fill('13:00');
  await page.getByLabel('Monday, 2, to').fill('17:00');
  await page.getByLabel('Your time zone').fill('Europe/Berlin');
  await page.getByLabel('Free after it', { exact: true }).fill('15');
  await page.getByLabel('I confirm each booking').check();
  await button('Save').click();
  await page.getByText('Saved.').waitFor();
  assert.equal(await page.getByLabel('Monday, 2, to').inputValue(), '17:00');
  await look('bookings-settings');
});

await step('a page says why a time is not free; a free one is booked, once', async () => {
  assert.equal((await dav('PUT', 'calendar/dentist.ics', event('dentist', 'Dentist <b>', `${stamp(day)}T100000`))).status, 201);
  await go(`/bookings/free?day=${iso(day)}&minutes=60`);
  await page.getByText(/Dentist <b>/).first().waitFor();
  await page.getByText('Closed').first().waitFor();
  await look('bookings-free');
  await page.getByRole('link', { name: '13:00–14:00' }).click();
  assert.equal(await page.getByLabel('Starts').inputValue(), `${iso(day)}T13:00`);
  await page.getByLabel('Starts').fill(`${iso(day)}T10:30`);
  await page.getByLabel('What for').fill('Haircut');
  await page.getByLabel('Name', { exact: true }).fill('Eva <script>');
  await page.getByLabel('Mail address').fill('eva@example.org');
  await failing([422], async () => {
    await button('Book it').click();
    await page.locator('.why', { hasText: 'takes place from' }).waitFor();
  });
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Eva <script>');
  await look('booking-new');
  await page.getByLabel('Starts').fill(`${iso(day)}T13:00`);
  await button('Book it').dblclick();
  await page.getByRole('heading', { name: 'Haircut: Eva <script>' }).waitFor();
  await look('booking');
  await go('/bookings');
  assert.equal(await page.locator('#list li').count(), 1);
  await look('bookings');
});

await step('it is confirmed, moved and cancelled, as CalDAV clients see', async () => {
  await page.getByRole('button', { name: /^Confirm/ }).click();
  await page.locator('.badge', { hasText: 'Confirmed' }).waitFor();
  await page.getByRole('link', { name: 'Haircut: Eva <script>', exact: true }).click();
  await page.locator('summary', { hasText: 'Move to another time' }).click();
  await page.getByRole('link', { name: 'Which times are free?' }).click();
  await page.getByRole('link', { name: '15:00–16:00' }).click();
  assert.equal(await page.getByLabel('Starts').inputValue(), `${iso(day)}T15:00`);
  await button('Move it').click();
  await page.waitForURL((url) => url.search === '' && url.pathname.startsWith('/bookings/'));
  assert.match(await everything(), new RegExp(`DTSTART;TZID=Europe/Berlin:${stamp(day)}T150000`));
  await page.locator('summary', { hasText: 'Cancel the booking' }).click();
  await button('Cancel it').click();
  await page.locator('.badge', { hasText: 'Cancelled' }).waitFor();
  assert.match(await everything(), /STATUS:CANCELLED/);
  await go('/bookings?show=past');
  await page.getByRole('link', { name: 'Haircut: Eva <script>', exact: true }).waitFor();
  await look('bookings-past');
});
