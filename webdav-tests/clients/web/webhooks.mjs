// A program that is told of what happens: a receiver of this script.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { button, dav, event, failing, go, look, page, stamp, step, tuesday, until } from './browser.mjs';

const got = [];
let status = 204;
const receiver = createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  got.push({ headers: request.headers, body: JSON.parse(Buffer.concat(pieces)) });
  response.writeHead(status).end(status === 204 ? undefined : 'not <b>now</b>');
});
await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${receiver.address().port}/in`;

await step('a webhook is made, its secret shown once', async () => {
  await go('/webhooks');
  await page.getByRole('heading', { name: 'No program is told of anything' }).waitFor();
  await look('webhooks-empty');
  await page.getByRole('link', { name: 'New webhook' }).click();
  await page.getByLabel('Address').fill(url);
  await page.getByLabel('What is it?').fill('The shop');
  await page.getByRole('group', { name: 'What is told' }).getByRole('radio', { name: /^Only these/ }).check();
  await failing([422], async () => {
    await button('Make the webhook').click();
    await page.getByText('Choose at least one, or everything.').waitFor();
  });
  assert.equal(await page.getByLabel('Address').inputValue(), url);
  for (const kind of ['event.created', 'event.updated', 'event.deleted']) await page.locator(`input[value="${kind}"]`).check();
  await look('webhook-new');
  await button('Make the webhook').dblclick();
  const secret = await page.locator('.secret').textContent();
  assert.match(secret, /^whsec_/);
  await look('webhook-secret');
  await page.getByRole('link', { name: 'To the webhook' }).click();
  await page.getByRole('heading', { name: 'The shop' }).waitFor();
  assert.ok(!(await page.content()).includes(secret));
});

await step('a test is sent and its answer shown', async () => {
  await button('Send a test').click();
  await page.getByText('The receiver took it: 204').waitFor();
  assert.equal(got.at(-1).body.type, 'webhook.test');
  status = 503;
  await button('Send a test').click();
  await page.getByText('not <b>now</b>').waitFor();
});

await step('a message that is refused is seen with its answer and the next try, and goes out when it is resumed', async () => {
  assert.equal((await dav('PUT', 'calendar/told.ics', event('told', 'Told', `${stamp(tuesday)}T190000`))).status, 201);
  await page.locator('#log').getByText('503').waitFor();
  await go(new URL(page.url()).pathname);
  await page.getByText('Tries again').waitFor();
  await look('webhook');
  await button('Pause').click();
  await page.getByText('when it goes on').waitFor();
  status = 204;
  await button('Go on').click();
  await page.locator('#log').getByText('Taken').waitFor();
  await page.locator('#log a').first().click();
  await page.getByRole('heading', { name: 'What was tried' }).waitFor();
  await look('webhook-delivery');
  const id = await page.locator('dd code').first().textContent();
  const sent = () => got.filter((one) => one.headers['webhook-id'] === id).length;
  const before = sent();
  await button('Send again').click();
  await until('sent again', () => sent() > before);
});

await step('another secret: both sign for a while; then its end', async () => {
  await page.getByRole('link', { name: 'The shop' }).click();
  await page.locator('summary', { hasText: 'Another secret' }).click();
  await button('Make another secret').click();
  await page.getByText('Until then the old secret signs too').waitFor();
  await page.getByRole('link', { name: 'To the webhook' }).click();
  await page.getByText('Two secrets sign until').waitFor();
  assert.equal((await dav('DELETE', 'calendar/told.ics')).status, 204);
  await until('a message with two signatures', () => got.some((one) => one.headers['webhook-signature'].split(' ').length === 2));
  await go('/webhooks');
  await look('webhooks');
  await page.getByRole('link', { name: 'The shop' }).click();
  await page.locator('summary', { hasText: 'End the webhook' }).click();
  await button('End it').click();
  await page.getByRole('heading', { name: 'No program is told of anything' }).waitFor();
});

receiver.close();
receiver.closeAllConnections();
