// What the scripts for Node share: steps that are told and counted, and a simulator that is told what to do.
import assert from 'node:assert/strict';

/** Steps of a script; `done` ends it. */
export function steps(name) {
  let passed = 0;
  let failed = 0;
  return {
    async step(title, action) {
      const begun = Date.now();
      try {
        const result = await action();
        passed += 1;
        console.log(`ok ${title} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
        return result;
      } catch (error) {
        failed += 1;
        console.log(`not ok ${title}: ${error.stack ?? error}`);
        return undefined;
      }
    },
    done() {
      console.log(`${name}: ${passed} passed, ${failed} failed`);
      process.exit(failed ? 1 : 0);
    },
  };
}

/** A request to the simulator's own paths; KALENDS_SIM is its address. */
export async function sim(method, path, body) {
  const answer = await fetch(`${process.env.KALENDS_SIM.replace(/\/$/, '')}/_sim/${path}`, {
    method,
    body: body && JSON.stringify(body),
    headers: { 'Content-Type': 'application/json' },
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

/** The simulated far side does something by itself. */
export const act = (name, more = {}) => sim('POST', 'act', { act: name, ...more });
