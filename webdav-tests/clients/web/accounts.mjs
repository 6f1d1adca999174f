// Accounts elsewhere: connected, looked into, kept in step.
import assert from 'node:assert/strict';
import { button, event, failing, far, go, look, page, sim, stamp, step, tuesday } from './browser.mjs';

await step('empty pages say what to do', async () => {
  for (const path of ['connections', 'mappings', 'conflicts', 'notifications']) {
    await go(`/${path}`);
    await look(`${path}-empty`);
  }
});

// S1-081, S2-078, S2-079: providers with their icons, then the calendars of the account
await step('a CalDAV account is connected; a wrong password is said, the address kept', async () => {
  assert.ok((await far('PUT', 'far.ics', event('far', 'From afar', `${stamp(tuesday)}T160000`))).status < 300);
  await go('/connect');
  assert.equal(await page.locator('a.tile svg').count(), 6);
  await look('connect');
  await page.getByRole('link', { name: /^CalDAV/ }).click();
  await page.getByLabel('Address').fill(sim);
  await page.getByLabel('User name').fill('demo');
  await page.getByLabel('Password').fill('wrong');
  await failing([422], async () => {
    await button('Connect').click();
    await page.getByRole('alert').or(page.locator('.why')).first().waitFor();
  });
  assert.equal(await page.getByLabel('Address').inputValue(), sim);
  await look('connect-caldav');
  await page.getByLabel('Password').fill('demo');
  await button('Connect').click();
  await page.getByRole('heading', { name: 'Calendars over there' }).waitFor();
  await look('connection');
});

// S1-080, S1-082..S1-086, S2-077, S2-080, S3-113, S3-114: the card; S4-037, S4-038, S4-044: the mapping and its dry run;
// S1-087..S1-089: what is mirrored has a badge, the colour of its calendar and a tooltip
await step('a dry run says what would happen, then two calendars are in step', async () => {
  await page.getByRole('link', { name: 'Keep in step' }).first().click();
  await button('Show what would happen').click();
  await page.getByRole('heading', { name: 'A first pass would' }).waitFor();
  await look('mapping-new');
  await page.getByText('More: what is carried').click();
  await page.getByRole('radio', { name: /^Ask me/ }).check();
  await page.locator('form#mapping button.primary').click();
  await page.getByText('In step', { exact: true }).last().waitFor();
  await look('mapping');
  await go('/mappings');
  await page.locator('#rows').getByText('In step').waitFor();
  await look('mappings');
  await go('/connections');
  await page.getByText('In order').waitFor();
  const card = page.locator('article.card');
  assert.equal(await card.locator('h2 svg').count(), 1);
  assert.match(await card.textContent(), /demo@[\s\S]*CalDAV[\s\S]*Calendars in step\s*1[\s\S]*Last contact\s*\S/);
  await look('connections');
  await go('/');
  const mirrored = page.locator('.fc-event', { hasText: 'From afar' });
  await mirrored.first().waitFor();
  await mirrored.first().hover();
  assert.match(await page.locator('#tip').textContent(), /From afar[\s\S]*From CalDAV, demo@[\s\S]*Synced/);
  await look('calendar-tooltip');
  const source = page.getByRole('checkbox', { name: /^demo@/ });
  await source.uncheck();
  await mirrored.first().waitFor({ state: 'detached' });
  await source.check();
  await mirrored.first().waitFor();
  assert.equal(await mirrored.first().locator('svg').count(), 1);
  await mirrored.first().click();
  await page.getByText('demo').first().waitFor();
  await page.getByText('Where does it come from?').click();
  await page.locator('#why li').first().waitFor();
  await look('event-mirrored');
  await page.keyboard.press('Escape');
});
