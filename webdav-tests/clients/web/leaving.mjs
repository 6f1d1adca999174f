// Accounts that are disconnected.
import { button, go, page, step, until } from './browser.mjs';

// S3-116
await step('an account is disconnected after a question', async () => {
  await go('/connections');
  await page.getByRole('link', { name: 'demo' }).first().click();
  await page.getByText('Disconnect this account').click();
  await button('Disconnect').click();
  await until('it is gone', async () => (await page.getByRole('link', { name: 'demo', exact: true }).count()) === 0);
});
