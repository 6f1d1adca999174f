// Google's own kit for Node on the simulated Google. KALENDS_SIM is its address; it was started with --control.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { google } from 'googleapis';
import { act, steps } from '../steps.mjs';

const SIM = process.env.KALENDS_SIM.replace(/\/$/, '');
const { step, done } = steps('google-node');

async function refused(status, message, promise) {
  const error = await promise.then(() => assert.fail(`not refused with ${status}`), (error) => error);
  assert.equal(Number(error.status ?? error.code), status, `${error}`);
  assert.match(error.message, message);
}

const client = () =>
  new google.auth.OAuth2({
    clientId: 'kalends',
    clientSecret: 'secret',
    redirectUri: 'http://127.0.0.1:9/back',
    forceRefreshOnFailure: true, // else it trusts the time that the token was given
    endpoints: {
      oauth2AuthBaseUrl: `${SIM}/o/oauth2/v2/auth`,
      oauth2TokenUrl: `${SIM}/token`,
      oauth2RevokeUrl: `${SIM}/revoke`,
      tokenInfoUrl: `${SIM}/tokeninfo`,
    },
  });
const auth = client();

const signedIn = await step('the person consents, the code becomes tokens (PKCE)', async () => {
  const codeVerifier = randomBytes(48).toString('base64url');
  const url = auth.generateAuthUrl({
    access_type: 'offline',
    prompt: 'consent',
    state: 'the state',
    scope: ['https://www.googleapis.com/auth/calendar', 'https://www.googleapis.com/auth/userinfo.email'],
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const consent = await fetch(url, { redirect: 'manual' });
  const back = new URL(consent.headers.get('location'));
  assert.equal(back.searchParams.get('state'), 'the state');
  const { tokens } = await auth.getToken({ code: back.searchParams.get('code'), codeVerifier });
  assert.ok(tokens.refresh_token && tokens.expiry_date > Date.now());
  auth.setCredentials(tokens);
  assert.equal((await auth.getTokenInfo(tokens.access_token)).aud, 'kalends');
  return true;
});

const calendar = google.calendar({ version: 'v3', auth, rootUrl: `${SIM}/` });
const calendarId = 'primary';
const moment = (day, hour) => ({ dateTime: `${day}T${hour}:00:00`, timeZone: 'Europe/Zurich' });
const body = (more = {}) => ({ summary: 'Tea', start: moment('2026-03-02', '09'), end: moment('2026-03-02', '10'), ...more });

if (signedIn) {
  await step('calendars and colours are listed', async () => {
    const { data } = await calendar.calendarList.list();
    assert.ok(data.items.some((entry) => entry.primary) && data.nextSyncToken);
    assert.equal((await calendar.colors.get()).data.event['1'].background, '#a4bdfc');
  });

  await step('events are made, patched, updated and deleted, each with If-Match', async () => {
    const { data: made } = await calendar.events.insert({ calendarId, requestBody: body({ id: 'node0001', description: 'Grüße' }) });
    assert.equal(made.description, 'Grüße');
    const at = { calendarId, eventId: made.id };
    const match = (etag) => ({ headers: { 'If-Match': etag } });
    await refused(409, /already exists/, calendar.events.insert({ calendarId, requestBody: body({ id: 'node0001' }) }));
    const { data: patched } = await calendar.events.patch({ ...at, requestBody: { location: 'Hut' } }, match(made.etag));
    await refused(412, /Precondition/, calendar.events.patch({ ...at, requestBody: { location: 'x' } }, match(made.etag)));
    const { data: updated } = await calendar.events.update({ ...at, requestBody: { ...patched, summary: 'Coffee' } }, match(patched.etag));
    assert.deepEqual([updated.summary, updated.location], ['Coffee', 'Hut']);
    assert.deepEqual((await calendar.events.get(at)).data, updated);
    assert.equal((await calendar.events.delete(at, match(updated.etag))).status, 204);
    await refused(410, /deleted/, calendar.events.delete(at));
    await refused(404, /Not Found/, calendar.events.get({ calendarId, eventId: 'neverwas' }));
  });

  await step('pages, a cursor, its end with 410', async () => {
    for (let number = 0; number < 5; number += 1) {
      await calendar.events.insert({ calendarId, requestBody: body({ id: `noder${number}` }) });
    }
    const seen = [];
    let pageToken;
    let data;
    do {
      ({ data } = await calendar.events.list({ calendarId, maxResults: 2, pageToken, eventTypes: ['default', 'focusTime'] }));
      seen.push(...data.items.map((event) => event.id));
      pageToken = data.nextPageToken;
    } while (pageToken);
    assert.equal(new Set(seen).size, 5);
    const syncToken = data.nextSyncToken;
    await calendar.events.delete({ calendarId, eventId: 'noder1' });
    const same = { calendarId, maxResults: 2, eventTypes: ['default', 'focusTime'], syncToken };
    const changed = await calendar.events.list(same);
    assert.deepEqual(changed.data.items.map((event) => [event.id, event.status]), [['noder1', 'cancelled']]);
    await act('expire_cursor');
    await refused(410, /full sync is required/, calendar.events.list(same));
  });

  await step('a series with an exception and a cancelled instance', async () => {
    const requestBody = body({ id: 'nodes1', recurrence: ['RRULE:FREQ=DAILY;COUNT=4'] });
    await calendar.events.insert({ calendarId, requestBody });
    const { data } = await calendar.events.instances({ calendarId, eventId: 'nodes1' });
    assert.equal(data.items.length, 4);
    await calendar.events.patch({ calendarId, eventId: data.items[1].id, requestBody: { summary: 'moved' } });
    await calendar.events.delete({ calendarId, eventId: data.items[2].id });
    const listed = await calendar.events.list({ calendarId, singleEvents: true, orderBy: 'startTime', timeMin: '2026-03-02T08:30:00Z' });
    const titles = listed.data.items.filter((event) => event.recurringEventId).map((event) => event.summary);
    assert.deepEqual(titles, ['Tea', 'moved', 'Tea']);
  });

  await step('a channel is opened and stopped', async () => {
    const requestBody = { id: 'node-channel', type: 'web_hook', address: 'http://127.0.0.1:9/hook', token: 't' };
    const { data } = await calendar.events.watch({ calendarId, requestBody });
    assert.equal(data.kind, 'api#channel');
    const stop = { requestBody: { id: data.id, resourceId: data.resourceId } };
    assert.equal((await calendar.channels.stop(stop)).status, 204);
    await refused(404, /not found/, calendar.channels.stop(stop));
  });

  await step('busy times are told', async () => {
    const requestBody = { timeMin: '2026-03-02T00:00:00Z', timeMax: '2026-03-03T00:00:00Z', items: [{ id: 'primary' }] };
    const { data } = await calendar.freebusy.query({ requestBody });
    assert.equal(data.calendars.primary.busy.length, 1);
  });

  await step('401 leads to a refresh, a revoked consent to an error', async () => {
    const before = auth.credentials.access_token;
    await act('expire_access');
    await calendar.events.list({ calendarId });
    assert.notEqual(auth.credentials.access_token, before);
    await auth.revokeToken(auth.credentials.refresh_token);
    await refused(400, /invalid_grant/, calendar.events.list({ calendarId }));
  });
}

done();
