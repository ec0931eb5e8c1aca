// The lock of redlock for Node.js, as `main.rs` measures others.
//
//     npm install redlock@4.2.0 ioredis@5.8.2 && node redlock.mjs redis://localhost

import { setTimeout as sleep } from "node:timers/promises";
import Redis from "ioredis";
import Redlock from "redlock";

const [url, seconds, work] = [process.argv[2], 5, 2];

function client() {
  const redis = new Redis(url);
  return { redis, lock: new Redlock([redis], { retryCount: -1 }) };
}

async function pairs() {
  const { redis, lock } = client();
  const end = performance.now() + 1000 * seconds;
  let times = 0;
  for (; performance.now() < end; times++) {
    await (await lock.lock("peer-pair", 60_000)).unlock();
  }
  redis.disconnect();
  return times / seconds;
}

async function handOffs(waiters) {
  const [took, end] = [[], performance.now() + 1000 * seconds];
  let released;
  async function turns() {
    const { redis, lock } = client();
    while (performance.now() < end) {
      const held = await lock.lock("peer-turn", 60_000);
      if (released !== undefined) took.push(performance.now() - released);
      released = undefined;
      await sleep(work);
      released = performance.now();
      await held.unlock();
      while (released !== undefined && performance.now() < end) await sleep(1);
    }
    redis.disconnect();
  }
  await Promise.all(Array.from({ length: waiters + 1 }, turns));
  return took.sort((a, b) => a - b)[took.length >> 1];
}

console.log(`1 client: ${(await pairs()).toFixed(0)} pairs/s`);
for (const waiters of [2, 16]) {
  console.log(`hand-off, ${waiters} waiters: ${(await handOffs(waiters)).toFixed(1)} ms`);
}
