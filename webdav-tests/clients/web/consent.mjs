// An account that is connected by a consent over there.
import { button, go, look, page, step } from './browser.mjs';

// S3-115, S4-040: the button leads to the consent
await step('Google is connected through its consent', async () => {
  await go('/connect/google');
  await look('connect-google');
  await button('Go on').click();
  await look('consent');
  await page.getByRole('link', { name: /Go on to Google/ }).click();
  await page.waitForURL((url) => url.pathname === '/connections' && url.searchParams.has('connected'));
  await page.getByText('anna@example.com').first().waitFor();
});
