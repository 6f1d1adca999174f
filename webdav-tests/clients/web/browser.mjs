// What the topics share: the browser and its complaints, steps, pictures, what keeps people out, and what CalDAV clients see.
// KALENDS_SETUP is the link, KALENDS_SIM_… are far sides, KALENDS_SHOTS is where pictures go. With KALENDS_DEMO it is a demo at that address.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { steps } from '../steps.mjs';

const env = process.env;
// This script and the browser are in one zone.
env.TZ = 'Europe/Berlin';
export const link = env.KALENDS_SETUP;
export const base = env.KALENDS_DEMO ?? link.slice(0, link.indexOf('/setup?'));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = env.KALENDS_SHOTS;
mkdirSync(shots, { recursive: true });
const { step: told, done } = steps(env.KALENDS_DEMO ? 'web-demo' : 'web');
export const USER = env.KALENDS_DEMO ? 'demo' : 'anna';
export const PASSWORD = env.KALENDS_DEMO ? 'demo' : 'a few words of mine';
const profile = mkdtempSync(join(tmpdir(), 'kalends-browser-'));
export const context = await chromium.launchPersistentContext(profile, {
  executablePath: env.KALENDS_CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  viewport: { width: 1280, height: 860 },
  timezoneId: 'Europe/Berlin',
  locale: 'en-GB',
  bypassCSP: false,
});
context.setDefaultTimeout(30000);
export const page = context.pages()[0] ?? (await context.newPage());

// No console errors, and nothing is asked of any other host than this one.
const complaints = [];
let expected = [];
const away = [];
const sims = Object.keys(env).filter((name) => name.startsWith('KALENDS_SIM_')).map((name) => env[name]);
const here = new Set([base, ...sims].map((url) => new URL(url).hostname));
/** Hears what another page than the first complains of. */
export const heed = (one) => {
  one.on('console', (message) => {
    if (message.type() !== 'error') return;
    if (expected.some((status) => message.text().includes(`status of ${status}`))) return;
    complaints.push(`${one.url()}: ${message.text()}`);
  });
  one.on('pageerror', (error) => complaints.push(`${one.url()}: ${error.stack ?? error}`));
};
heed(page);
/** Notes what a browser asks of others. */
const watch = (one) => one.on('request', (request) => {
  const url = new URL(request.url());
  if (['http:', 'https:'].includes(url.protocol) && !here.has(url.hostname)) away.push(request.url());
});
watch(context);
/** What is refused on purpose is no complaint. */
export const failing = async (statuses, action) => {
  expected = statuses;
  try { return await action(); } finally { expected = []; }
};

/** A step; how the page looked when it failed is kept among the pictures. */
export const step = (title, action) => told(title, async () => {
  try { return await action(); } catch (error) {
    await page.screenshot({ path: join(shots, `failed-${title.replace(/\W+/g, '-').slice(0, 60)}.png`) }).catch(() => {});
    throw error;
  }
});

/** The same person in another browser, elsewhere in the world. */
export const elsewhere = async (timezoneId, locale, action) => {
  const browser = await chromium.launch({ executablePath: env.KALENDS_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-quic'] });
  try {
    const other = await browser.newContext({ timezoneId, locale, storageState: await context.storageState(), viewport: { width: 1280, height: 860 } });
    other.setDefaultTimeout(30000);
    watch(other);
    const there = await other.newPage();
    heed(there);
    return await action(there, other);
  } finally { await browser.close(); }
};
/** Where something is on the screen; it may be drawn anew just now. */
export const place = (one) => until('its place', () => one.boundingBox());
/** Moves the mouse with its button down, as people do. */
export const drag = async (from, to) => {
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move((from.x + to.x) / 2, (from.y + to.y) / 2, { steps: 6 });
  await page.mouse.move(to.x, to.y, { steps: 8 });
  await page.mouse.up();
};
/** Nothing is asked any more: no dialogue is open. */
export const closed = () => page.waitForFunction(() => !document.querySelector('dialog[open]'));

/** What CalDAV clients see. */
export const dav = async (method, path, body, headers = {}) => {
  const authorization = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;
  const answer = await fetch(`${base}/dav/calendars/${USER}/${path}`, { method, body, headers: { authorization, 'content-type': 'text/calendar', ...headers } });
  return { status: answer.status, text: await answer.text() };
};
/** What programs say to the JSON API, with a token that is made when the first one is said. */
let token;
export const api = async (method, path, body, headers = {}) => {
  token ??= JSON.parse(execFileSync(env.KALENDS_BIN, ['token', 'add', USER, 'tests', '--json', '--scope', 'events', '--scope', 'bookings', '--scope', 'bridges'], { cwd: env.KALENDS_FOLDER, env: JSON.parse(env.KALENDS_SERVER), encoding: 'utf8' })).token;
  const answer = await fetch(`${base}/api/v1${path}`, { method, body: body && JSON.stringify(body), headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers } });
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : null };
};
/** The events of a UID as a client of python-caldav sees them. */
export const seen = (uid) => JSON.parse(execFileSync(env.KALENDS_PYTHON, [env.KALENDS_SEEN, `${base}/dav/`, USER, PASSWORD, uid], { encoding: 'utf8' }));
const query = '<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>';
export const everything = async (calendar = 'calendar') => (await dav('REPORT', `${calendar}/`, query, { depth: '1', 'content-type': 'application/xml' })).text;
/** Waits until `look` finds something. */
export const until = async (what, look) => {
  const end = Date.now() + 30000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
export const stamp = (at) => `${at.getFullYear()}${String(at.getMonth() + 1).padStart(2, '0')}${String(at.getDate()).padStart(2, '0')}`;
export const event = (uid, title, start, more = '') => `BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:${uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:${start}\r\nDURATION:PT1H\r\nSUMMARY:${title}\r\n${more}END:VEVENT\r\nEND:VCALENDAR\r\n`;

export const monday = new Date();
monday.setHours(12, 0, 0, 0);
monday.setDate(monday.getDate() - ((monday.getDay() + 6) % 7));
export const tuesday = new Date(+monday + 86400000);
export const iso = (at) => `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`;

const looks = [
  ['desktop', 'light', { width: 1280, height: 860 }],
  ['desktop', 'dark', { width: 1280, height: 860 }],
  ['phone', 'light', { width: 390, height: 844 }],
  ['phone', 'dark', { width: 390, height: 844 }],
];
/** Takes pictures of the page as it is, or loaded anew on each screen, looks for what keeps people out, and for a line that is wider than the screen. */
export const look = async (name, how) => {
  try {
    for (const [size, scheme, viewport] of looks) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme: scheme });
      if (how === 'anew') await Promise.all([page.waitForResponse((answer) => answer.url().includes('/calendar/events')), page.reload()]);
      await page.waitForTimeout(150);
      await page.screenshot({ path: join(shots, `${name}-${size}-${scheme}.png`), fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 1, `${name} is ${wide} px too wide on a ${size}`);
      // The scripts of a page may not evaluate; the browser's own tools may.
      await page.evaluate(axe);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
      const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
      const told = serious.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 3).join(' | ')}`);
      assert.deepEqual(told, [], `${name}, ${size}, ${scheme}`);
    }
  } finally {
    await page.setViewportSize({ width: 1280, height: 860 });
    await page.emulateMedia({ colorScheme: 'light' });
    if (how === 'anew') await page.reload();
  }
};
export const button = (name) => page.getByRole('button', { name, exact: true });
export const go = (path) => page.goto(`${base}${path}`);
export const loaded = () => page.waitForFunction(() => document.querySelector('#calendar .fc-view-harness'));

/** The simulated CalDAV server over there, and a request to it. */
export const sim = env.KALENDS_SIM_CALDAV;
export const far = async (method, name, body) => {
  const authorization = `Basic ${Buffer.from('demo:demo').toString('base64')}`;
  const answer = await fetch(`${sim}/dav/calendars/demo/calendar/${name}`, { method, body, headers: { authorization, 'content-type': 'text/calendar' } });
  return { status: answer.status, text: await answer.text() };
};

/** The last step: nothing was complained of, nothing was asked of others. */
export const finish = async () => {
  await step('no errors in the console, no request leaves this machine', async () => {
    assert.deepEqual(complaints, []);
    assert.deepEqual(away, []);
  });
  await context.close();
  rmSync(profile, { recursive: true, force: true });
  done();
};
