// What was deleted, and what events were before.
import assert from 'node:assert/strict';
import { button, dav, event, go, loaded, look, monday, page, stamp, step, until } from './browser.mjs';

await step('the versions of an event are reached from it, compared and brought back', async () => {
  const at = `${stamp(monday)}T090000`;
  assert.equal((await dav('PUT', 'calendar/old.ics', event('old', 'Yoga', at, 'LOCATION:Hall\r\n'))).status, 201);
  assert.equal((await dav('PUT', 'calendar/old.ics', event('old', 'Yoga <i>late</i>', at, 'RRULE:FREQ=WEEKLY;COUNT=2\r\n'))).status, 204);
  await go('/');
  await loaded();
  await page.locator('.fc-event', { hasText: 'Yoga' }).first().click();
  await page.getByRole('link', { name: 'Former versions' }).click();
  await page.getByRole('row', { name: /Place Hall/ }).waitFor();
  await page.getByText('Yoga <i>late</i>').first().waitFor();
  await look('versions');
  await button('Bring this version back').dblclick();
  await until('the old text over CalDAV', async () => (await dav('GET', 'calendar/old.ics')).text.includes('LOCATION:Hall'));
  await page.getByText('on the page').first().waitFor();
  assert.equal(await page.locator('.story > li').count(), 3);
});

await step('what a device deleted is brought back', async () => {
  assert.equal((await dav('DELETE', 'calendar/old.ics')).status, 204);
  await go('/trash');
  await look('trash');
  await page.getByRole('link', { name: 'Yoga' }).click();
  await page.getByRole('heading', { name: 'What it said' }).waitFor();
  await look('trashed');
  await button('Bring back').click();
  await page.waitForURL((url) => url.pathname === '/trash');
  assert.equal((await dav('GET', 'calendar/old.ics')).status, 200);
});

await step('the trash is emptied after a question', async () => {
  assert.equal((await dav('DELETE', 'calendar/old.ics')).status, 204);
  await go('/trash');
  await page.locator('summary', { hasText: 'Empty the trash' }).click();
  await button('Forget everything in it').click();
  await page.getByRole('heading', { name: 'The trash is empty' }).waitFor();
  await look('trash-empty');
});
