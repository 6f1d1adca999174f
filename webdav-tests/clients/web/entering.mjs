// From the set-up link to somebody who is signed in.
import assert from 'node:assert/strict';
import { PASSWORD, USER, button, failing, go, link, loaded, look, page, step } from './browser.mjs';

await step('the address says what to do before anybody has an account', async () => {
  await go('/');
  await page.getByRole('heading', { name: 'Welcome to Kalends' }).waitFor();
  await look('welcome');
});

await step('the set-up link makes the first account; what is wrong is said at its field', async () => {
  await page.goto(link);
  await page.getByLabel('Login name').fill(USER);
  await page.getByLabel('Mail address').fill('anna@example.org');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('The password again').fill('something else');
  await failing([422], async () => {
    await button('Make the account').click();
    await page.getByText('The two are not the same.').waitFor();
  });
  assert.equal(await page.getByLabel('Login name').inputValue(), USER);
  await look('setup');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('The password again').fill(PASSWORD);
  await button('Make the account').click();
  await page.getByRole('heading', { name: 'First steps' }).waitFor();
  await look('start');
  const code = await page.evaluate(() => document.querySelector('.qr path').getAttribute('d').length);
  assert.ok(code > 100);
  await page.getByRole('link', { name: 'To the calendar' }).click();
  await loaded();
});

await step('sign out, sign in with a wrong and the right password, back where one wanted to go', async () => {
  await button('Sign out').click();
  await page.getByRole('heading', { name: 'Sign in to Kalends' }).waitFor();
  await look('sign-in');
  await go('/devices');
  await page.getByLabel('Login name').fill(USER);
  await page.getByLabel('Password').fill('guessed');
  await failing([422], async () => {
    await button('Sign in').click();
    await page.getByText('The login name or the password is wrong.').waitFor();
  });
  await page.getByLabel('Password').fill(PASSWORD);
  await button('Sign in').click();
  await page.getByRole('heading', { name: 'Add a device' }).waitFor();
  assert.equal(new URL(page.url()).pathname, '/devices');
});

await step('each of the first steps was skipped, and is found again', async () => {
  await go('/account');
  await page.getByRole('link', { name: 'Address, phone, accounts: the way in' }).click();
  await page.getByRole('heading', { name: 'First steps' }).waitFor();
  await page.getByText('No phone has come yet').waitFor();
  await page.getByText('Only this machine itself reaches this address.').waitFor();
  for (const [name, path] of [['Add a device', '/devices'], ['Connect an account', '/connect'], ['Calendars', '/connect'], ['To the calendar', '/']]) {
    await page.getByRole('main').getByRole('link', { name, exact: true }).click();
    await page.waitForURL((url) => url.pathname === path);
    await page.goBack();
    await page.getByRole('heading', { name: 'First steps' }).waitFor();
  }
  await button('New calendar').click();
  await page.locator('dialog[open]').getByLabel('Name', { exact: true }).waitFor();
  await page.keyboard.press('Escape');
});
