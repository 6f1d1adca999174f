// Connecting every kind of account in the browser, a consent that is refused, withdrawn and given again, disconnecting.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { base, button, failing, go, look, page, sim, step, stamp, tuesday, until } from './browser.mjs';

const env = process.env;
/** The simulated far side of that address does something by itself. */
const act = async (url, name, more = {}) => {
  const answer = await fetch(`${url}/_sim/act`, { method: 'POST', body: JSON.stringify({ act: name, ...more }) });
  assert.equal(answer.status, 200, await answer.clone().text());
};
const card = (text) => page.locator('article.card').filter({ hasText: text });

await step('Google: what will be read and written is said before leaving; who says no is told that nothing was connected', async () => {
  await go('/connect/google');
  await look('connect-google');
  await button('Go on').click();
  await page.getByText('See and change the events of your calendars').waitFor();
  await page.getByText('This server will be able to read your calendars').waitFor();
  await look('consent');
  await act(env.KALENDS_SIM_GOOGLE, 'own', { name: 'consent', with: { answer: 'no' } });
  await page.getByRole('link', { name: /Go on to Google/ }).click();
  await page.getByText('You did not give your consent').waitFor();
  await look('consent-refused');
  await act(env.KALENDS_SIM_GOOGLE, 'own', { name: 'consent', with: { answer: 'yes' } });
});

// S3-115, S4-040: the button leads to the consent
await step('Google is connected through its consent and a calendar of it kept in step', async () => {
  await go('/connect/google');
  await button('Go on').click();
  await page.getByRole('link', { name: /Go on to Google/ }).click();
  await page.waitForURL((url) => url.pathname === '/connections' && url.searchParams.has('connected'));
  await page.getByText('The account is connected').waitFor();
  await card('anna@example.com').getByRole('link', { name: 'Calendars' }).click();
  await page.getByRole('link', { name: 'Keep in step' }).first().click();
  await page.locator('form#mapping button.primary').click();
  await page.getByText('In step', { exact: true }).last().waitFor();
});

await step('a consent that was withdrawn is said plainly, given again in the browser, and what was in step stays so', async () => {
  await act(env.KALENDS_SIM_GOOGLE, 'revoke_grant');
  await go('/connections');
  await card('anna@example.com').getByRole('button', { name: 'Sync now' }).click();
  await until('the consent is missed', async () => { await go('/connections'); return (await card('anna@example.com').getByText('Sign in again').count()) > 0; });
  await look('connections-expired');
  await card('anna@example.com').getByRole('link', { name: 'Connect again' }).click();
  await page.getByText('What is mapped stays as it is.').waitFor();
  await button('Go on').click();
  await page.getByRole('link', { name: /Go on to Google/ }).click();
  await page.getByText('The account is connected').waitFor();
  assert.match(await card('anna@example.com').textContent(), /Calendars in step\s*1/);
  await card('anna@example.com').getByRole('button', { name: 'Sync now' }).click();
  await until('it syncs again', async () => { await go('/connections'); return (await card('anna@example.com').getByText('In order').count()) > 0; });
});

await step('Outlook is connected for reading alone', async () => {
  await go('/connect/outlook');
  await page.getByRole('radio', { name: /^Only read events/ }).check();
  await button('Go on').click();
  await page.getByText('See the events of your calendars').waitFor();
  await page.getByRole('link', { name: /Go on to Outlook/ }).click();
  await page.getByText('The account is connected').waitFor();
  await card('Outlook, Microsoft 365').getByText('reads only').waitFor();
});

await step('iCloud says the steps to its app password; a wrong one is said at once', async () => {
  await go('/connect/icloud');
  await page.getByText('App-Specific Passwords').waitFor();
  await look('connect-icloud');
  await page.getByLabel('User name').fill('demo');
  await page.getByLabel('Password').fill('wrong');
  await failing([422], async () => {
    await button('Connect').click();
    await page.locator('.why, .note.bad').first().waitFor();
  });
  assert.equal(await page.getByLabel('User name').inputValue(), 'demo');
  await page.getByLabel('Password').fill('demo');
  await button('Connect').click();
  await page.getByRole('heading', { name: 'Calendars over there' }).waitFor();
});

await step('Cozi warns before and after', async () => {
  await go('/connect/cozi');
  await page.getByText('Cozi has no official interface').waitFor();
  await look('connect-cozi');
  await page.getByLabel('User name').fill('demo');
  await page.getByLabel('Password').fill('demo');
  await button('Connect').click();
  await page.getByText('can stop working at any time').waitFor();
});

await step('a feed is connected by its address; script in its name is text', async () => {
  const text = `BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//club//EN\r\nX-WR-CALNAME:Club <script>alert(1)</script>\r\nBEGIN:VEVENT\r\nUID:match\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:${stamp(tuesday)}T180000Z\r\nSUMMARY:<img src=x onerror=alert(1)>\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n`;
  const feed = createServer((request, answer) => answer.writeHead(200, { 'content-type': 'text/calendar' }).end(text)).listen(0, '127.0.0.1');
  await new Promise((ready) => feed.once('listening', ready));
  await go('/connect/ics');
  await page.getByLabel('Address').fill('not an address');
  await failing([422], async () => {
    await page.evaluate(() => document.querySelector('form[data-once]').setAttribute('novalidate', ''));
    await button('Connect').click();
    await page.locator('.why, .note.bad').first().waitFor();
  });
  await page.getByLabel('Address').fill(`http://127.0.0.1:${feed.address().port}/club.ics`);
  await button('Connect').click();
  await page.getByRole('heading', { name: 'Calendars over there' }).waitFor();
  await page.getByText('Club <script>alert(1)</script>').first().waitFor();
  await page.getByRole('link', { name: 'Keep in step' }).first().click();
  await page.getByRole('radio', { name: /^From there to here/ }).check();
  await page.locator('form#mapping button.primary').click();
  await page.getByText('In step', { exact: true }).last().waitFor();
  await go('/');
  await page.locator('.fc-event', { hasText: '<img src=x onerror=alert(1)>' }).first().waitFor();
  feed.close();
});

// S3-114: icon, account, status, last and next sync, counts
await step('each account has a card that says how it is', async () => {
  await go('/connections');
  assert.ok((await page.locator('article.card').count()) >= 6);
  const google = await card('Google Calendar').filter({ hasText: 'In order' }).textContent();
  assert.match(google, /Calendars in step\s*1[\s\S]*Last contact\s*\S[\s\S]*Next look\s*\S/);
  await look('connections-all');
});

await step('Outlook is disconnected after a question', async () => {
  await card('Outlook, Microsoft 365').getByRole('link', { name: 'Calendars' }).click();
  await page.getByText('Disconnect this account').click();
  await look('disconnect');
  await button('Disconnect').click();
  await until('it is gone', async () => (await card('Outlook, Microsoft 365').count()) === 0);
  assert.equal(new URL(page.url()).pathname, '/connections');
});
