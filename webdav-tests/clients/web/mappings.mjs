// Mappings: their settings, resting and going on.
import assert from 'node:assert/strict';
import { button, go, look, page, step } from './browser.mjs';

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
  // It is marked, says so, and stays where it is.
  assert.equal(await mirrored.locator('svg use[href$="#lock"]').count(), 1);
  assert.doesNotMatch(await mirrored.getAttribute('class'), /fc-event-draggable|fc-event-resizable/);
  await mirrored.hover();
  await page.locator('#tip').getByText('it is changed where it came from').waitFor();
  await look('calendar-mirrored');
  await mirrored.click();
  await page.locator('dialog').getByText('it is changed where it came from').waitFor();
  assert.equal(await button('Save').count(), 0);
  await page.keyboard.press('Escape');
});
