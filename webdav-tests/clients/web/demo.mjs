// `kalends demo` as somebody sees it who opens its page: KALENDS_DEMO is its address. The pictures of the documents are made here, of its
// calendars: KALENDS_PICTURES is where they go.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PASSWORD, USER, base, button, dav, everything, finish, go, loaded, look, page, step, until } from './browser.mjs';

const pictures = process.env.KALENDS_PICTURES;
mkdirSync(pictures, { recursive: true });
/** Takes a picture for the documents. */
const picture = async (name, viewport, scheme) => {
  await page.setViewportSize(viewport);
  await page.emulateMedia({ colorScheme: scheme });
  await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.emulateMedia({ colorScheme: 'light' });
};
const desktop = { width: 1280, height: 800 };
const phone = { width: 390, height: 844 };

await step('one signs in as demo and sees the events of four providers', async () => {
  await go('/');
  await page.getByLabel('Login name').fill(USER);
  await page.getByLabel('Password').fill(PASSWORD);
  await button('Sign in').click();
  await loaded();
  await page.getByRole('button', { name: /^Month/ }).first().click();
  await page.locator('.fc-event').first().waitFor();
  // What came from elsewhere has its badge; Family goes only to Cozi, so its events are ours.
  const badges = () => page.evaluate(() => [...document.querySelectorAll('.fc-event svg use, .fc-list-event svg use')].map((use) => use.getAttribute('href').split('#')[1]));
  const seen = new Set();
  await page.getByRole('button', { name: /^Agenda/ }).first().click();
  for (let week = 0; week < 4 && seen.size < 3; week += 1) {
    await page.locator('.fc-list-event, .fc-list-empty').first().waitFor();
    await page.waitForTimeout(300);
    for (const name of await badges()) if (['google', 'outlook', 'caldav'].includes(name)) seen.add(name);
    await page.locator('.fc-next-button').click();
  }
  assert.deepEqual([...seen].sort(), ['caldav', 'google', 'outlook']);
  for (const name of ['Private', 'Work', 'Choir', 'Family']) await page.getByRole('checkbox', { name: new RegExp(`^${name}`) }).first().waitFor();
  assert.match(await everything('family'), /BEGIN:VEVENT/);
  await go('/');
  await loaded();
  await page.getByRole('button', { name: /^Month/ }).first().click();
  await page.locator('.fc-event').first().waitFor();
  await look('demo-month');
});

await step('all connections are well', async () => {
  await go('/connections');
  await until('four in order', async () => { await go('/connections'); return (await page.locator('article.card').getByText('In order').count()) === 4; });
  for (const card of await page.locator('article.card').all()) assert.match(await card.textContent(), /Calendars in step\s*1/);
  await picture('connections-dark', desktop, 'dark');
});

await step('what somebody does elsewhere appears without a reload', async () => {
  await go('/');
  await loaded();
  await page.getByRole('button', { name: /^Month/ }).first().click();
  await page.locator('.fc-event').first().waitFor();
  await page.evaluate(() => { window.notReloaded = true; });
  const google = process.env.KALENDS_DEMO_GOOGLE;
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  const at = (hour) => { const when = new Date(day); when.setHours(hour); return when.toISOString(); };
  const made = await fetch(`${google}/_sim/act`, { method: 'POST', body: JSON.stringify({ act: 'create_elsewhere', calendar: 'primary', object: { summary: 'Surprise <i>party</i>', start: { dateTime: at(20) }, end: { dateTime: at(21) } } }) });
  assert.equal(made.status, 200);
  await until('it is in the calendar', async () => (await everything()).includes('Surprise &lt;i'));
  await page.getByRole('button', { name: /^Day/ }).first().click();
  await page.locator('.fc-event', { hasText: 'Surprise <i>party</i>' }).first().waitFor();
  assert.equal(await page.evaluate(() => window.notReloaded), true);
});

await step('the steady trickle is seen, too', async () => {
  await page.getByRole('button', { name: /^Month/ }).first().click();
  await page.locator('.fc-event').first().waitFor();
  const seen = () => page.evaluate(() => [...document.querySelectorAll('.fc-event')].map((one) => one.getAttribute('title')).sort().join('\n'));
  const before = await seen();
  const end = Date.now() + 90000;
  while ((await seen()) === before) {
    assert.ok(Date.now() < end, 'nothing changed by itself');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  assert.equal(await page.evaluate(() => window.notReloaded), true);
});

await step('pictures of the calendar', async () => {
  await go('/');
  await loaded();
  await page.getByRole('button', { name: /^Week/ }).first().click();
  await page.locator('.fc-next-button').click();
  await page.locator('.fc-event').nth(5).waitFor();
  await picture('calendar-week', desktop, 'light');
  await page.getByRole('button', { name: /^Agenda/ }).first().click();
  await page.locator('.fc-list-event').first().waitFor();
  await picture('calendar-phone', phone, 'light');
});

await step('the open conflict is decided on the page and seen over CalDAV', async () => {
  await go('/conflicts');
  await page.getByRole('link', { name: 'Decide' }).click();
  await page.getByRole('row', { name: /Place/ }).waitFor();
  await picture('conflict', desktop, 'light');
  await look('demo-conflict');
  await button('Keep theirs').click();
  await page.getByText('Theirs was kept').first().waitFor();
  await until('theirs over CalDAV', async () => /SUMMARY:Budget review[\s\S]*?LOCATION:Town hall|LOCATION:Town hall[\s\S]*?SUMMARY:Budget review/.test(await everything('work')));
  await go('/conflicts');
  await page.getByText('Nothing waits for you').waitFor();
  assert.equal((await dav('PROPFIND', 'work/', undefined, { depth: '0' })).status, 207);
});

await finish();
