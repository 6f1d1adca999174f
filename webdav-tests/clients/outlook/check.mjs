// Microsoft's own kit for Node on the simulated Outlook, over TLS: with plain HTTP it sends no token. KALENDS_SIM is the simulator's
// address, KALENDS_SIM_TLS the same over TLS; it was started with --control.
import assert from 'node:assert/strict';
import kit from '@microsoft/microsoft-graph-client';
import { act, sim, steps } from '../steps.mjs';

const { Client, PageIterator, BatchRequestContent, BatchResponseContent } = kit;
const TLS = process.env.KALENDS_SIM_TLS.replace(/\/$/, '');
const IMMUTABLE = 'IdType="ImmutableId"';
const { step, done } = steps('outlook-node');

async function refused(status, code, promise) {
  const error = await promise.then(() => assert.fail(`not refused with ${status}`), (error) => error);
  assert.equal(error.statusCode, status, `${error}`);
  assert.equal(error.code, code);
  assert.ok(error.requestId && error.message, 'what the kit reads of the body');
}

const connect = (hosts) =>
  Client.initWithMiddleware({
    baseUrl: `${TLS}/`,
    customHosts: new Set(hosts),
    defaultVersion: 'v1.0',
    authProvider: { getAccessToken: async () => 'tok' },
  });

const at = (date, hour) => ({ dateTime: `${date}T${String(hour).padStart(2, '0')}:00:00`, timeZone: 'Europe/Berlin' });
const event = (subject, date, more = {}) => ({ subject, start: at(date, 10), end: at(date, 11), ...more });

await act('own', { name: 'accept_token', with: { token: 'tok' } });
const client = connect(['localhost']);
const ours = (path) => client.api(path).header('Prefer', IMMUTABLE);

await step('a host that is not named gets no token, and the call is refused', () =>
  refused(401, 'InvalidAuthenticationToken', connect(['example.org']).api('/me').get()));

const calendar = await step('calendars', async () => {
  const made = await client.api('/me/calendars').post({ name: 'Work' });
  const listed = await client.api('/me/calendars').get();
  assert.deepEqual(listed.value.map((one) => one.name), ['Calendar', 'Work']);
  await refused(409, 'ErrorFolderExists', client.api('/me/calendars').post({ name: 'Work' }));
  return `/me/calendars/${encodeURIComponent(made.id)}`;
});

const one = await step('an event is made, changed and kept with If-Match', async () => {
  const made = await ours(`${calendar}/events`).post(event('A', '2026-03-02'));
  const path = `/me/events/${encodeURIComponent(made.id)}`;
  const changed = await ours(path).header('If-Match', made['@odata.etag']).patch({ subject: 'B' });
  assert.equal(changed.subject, 'B');
  await refused(412, 'ErrorIrresolvableConflict', ours(path).header('If-Match', made['@odata.etag']).patch({ subject: 'C' }));
  await refused(400, 'RequestBodyRead', ours(path).patch({ summary: 'C' }));
  await refused(400, 'RequestBodyRead', ours(path).patch({ showAs: 'opaque' }));
  return path;
});

const series = await step('a series with an exception and a gap', async () => {
  const recurrence = {
    pattern: { type: 'weekly', interval: 1, daysOfWeek: ['monday'], firstDayOfWeek: 'monday' },
    range: { type: 'endDate', startDate: '2026-03-16', endDate: '2026-04-06' },
  };
  const master = await ours(`${calendar}/events`).post(event('S', '2026-03-16', { recurrence }));
  const path = `/me/events/${encodeURIComponent(master.id)}`;
  const span = { startDateTime: '2026-01-01T00:00:00Z', endDateTime: '2027-01-01T00:00:00Z' };
  const instances = await ours(`${path}/instances`).query(span).select('id,start').get();
  assert.deepEqual(instances.value.map((one) => one.start.dateTime.slice(0, 13)), ['2026-03-16T09', '2026-03-23T09', '2026-03-30T08', '2026-04-06T08']);
  const second = `/me/events/${encodeURIComponent(instances.value[1].id)}`;
  assert.equal((await ours(second).patch({ subject: 'X' })).type, 'exception');
  await ours(`/me/events/${encodeURIComponent(instances.value[2].id)}`).delete();
  const whole = await ours(path).select('cancelledOccurrences,exceptionOccurrences').expand('exceptionOccurrences').get();
  assert.deepEqual(whole.exceptionOccurrences.map((one) => one.subject), ['X']);
  assert.equal(whole.cancelledOccurrences.length, 1);
  return path;
});

async function round(link) {
  const options = { headers: { Prefer: `${IMMUTABLE}, odata.maxpagesize=2` } };
  const rows = [];
  const first = await client.api(link).headers(options.headers).get();
  const pages = new PageIterator(client, first, (row) => rows.push(row) > 0, options);
  await pages.iterate();
  return [rows, pages.getDeltaLink()];
}

await step('rounds of a delta, page by page', async () => {
  const window = 'startDateTime=2026-01-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z';
  const [all, link] = await round(`${calendar}/calendarView/delta?${window}`);
  assert.deepEqual(all.map((row) => row.type).sort(), ['exception', 'occurrence', 'occurrence', 'seriesMaster', 'singleInstance']);
  await ours(one).delete();
  await ours(series).patch({ subject: 'T' });
  const [changed] = await round(link);
  assert.deepEqual(changed.filter((row) => row['@removed']).map((row) => row['@removed'].reason), ['deleted']);
  assert.ok(changed.some((row) => row.type === 'seriesMaster' && row.subject === 'T'));
  await act('expire_cursor');
  await refused(410, 'syncStateNotFound', client.api(link).get());
});

await step('429 with Retry-After is tried again by the kit', async () => {
  await sim('DELETE', 'requests');
  await sim('POST', 'rules', { method: 'GET', path: '/v1.0/me', fault: 'throttle', retry_after: 1 });
  await client.api('/me').get();
  const { requests } = await sim('GET', 'requests');
  assert.deepEqual(requests.map((entry) => entry.status), [429, 200]);
});

await step('a batch', async () => {
  const post = new Request(`${TLS}/me/events`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(event('In a batch', '2026-04-01')),
  });
  const content = new BatchRequestContent([
    { id: '1', request: post },
    { id: '2', request: new Request(`${TLS}/me/events`), dependsOn: ['1'] },
    { id: '3', request: new Request(`${TLS}/me/nothing`), dependsOn: ['1'] },
  ]);
  const answers = new BatchResponseContent(await client.api('/$batch').post(await content.getContent()));
  assert.deepEqual(['1', '2', '3'].map((id) => answers.getResponseById(id).status), [201, 200, 404]);
  assert.equal((await answers.getResponseById('2').json()).value.length, 1);
});

done();
