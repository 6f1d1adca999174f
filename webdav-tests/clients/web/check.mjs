// The pages in a real browser, as somebody sees them who installs the server: from the set-up link to two calendars in step.
// KALENDS_SETUP is the link, KALENDS_SIM_CALDAV and KALENDS_SIM_GOOGLE are far sides, KALENDS_SHOTS is where pictures go.
import assert from 'node:assert/strict';
import { readFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { steps } from '../steps.mjs';

const env = process.env;
// This script and the browser are in one zone.
env.TZ = 'Europe/Berlin';
const link = env.KALENDS_SETUP;
const base = link.slice(0, link.indexOf('/setup?'));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = env.KALENDS_SHOTS;
mkdirSync(shots, { recursive: true });
const { step, done } = steps('web');
const USER = 'anna';
const PASSWORD = 'a few words of mine';
const profile = mkdtempSync(join(tmpdir(), 'kalends-browser-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: env.KALENDS_CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  viewport: { width: 1280, height: 860 },
  timezoneId: 'Europe/Berlin',
  locale: 'en-GB',
  bypassCSP: false,
});
context.setDefaultTimeout(30000);
const page = context.pages()[0] ?? (await context.newPage());

// No console errors, and nothing is asked of any other host than this one.
const complaints = [];
let expected = [];
const away = [];
const here = new Set([base, env.KALENDS_SIM_CALDAV, env.KALENDS_SIM_GOOGLE].map((url) => new URL(url).hostname));
const heed = (one) => {
  one.on('console', (message) => {
    if (message.type() !== 'error') return;
    if (expected.some((status) => message.text().includes(`status of ${status}`))) return;
    complaints.push(`${one.url()}: ${message.text()}`);
  });
  one.on('pageerror', (error) => complaints.push(`${one.url()}: ${error.stack ?? error}`));
};
heed(page);
context.on('request', (request) => {
  const url = new URL(request.url());
  if (['http:', 'https:'].includes(url.protocol) && !here.has(url.hostname)) away.push(request.url());
});
const failing = async (statuses, action) => {
  expected = statuses;
  try { return await action(); } finally { expected = []; }
};

/** What CalDAV clients see. */
const dav = async (method, path, body, headers = {}) => {
  const authorization = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;
  const answer = await fetch(`${base}/dav/calendars/${USER}/${path}`, { method, body, headers: { authorization, 'content-type': 'text/calendar', ...headers } });
  return { status: answer.status, text: await answer.text() };
};
const query = '<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>';
const everything = async (calendar = 'calendar') => (await dav('REPORT', `${calendar}/`, query, { depth: '1', 'content-type': 'application/xml' })).text;
const until = async (what, look) => {
  const end = Date.now() + 30000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const stamp = (at) => `${at.getFullYear()}${String(at.getMonth() + 1).padStart(2, '0')}${String(at.getDate()).padStart(2, '0')}`;
const event = (uid, title, start, more = '') => `BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:${uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:${start}\r\nDURATION:PT1H\r\nSUMMARY:${title}\r\n${more}END:VEVENT\r\nEND:VCALENDAR\r\n`;

const monday = new Date();
monday.setHours(12, 0, 0, 0);
monday.setDate(monday.getDate() - ((monday.getDay() + 6) % 7));
const tuesday = new Date(+monday + 86400000);
const iso = (at) => `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`;

const looks = [
  ['desktop', 'light', { width: 1280, height: 860 }],
  ['desktop', 'dark', { width: 1280, height: 860 }],
  ['phone', 'light', { width: 390, height: 844 }],
  ['phone', 'dark', { width: 390, height: 844 }],
];
/** Takes pictures of the page as it is, looks for what keeps people out, and for a line that is wider than the screen. */
const look = async (name, inLooks = looks) => {
  for (const [size, scheme, viewport] of inLooks) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForTimeout(150);
    await page.screenshot({ path: join(shots, `${name}-${size}-${scheme}.png`) });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 1, `${name} is ${wide} px too wide on a ${size}`);
    // The scripts of a page may not evaluate; the browser's own tools may.
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
    const told = serious.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 3).join(' | ')}`);
    assert.deepEqual(told, [], `${name}, ${size}, ${scheme}`);
  }
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.emulateMedia({ colorScheme: 'light' });
};
const button = (name) => page.getByRole('button', { name, exact: true });
const go = (path) => page.goto(`${base}${path}`);
const loaded = () => page.waitForFunction(() => document.querySelector('#calendar .fc-view-harness'));

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

await step('an event is made on the page and seen over CalDAV; a wrong time is said at its field', async () => {
  await go('/');
  await loaded();
  await button('New event').click();
  await page.getByLabel('Title').fill('Coffee <script>alert(1)</script>');
  await page.getByLabel('Starts').fill(`${iso(monday)}T12:00`);
  await page.getByLabel('Ends').fill('2020-01-01T00:00');
  await failing([422], async () => {
    await button('Save').click();
    await page.getByText('It ends before it starts.').waitFor();
  });
  await look('event', [looks[0], looks[3]]);
  await page.getByLabel('Ends').fill(`${iso(monday)}T13:00`);
  await page.getByLabel('Title').fill('Coffee');
  await button('Save').click();
  await page.locator('.fc-event', { hasText: 'Coffee' }).first().waitFor();
  assert.match(await everything(), /SUMMARY:Coffee(&#13;)?\n/);
});

await step('what a phone writes appears without a reload, script in it is text', async () => {
  const text = event('drag', 'Drag me &lt;b&gt;', `${stamp(monday)}T100000`).replace('&lt;b&gt;', '<img src=x onerror=alert(1)>');
  assert.equal((await dav('PUT', 'calendar/drag.ics', text)).status, 201);
  await page.locator('.fc-event', { hasText: 'Drag me <img' }).waitFor();
});

await step('an event is dragged to another day, which a CalDAV client sees', async () => {
  const from = await page.locator('.fc-event', { hasText: 'Drag me' }).boundingBox();
  const columns = page.locator('.fc-timegrid-col.fc-day');
  const to = await columns.nth(1).boundingBox();
  await page.mouse.move(from.x + from.width / 2, from.y + 8);
  await page.mouse.down();
  await page.mouse.move(to.x + to.width / 2, from.y + 12, { steps: 12 });
  await page.mouse.up();
  await until('the drag over CalDAV', async () => (await dav('GET', 'calendar/drag.ics')).text.includes(`DTSTART;TZID=Europe/Berlin:${stamp(tuesday)}T100000`));
  assert.match((await dav('GET', 'calendar/drag.ics')).text, /DURATION:PT1H/);
});

await step('one of a series is changed, then all of them', async () => {
  const text = event('class', 'Class', `${stamp(monday)}T140000`, 'RRULE:FREQ=DAILY;COUNT=5\r\nX-MINE:kept\r\n');
  assert.equal((await dav('PUT', 'calendar/class.ics', text)).status, 201);
  await page.locator('.fc-event', { hasText: 'Class' }).nth(4).waitFor();
  await page.locator('.fc-event', { hasText: 'Class' }).nth(1).click();
  await page.getByLabel('Place').fill('Hall');
  await page.getByLabel('This one').check();
  await look('series', [looks[0], looks[2]]);
  await button('Save').click();
  await until('one of them', async () => (await dav('GET', 'calendar/class.ics')).text.includes('RECURRENCE-ID'));
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
  await page.locator('.fc-event', { hasText: 'Class' }).nth(3).click();
  await page.getByLabel('Title').fill('Lesson');
  await page.getByLabel('All of them').check();
  await button('Save').click();
  await until('all of them', async () => (await dav('GET', 'calendar/class.ics')).text.includes('SUMMARY:Lesson'));
  assert.match((await dav('GET', 'calendar/class.ics')).text, /X-MINE:kept/);
});

await step('month, day and agenda; the keyboard opens an event', async () => {
  for (const name of ['Month', 'Day', 'Agenda', 'Week']) {
    await page.getByRole('button', { name: new RegExp(`^${name}`) }).first().click();
    // A day may be empty.
    const shown = name === 'Day' ? '.fc-timeGridDay-view' : '.fc-event, .fc-list-event';
    await page.locator(shown).first().waitFor();
    if (name === 'Month') await look('calendar-month');
  }
  await look('calendar-week');
  await page.locator('.fc-event', { hasText: 'Drag me' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
});

await step('a calendar is made, gets a colour, can be hidden', async () => {
  await button('New calendar').click();
  await page.getByLabel('Name', { exact: true }).fill('Family');
  await button('Save').click();
  await page.getByRole('checkbox', { name: 'Family' }).waitFor();
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).uncheck();
  await page.locator('.fc-event', { hasText: 'Drag me' }).waitFor({ state: 'detached' });
  await page.getByRole('checkbox', { name: 'Calendar', exact: true }).check();
  await page.locator('.fc-event', { hasText: 'Drag me' }).first().waitFor();
});

await step('empty pages say what to do', async () => {
  for (const path of ['connections', 'mappings', 'conflicts', 'notifications']) {
    await go(`/${path}`);
    await look(`${path}-empty`, [looks[0], looks[3]]);
  }
});

const sim = env.KALENDS_SIM_CALDAV;
const far = async (method, name, body) => {
  const authorization = `Basic ${Buffer.from('demo:demo').toString('base64')}`;
  const answer = await fetch(`${sim}/dav/calendars/demo/calendar/${name}`, { method, body, headers: { authorization, 'content-type': 'text/calendar' } });
  return { status: answer.status, text: await answer.text() };
};

// S1-081, S2-078, S2-079: providers with their icons, then the calendars of the account
await step('a CalDAV account is connected; a wrong password is said, the address kept', async () => {
  assert.ok((await far('PUT', 'far.ics', event('far', 'From afar', `${stamp(tuesday)}T160000`))).status < 300);
  await go('/connect');
  assert.equal(await page.locator('a.tile svg').count(), 6);
  await look('connect');
  await page.getByRole('link', { name: /^CalDAV/ }).click();
  await page.getByLabel('Address').fill(sim);
  await page.getByLabel('User name').fill('demo');
  await page.getByLabel('Password').fill('wrong');
  await failing([422], async () => {
    await button('Connect').click();
    await page.getByRole('alert').or(page.locator('.why')).first().waitFor();
  });
  assert.equal(await page.getByLabel('Address').inputValue(), sim);
  await look('connect-caldav');
  await page.getByLabel('Password').fill('demo');
  await button('Connect').click();
  await page.getByRole('heading', { name: 'Calendars over there' }).waitFor();
  await look('connection');
});

// S1-080, S1-082..S1-086, S2-077, S2-080, S3-113, S3-114: the card; S4-037, S4-038, S4-044: the mapping and its dry run;
// S1-087..S1-089: what is mirrored has a badge, the colour of its calendar and a tooltip
await step('a dry run says what would happen, then two calendars are in step', async () => {
  await page.getByRole('link', { name: 'Keep in step' }).first().click();
  await button('Show what would happen').click();
  await page.getByRole('heading', { name: 'A first pass would' }).waitFor();
  await look('mapping-new');
  await page.getByText('More: what is carried').click();
  await page.getByRole('radio', { name: /^Ask me/ }).check();
  await page.locator('form#mapping button[type=submit]').click();
  await page.getByText('In step', { exact: true }).last().waitFor();
  await look('mapping');
  await go('/mappings');
  await page.locator('#rows').getByText('In step').waitFor();
  await look('mappings');
  await go('/connections');
  await page.getByText('In order').waitFor();
  const card = page.locator('article.card');
  assert.equal(await card.locator('h2 svg').count(), 1);
  assert.match(await card.textContent(), /demo@[\s\S]*CalDAV[\s\S]*Calendars in step\s*1[\s\S]*Last contact\s*\S/);
  await look('connections');
  await go('/');
  const mirrored = page.locator('.fc-event', { hasText: 'From afar' });
  await mirrored.first().waitFor();
  assert.match(await mirrored.first().getAttribute('title'), /From afar · .*demo@/);
  assert.equal(await mirrored.first().locator('svg').count(), 1);
  await mirrored.first().click();
  await page.getByText('demo').first().waitFor();
  await page.getByText('Where does it come from?').click();
  await page.locator('#why li').first().waitFor();
  await look('event-mirrored', [looks[0], looks[3]]);
  await page.keyboard.press('Escape');
});

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

// S1-090, E15, S4-045: what is only pulled is not to be changed here; settings are used at once. S4-039: a mapping rests and goes on
await step('a mapping is set to pull, rests and goes on; what it brings is not to be changed', async () => {
  await go('/mappings');
  await page.locator('#rows a').first().click();
  await button('Let it rest').click();
  await button('Go on').click();
  await page.getByRole('radio', { name: /^From there to here/ }).check();
  await button('Save').click();
  await page.waitForLoadState('load');
  assert.ok(await page.getByRole('radio', { name: /^From there to here/ }).isChecked());
  await go('/');
  const mirrored = page.locator('.fc-event', { hasText: /Ours|Theirs/ }).first();
  await mirrored.click();
  await page.getByText('it is changed where it came from').waitFor();
  assert.equal(await button('Save').count(), 0);
  await page.keyboard.press('Escape');
});

// S3-115, S4-040: the button leads to the consent
await step('Google is connected through its consent', async () => {
  await go('/connect/google');
  await look('connect-google', [looks[0], looks[3]]);
  await button('Go on').click();
  await look('consent', [looks[0], looks[3]]);
  await page.getByRole('link', { name: /Go on to Google/ }).click();
  await page.waitForURL((url) => url.pathname === '/connections' && url.searchParams.has('connected'));
  await page.getByText('anna@example.com').first().waitFor();
});

await step('notices are read', async () => {
  await go('/notifications');
  await look('notifications');
});

await step('a device gets a password of its own, a code and a profile that is given once', async () => {
  await go('/devices');
  await page.getByLabel('What is it?').fill('Phone');
  await button('Make a password').click();
  const password = await page.locator('.secret').textContent();
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

// S3-116
await step('an account is disconnected after a question', async () => {
  await go('/connections');
  await page.getByRole('link', { name: 'demo' }).first().click();
  await page.getByText('Disconnect this account').click();
  await button('Disconnect').click();
  await until('it is gone', async () => (await page.getByRole('link', { name: 'demo', exact: true }).count()) === 0);
});

await step('a page that is not there says so', async () => {
  await failing([404], () => go('/connections/none'));
  await page.getByRole('heading', { name: 'Nothing here' }).waitFor();
});

await step('no errors in the console, no request leaves this machine', async () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(away, []);
});

await context.close();
rmSync(profile, { recursive: true, force: true });
done();
