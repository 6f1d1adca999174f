// The pages in a real browser, topic after topic on one server. What a topic needs, the ones before it have made; each file says its own.
// KALENDS_TOPICS=calendar,conflicts runs these alone, after `entering`.
import { failing, finish, go, page, step } from './browser.mjs';

const topics = ['entering', 'calendar', 'accounts', 'conflicts', 'mappings', 'log', 'settings', 'connecting', 'devices', 'sharing', 'trash', 'webhooks', 'bookings', 'administration', 'leaving'];
const wanted = process.env.KALENDS_TOPICS?.split(',');
for (const topic of topics.filter((name) => !wanted || name === 'entering' || wanted.includes(name))) {
  console.log(`# ${topic}`);
  await import(`./${topic}.mjs`);
}

await step('a page that is not there says so', async () => {
  await failing([404], () => go('/connections/none'));
  await page.getByRole('heading', { name: 'Nothing here' }).waitFor();
});

await finish();
