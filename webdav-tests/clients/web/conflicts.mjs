// Conflicts: seen, decided, undone.
import assert from 'node:assert/strict';
import { base, button, dav, event, everything, far, go, look, page, seen, stamp, step, tuesday, until } from './browser.mjs';

// S2-081, S3-124, S3-126: both versions side by side, the list and its table
await step('a conflict is decided on the page, and undone', async () => {
  const list = (await dav('PROPFIND', '', undefined, { depth: '1' })).text;
  const names = [...list.matchAll(/\/dav\/calendars\/anna\/([^/<]+)\//g)].map((found) => found[1]);
  let mine;
  for (const name of new Set(names)) {
    const found = (await everything(name)).includes('From afar');
    if (found) mine = name;
  }
  assert.ok(mine, 'the mirrored calendar');
  const members = (await dav('PROPFIND', `${mine}/`, undefined, { depth: '1' })).text;
  const object = members.match(new RegExp(`/dav/calendars/anna/${mine}/([^<]+\\.ics)`))[1];
  const ours = (await dav('GET', `${mine}/${object}`)).text.replace('SUMMARY:From afar', 'SUMMARY:Ours');
  const theirs = (await far('GET', 'far.ics')).text.replace('SUMMARY:From afar', 'SUMMARY:Theirs');
  assert.ok((await far('PUT', 'far.ics', theirs)).status < 300);
  assert.ok((await dav('PUT', `${mine}/${object}`, ours)).status < 300);
  await go('/mappings');
  await button('Sync now').click();
  await until('a conflict', async () => { await go('/conflicts'); return (await page.getByRole('link', { name: 'Decide' }).count()) > 0; });
  await look('conflicts');
  await page.getByRole('link', { name: 'Decide' }).click();
  await page.getByRole('row', { name: /Title/ }).waitFor();
  await look('conflict');
  await button('Keep theirs').click();
  await page.getByText('Theirs was kept').first().waitFor();
  await until('theirs over CalDAV', async () => (await dav('GET', `${mine}/${object}`)).text.includes('SUMMARY:Theirs'));
  await button('Bring back the version that lost').click();
  await until('ours over CalDAV', async () => (await dav('GET', `${mine}/${object}`)).text.includes('SUMMARY:Ours'));
  const table = await page.evaluate(async (at) => (await fetch(at)).text(), `${base}/conflicts/table.csv`);
  assert.match(table, /Ours|Theirs|From afar/);
});

// S3-124: field by field, with a note; the history by filter, as a table too
await step('two fields are put together, one from each side, as CalDAV clients see; the list is filtered', async () => {
  const both = (title, place) => event('mixed', title, `${stamp(tuesday)}T180000`, `LOCATION:${place}\r\n`);
  assert.ok((await far('PUT', 'mixed.ics', both('Mixed', 'Anywhere'))).status < 300);
  const sync = async () => { await go('/mappings'); await button('Sync now').first().click(); };
  await sync();
  const found = await until('the event here', () => seen('mixed')[0]);
  const at = `${found.calendar}/mixed.ics`;
  const mine = (await dav('GET', at)).text.replace('SUMMARY:Mixed', 'SUMMARY:Mine').replace('LOCATION:Anywhere', 'LOCATION:My place');
  assert.ok((await far('PUT', 'mixed.ics', both('Yours', 'Your place'))).status < 300);
  assert.ok((await dav('PUT', at, mine)).status < 300);
  await sync();
  await until('a conflict', async () => { await go('/conflicts?status=pending'); return (await page.getByRole('link', { name: 'Decide' }).count()) > 0; });
  await page.getByRole('listitem').filter({ hasText: /Mine|Mixed|Yours/ }).getByRole('link', { name: 'Decide' }).click();
  assert.equal(await page.locator('tr.differs').count(), 2);
  await page.getByRole('row', { name: /^Title/ }).getByRole('radio', { name: /Yours/ }).check();
  await page.getByRole('row', { name: /^Place/ }).getByRole('radio', { name: /My place/ }).check();
  await page.getByLabel('A note, if you like').fill('Theirs is the better title');
  await look('conflict-fields');
  await button('Put together as chosen').click();
  await page.getByRole('heading', { name: 'What was decided' }).waitFor();
  await page.getByText('Theirs is the better title').waitFor();
  const merged = (text) => text.includes('SUMMARY:Yours') && text.includes('LOCATION:My place');
  await until('both here', async () => merged((await dav('GET', at)).text));
  await until('both there', async () => merged((await far('GET', 'mixed.ics')).text));
  assert.equal(seen('mixed')[0].title, 'Yours');
  await go('/conflicts');
  await page.getByLabel('Status').selectOption('merged');
  await button('Show').click();
  await page.getByRole('link', { name: /Mine|Yours|Mixed/ }).waitFor();
  assert.equal(await page.locator('.rows li').count(), 1);
  await look('conflicts-history');
  const table = await page.evaluate(async (link) => (await fetch(link)).text(), await page.getByRole('link', { name: 'As a table' }).or(page.locator('a[download]')).first().getAttribute('href'));
  assert.equal(table.trim().split('\r\n').length, 2, table);
  await page.getByLabel('Status').selectOption('ignored');
  await button('Show').click();
  await page.getByText('No conflict is like that').waitFor();
});
