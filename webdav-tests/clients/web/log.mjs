// The sync log and the progress of a first pass; needs the account of `accounts`.
import assert from 'node:assert/strict';
import { sim } from '../steps.mjs';
import { button, dav, event, go, look, page, stamp, step, tuesday, until, sim as far } from './browser.mjs';

const COUNT = 120;
const there = async (method, path, body, headers = {}) => {
  const authorization = `Basic ${Buffer.from('demo:demo').toString('base64')}`;
  const answer = await fetch(`${far}/dav/calendars/demo/${path}`, { method, body, headers: { authorization, ...headers } });
  return answer.status;
};

// Issue 5: first sync with live progress
await step('a first pass tells how far it is while it goes on', async () => {
  assert.equal(await there('MKCALENDAR', 'many/'), 201);
  for (let at = 0; at < COUNT; at += 1) {
    const text = event(`many-${at}`, `Number ${at}`, `${stamp(tuesday)}T${String(6 + (at % 12)).padStart(2, '0')}0000`);
    assert.ok(await there('PUT', `many/many-${at}.ics`, text, { 'content-type': 'text/calendar' }) < 300);
  }
  await go('/connections');
  await page.getByRole('link', { name: 'demo' }).first().click();
  await page.getByRole('listitem').filter({ hasText: 'many' }).getByRole('link', { name: 'Keep in step' }).click();
  // One of the answers that bring events is held: the pass is in the midst of it.
  await sim('POST', 'rules', { method: 'REPORT', path: '*/many/*', skip: 1, times: 1, fault: 'hold', at: 'before', name: 'midst' });
  await page.locator('form#mapping button[type=submit]').click();
  await page.locator('progress').waitFor();
  const told = page.locator('label[for=progress]');
  await until('how far it is', async () => new RegExp(`First sync: \\d+ of ${COUNT}`).test(await told.textContent()));
  await look('first-sync');
  await sim('POST', 'held/midst', {});
  await sim('DELETE', 'rules');
  await page.getByText('In step', { exact: true }).last().waitFor();
  await page.locator('progress').waitFor({ state: 'detached' });
});

// Issue 5: the log with each run's events
await step('the log tells what each pass did with which events', async () => {
  await go('/log');
  await page.getByRole('heading', { name: 'Sync log' }).waitFor();
  await look('log');
  await page.getByRole('listitem').filter({ hasText: `Here: ${COUNT} new` }).getByRole('link').first().click();
  await page.getByRole('heading', { name: /^Written here/ }).waitFor();
  assert.equal(await page.locator('.lines li').count(), COUNT);
  await page.getByText('Number 7', { exact: true }).waitFor();
  await look('log-run');
  // What cannot be carried is named, and why.
  await sim('POST', 'rules', { method: 'PUT', path: '*/many/*', times: 1, fault: 'status', code: 403, text: 'Not on a Tuesday' });
  const list = (await dav('PROPFIND', '', undefined, { depth: '1' })).text;
  const names = [...new Set([...list.matchAll(/\/dav\/calendars\/anna\/([^/<]+)\//g)].map((found) => found[1]))];
  let mine;
  for (const name of names) if ((await dav('GET', `${name}/many-7.ics`)).status === 200) mine = name;
  assert.ok(mine);
  assert.ok((await dav('PUT', `${mine}/many-7.ics`, event('many-7', 'Number seven', `${stamp(tuesday)}T130000`))).status < 300);
  await until('the failure in the log', async () => { await go('/log'); return page.getByText('1 not carried').first().isVisible(); });
  await page.getByRole('listitem').filter({ hasText: '1 not carried' }).getByRole('link').first().click();
  const failed = page.locator('section', { hasText: 'Could not be carried' });
  await failed.getByText('Number seven').waitFor();
  assert.ok((await failed.locator('.reason').textContent()).length > 5);
  await look('log-failed');
  await sim('DELETE', 'rules');
  await go('/log');
  const one = await page.locator('#of option', { hasText: 'many' }).first().getAttribute('value');
  await page.locator('#of').selectOption(one);
  await button('Show').click();
  await page.getByRole('listitem').first().waitFor();
  assert.equal(await page.getByRole('listitem').filter({ hasText: 'many' }).count(), await page.locator('.rows > li').count());
});
