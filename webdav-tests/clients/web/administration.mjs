// Administration: how the server is, accounts, tokens of programs, the configuration; and that it is for administrators.
import assert from 'node:assert/strict';
import { PASSWORD, USER, base, button, failing, go, look, page, step } from './browser.mjs';

await step('the server says how it is in plain words', async () => {
  await go('/admin');
  await page.getByText('Answers').waitFor();
  await page.getByText(/Nothing waits|At work/).first().waitFor();
  await look('admin');
});

await step('an account is made, errors at their fields with the values kept, then it signs in and is told what is not for it', async () => {
  await page.getByRole('link', { name: 'People' }).click();
  await page.getByRole('link', { name: /New account/ }).click();
  await page.getByLabel('Login name').fill('Bert Two');
  await page.getByLabel('Name', { exact: true }).fill('Bert <img src=x onerror=alert(1)>');
  await failing([422], async () => {
    await button('Make the account').click();
    await page.locator('#h-name.why').waitFor();
  });
  assert.equal(await page.getByLabel('Login name').inputValue(), 'Bert Two');
  await look('admin-new-user');
  await page.getByLabel('Login name').fill('bert');
  await page.getByLabel('Mail addresses').fill('bert@example.org');
  await page.getByLabel('Password', { exact: true }).fill('quite another thing');
  await page.getByLabel('The password again').fill('quite another thing');
  await button('Make the account').click();
  await page.getByText('The account is made').waitFor();
  await look('admin-user');
  await go('/admin/users');
  await page.getByText('Bert <img src=x onerror=alert(1)>').waitFor();
  await look('admin-users');
  await button('Sign out').click();
  await page.getByLabel('Login name').fill('bert');
  await page.getByLabel('Password').fill('quite another thing');
  await button('Sign in').click();
  await page.waitForURL(`${base}/`);
  await failing([403], () => go('/admin'));
  await page.getByRole('heading', { name: 'For administrators' }).waitFor();
  await look('admin-refused');
  await go('/account');
  await button('Sign out').click();
  await page.getByLabel('Login name').fill(USER);
  await page.getByLabel('Password').fill(PASSWORD);
  await button('Sign in').click();
  await page.waitForURL(`${base}/`);
});

await step('a token is shown once with its scopes, works, and is revoked', async () => {
  await go('/admin/tokens');
  await page.getByLabel('Which program?').fill('booking page');
  await page.getByRole('checkbox', { name: /^bookings/ }).check();
  await look('admin-tokens');
  await button('Make the token').click();
  const token = await page.locator('.secret').textContent();
  await look('admin-token');
  const asked = async (path) => (await fetch(`${base}/api/v1${path}`, { headers: { authorization: `Bearer ${token}` } })).status;
  assert.deepEqual([await asked('/calendars'), await asked('/bookings'), await asked('/users')], [200, 200, 403]);
  await page.getByRole('link', { name: 'Done' }).click();
  page.once('dialog', (dialog) => dialog.accept());
  await page.getByRole('listitem').filter({ hasText: 'booking page' }).getByRole('button', { name: 'Revoke' }).click();
  await page.waitForLoadState('load');
  // Other programs may have theirs.
  await page.waitForFunction(() => ![...document.querySelectorAll('.rows strong')].some((one) => one.textContent === 'booking page'));
  assert.equal(await asked('/calendars'), 401);
});

await step('the configuration says where each value comes from and shows no secret', async () => {
  await go('/admin/configuration');
  const row = (key) => page.getByRole('listitem').filter({ has: page.getByText(key, { exact: true }) });
  assert.match(await row('google.client_secret').textContent(), /set, not shown[\s\S]*from the environment/);
  assert.match(await row('google.client_id').textContent(), /kalends[\s\S]*from the environment/);
  assert.match(await row('trash').textContent(), /30 d[\s\S]*default/);
  assert.doesNotMatch(await page.content(), /hidden-client-secret/);
  await look('admin-configuration');
});

await step('an account gets another password and is removed after its name was typed', async () => {
  await go('/admin/users/bert');
  await page.getByLabel('New password').fill('a third thing altogether');
  await page.getByLabel('The password again').fill('a third thing altogether');
  await button('Set it').click();
  await page.getByText('The new password is set').waitFor();
  await page.getByText('Remove this account').click();
  await page.getByLabel('Type its login name').fill('anna');
  await failing([422], async () => {
    await button('Remove it for good').click();
    await page.locator('#h-confirm.why').waitFor();
  });
  await page.getByLabel('Type its login name').fill('bert');
  await button('Remove it for good').click();
  await page.getByText('The account is gone').waitFor();
  assert.equal(await page.getByText('bert@example.org').count(), 0);
});
