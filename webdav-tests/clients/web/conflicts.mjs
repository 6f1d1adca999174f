// Conflicts: seen, decided, undone.
import assert from 'node:assert/strict';
import { base, button, dav, everything, far, go, look, page, step, until } from './browser.mjs';

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
  await page.getByText('Theirs was kept').waitFor();
  await until('theirs over CalDAV', async () => (await dav('GET', `${mine}/${object}`)).text.includes('SUMMARY:Theirs'));
  await button('Bring back the version that lost').click();
  await until('ours over CalDAV', async () => (await dav('GET', `${mine}/${object}`)).text.includes('SUMMARY:Ours'));
  const table = await page.evaluate(async (at) => (await fetch(at)).text(), `${base}/conflicts/table.csv`);
  assert.match(table, /Ours|Theirs|From afar/);
});
