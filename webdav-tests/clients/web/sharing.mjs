// Calendars that are shown to people without an account.
import assert from 'node:assert/strict';
import { button, context, dav, event, failing, go, heed, look, page, stamp, step, until } from './browser.mjs';

const menu = async (name) => {
  await page.locator('.further summary').click();
  await page.getByRole('link', { name, exact: true }).click();
};

await step('the rest of the menu opens and closes with the keyboard', async () => {
  await go('/account');
  await page.locator('.further summary').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Sharing', exact: true }).waitFor();
  await look('menu');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Sharing', exact: true }).waitFor({ state: 'hidden' });
});

await step('a link is made with what is wrong said at its field; a double click makes one', async () => {
  await dav('PUT', 'calendar/shared.ics', event('shared', 'Shared <b>class</b>', `${stamp(new Date())}T180000`));
  await menu('Sharing');
  await page.getByRole('heading', { name: 'Nothing is shared' }).waitFor();
  await look('sharing-empty');
  await page.getByRole('link', { name: 'Share calendars' }).click();
  await page.getByLabel('Name', { exact: true }).fill('Salon <script>alert(1)</script>');
  await failing([422], async () => {
    await button('Make the link').click();
    await page.getByText('Choose at least one calendar.').waitFor();
  });
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Salon <script>alert(1)</script>');
  // Another calendar may be called the same; ours was the first.
  const ids = await page.locator('input[name="calendars"]').evaluateAll((all) => all.map((one) => Number(one.value)));
  await page.locator(`input[name="calendars"][value="${Math.min(...ids)}"]`).check();
  await look('sharing-new');
  await button('Make the link').dblclick();
  await page.getByRole('heading', { name: 'Links to give away' }).waitFor();
  await look('sharing-one');
  await go('/sharing');
  assert.equal(await page.locator('article.card').count(), 1);
  await look('sharing');
});

await step('the link is copied, read by a stranger, shown as a page', async () => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: /^Copy the link/ }).click();
  await page.getByText('Copied.').waitFor();
  const address = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(address, /^http:.*\/feeds\/.*\.ics$/);
  const answer = await fetch(address);
  assert.match(await answer.text(), /SUMMARY:Shared <b>class<\/b>/);
  const [shown] = await Promise.all([context.waitForEvent('page'), page.getByRole('link', { name: 'Open the page' }).click()]);
  heed(shown);
  await shown.getByText('Shared <b>class</b>').waitFor();
  await shown.close();
});

await step('only busy times, another address, the end', async () => {
  await page.getByRole('link', { name: 'Settings' }).click();
  const before = await page.locator('.address code').first().textContent();
  await page.getByRole('radio', { name: /^Busy times only/ }).check();
  await button('Save').click();
  await page.locator('.badge', { hasText: 'Busy times only' }).waitFor();
  assert.doesNotMatch(await (await fetch(before)).text(), /Shared/);
  await page.locator('summary', { hasText: 'Change the address' }).click();
  await page.getByLabel('An address of your choice').fill('Not One');
  await failing([422], async () => {
    await button('Give it another address').click();
    await page.locator('.why', { hasText: '3 to 64 small letters' }).waitFor();
  });
  assert.equal(await page.getByLabel('An address of your choice').inputValue(), 'Not One');
  await page.getByLabel('An address of your choice').fill('salon');
  await button('Give it another address').click();
  await until('the new address', async () => (await page.locator('.address code').first().textContent()).endsWith('/feeds/salon.ics'));
  assert.equal((await fetch(before)).status, 404);
  await page.locator('summary', { hasText: 'End the link' }).click();
  await button('End this link').click();
  await page.getByRole('heading', { name: 'Nothing is shared' }).waitFor();
});
