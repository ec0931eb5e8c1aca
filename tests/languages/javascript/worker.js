// Takes turns with the other workers.
import { lock, unlock } from 'locker:locker/locker@0.1.0';

export const run = {
  run() {
    try {
      for (let round = 0; round < 5; round++) takeTurn();
    } catch (error) {
      console.error(error.payload ? JSON.stringify(error.payload) : error.message);
      throw error;
    }
  },
};

function takeTurn() {
  const { tag, val } = lock('shared', { ttlMs: 10_000n, waitMs: 60_000n, owner: 'javascript' });
  if (tag !== 'granted') throw new Error(`the lock is held by ${val.owner}`);
  console.log(`enter ${val.fence}`);
  work();
  console.log(`leave ${val.fence}`);
  const outcome = unlock('shared', val.token);
  if (outcome !== 'released') throw new Error(`the lock was not released: ${outcome}`);
}

// Long enough for another to come in between, if the lock let it.
function work() {
  const end = Date.now() + 10;
  while (Date.now() < end);
}
