// Locks of redlock and redis-semaphore on three servers, as `quorum.rs` measures others.
//
//     npm install redlock@4.2.0 ioredis@5.8.2 redis-semaphore@5.8.0 && node quorum.mjs redis://localhost:7001 redis://localhost:7002 redis://localhost:7003

import { setTimeout as sleep } from "node:timers/promises";
import Redis from "ioredis";
import Redlock from "redlock";
import { RedlockMutex } from "redis-semaphore";

const [urls, seconds, hold, rounds] = [process.argv.slice(2), 3, 2, 200];

// Each answers a function that takes a lock, which answers a function that releases it, or nothing if it was not granted.
const peers = {
  redlock(clients, retries) {
    const redlock = new Redlock(clients, { retryCount: retries });
    return async (name) => {
      try {
        const lock = await redlock.lock(name, 60_000);
        return () => lock.unlock();
      } catch {
        return undefined;
      }
    };
  },
  "redis-semaphore"(clients, retries) {
    return async (name) => {
      const options = { lockTimeout: 60_000, acquireTimeout: retries < 0 ? 60_000 : 5, refreshInterval: 0 };
      const mutex = new RedlockMutex(clients, name, options);
      if (retries < 0) await mutex.acquire();
      else if (!(await mutex.tryAcquire())) return undefined;
      return () => mutex.release();
    };
  },
};

const connect = () => urls.map((url) => new Redis(url));
const close = (clients) => clients.forEach((client) => client.disconnect());

async function pairs(peer) {
  const clients = connect();
  const lock = peer(clients, -1);
  const end = performance.now() + 1000 * seconds;
  let times = 0;
  for (; performance.now() < end; times++) await (await lock("pair"))();
  close(clients);
  return times / seconds;
}

async function handOff(peer, callers) {
  const [took, end] = [[], performance.now() + 1000 * seconds];
  let released;
  async function turns() {
    const clients = connect();
    const lock = peer(clients, -1);
    while (performance.now() < end) {
      const unlock = await lock("turn");
      if (released !== undefined) took.push(performance.now() - released);
      released = undefined;
      await sleep(hold);
      released = performance.now();
      await unlock();
      while (released !== undefined && performance.now() < end) await sleep(1);
    }
    close(clients);
  }
  await Promise.all(Array.from({ length: callers }, turns));
  return took.sort((a, b) => a - b)[took.length >> 1];
}

async function withoutGrant(peer, callers) {
  const clients = Array.from({ length: callers }, connect);
  const locks = clients.map((client) => peer(client, 0));
  let none = 0;
  for (let round = 0; round < rounds; round++) {
    const held = await Promise.all(locks.map((lock) => lock(`round-${callers}-${round}`)));
    if (held.every((unlock) => unlock === undefined)) none++;
    await Promise.all(held.map((unlock) => unlock?.()));
  }
  clients.forEach(close);
  return (100 * none) / rounds;
}

for (const [name, peer] of Object.entries(peers)) {
  console.log(`${name}, one caller: ${(await pairs(peer)).toFixed(0)} pairs/s`);
  for (const callers of [2, 8]) {
    console.log(`${name}, hand-off between ${callers} callers: ${(await handOff(peer, callers)).toFixed(2)} ms`);
  }
  for (const callers of [2, 3, 5, 10]) {
    console.log(`${name}, ${callers} simultaneous callers, rounds without a grant: ${(await withoutGrant(peer, callers)).toFixed(1)} %`);
  }
}
process.exit();
