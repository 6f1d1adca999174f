// The settings of a mapping: rules, filters, windows; what is wrong stands at its field, what was typed stays.
import assert from 'node:assert/strict';
import { button, failing, go, look, page, step } from './browser.mjs';

await step('rules and filters are added, refused at their fields, kept, and taken away by keyboard', async () => {
  await go('/mappings');
  await page.locator('#rows a').first().click();
  await button('Add a rule').focus();
  await page.keyboard.press('Enter');
  const rule = page.getByRole('group', { name: 'Rule 1' });
  await rule.getByLabel('Its title holds').fill('<b>Board</b>');
  await button('Add a filter').click();
  const filter = page.getByRole('group', { name: 'Filter 1' });
  await filter.getByLabel('It is private').selectOption('Yes');
  await filter.getByLabel('Then it is').selectOption('Left alone');
  assert.equal(await rule.getByLabel('Its title holds').inputValue(), '<b>Board</b>', 'another row keeps what was typed');
  await failing([422], async () => {
    await button('Save').click();
    await page.locator('#h-rules-0-policy').waitFor();
  });
  assert.equal(await rule.getByLabel('Its title holds').inputValue(), '<b>Board</b>');
  await look('mapping-rules');
  await rule.getByLabel('Then wins').selectOption('Ask me');
  await rule.getByLabel('It begins').selectOption('Within a day');
  await page.getByLabel('How far back').selectOption('90 days');
  await button('Save').click();
  await page.waitForFunction(() => document.querySelector('#f-rules-0-policy')?.value === 'ask' && !document.querySelector('.why, .note.bad'));
  assert.equal(await rule.getByLabel('It begins').inputValue(), 'PT86400S');
  assert.equal(await page.getByLabel('How far back').inputValue(), 'P90D');
  await button('Take away rule 1').click();
  await page.waitForFunction(() => !document.querySelector('#f-rules-0-policy'));
  await button('Save').click();
  await page.waitForFunction(() => document.querySelector('#f-filters-0-action')?.value === 'exclude' && !document.querySelector('#f-rules-0-policy, .why, .note.bad'));
});
