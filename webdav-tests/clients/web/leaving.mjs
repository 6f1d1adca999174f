// Accounts that are disconnected.
import { button, go, page, step, until } from './browser.mjs';

// S3-116
await step('an account is disconnected after a question', async () => {
  const card = page.locator('article.card').filter({ hasText: 'CalDAV' });
  await go('/connections');
  await card.getByRole('heading').getByRole('link').first().click();
  await page.getByText('Disconnect this account').click();
  await button('Disconnect').click();
  await until('it is gone', async () => (await card.count()) === 0);
});
