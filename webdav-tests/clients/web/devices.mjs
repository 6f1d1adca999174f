// Notices, devices, the browsers that are signed in.
import assert from 'node:assert/strict';
import { USER, base, button, dav, go, look, page, step } from './browser.mjs';

await step('notices are read', async () => {
  await go('/notifications');
  await look('notifications');
});

await step('a device gets a password of its own, a code and a profile that is given once', async () => {
  await go('/devices');
  await page.getByLabel('What is it?').fill('Phone');
  await button('Make a password').click();
  const password = await page.locator('.secret').textContent();
  for (const name of ['iPhone, iPad, Mac', /^Android/, 'Thunderbird', 'Others']) await page.getByRole('heading', { name }).waitFor();
  assert.match(await page.getByRole('link', { name: 'Open in DAVx⁵' }).getAttribute('href'), new RegExp(`^davx5://${USER}@`));
  assert.ok((await page.locator('.qr path').getAttribute('d')).length > 500);
  await look('device');
  const profile = await page.getByRole('link', { name: 'the profile' }).getAttribute('href');
  const given = await fetch(profile);
  assert.equal(given.headers.get('content-type'), 'application/x-apple-aspen-config');
  assert.ok((await given.text()).includes(password));
  assert.equal((await fetch(profile)).status, 404);
  const authorization = `Basic ${Buffer.from(`${USER}:${password}`).toString('base64')}`;
  const asked = () => fetch(`${base}/dav/`, { method: 'PROPFIND', headers: { authorization, depth: '0' } });
  assert.equal((await asked()).status, 207);
  await go('/devices');
  await look('devices');
  page.once('dialog', (dialog) => dialog.accept());
  await button('Revoke').click();
  await page.getByText('None yet.').waitFor();
  assert.equal((await asked()).status, 401);
});

await step('one sees the browsers that are signed in', async () => {
  await go('/account');
  await look('account');
});
