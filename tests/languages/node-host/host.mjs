// A host of Locker in JavaScript: lends the component a store, and checks that what it gets is a lock.
// `run` calls it with the path of the module that jco made of the component.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { pathToFileURL } from 'node:url';

import { createCache } from './cache.mjs';

const { instantiate } = await import(pathToFileURL(process.argv[2]));
const { locker } = await instantiate(undefined, {
  'locker:locker/cache': createCache(),
  'wasi:random/random': {
    getRandomBytes: (len) => randomBytes(Number(len)),
    getRandomU64: () => randomBytes(8).readBigUInt64LE(),
  },
});

const NAME = 'nightly-report';

const lock = (options) => locker.lock(NAME, options);

function check(sentence, holds) {
  assert(holds, `this does not hold: ${sentence}`);
  console.log(sentence);
}

function errorOf(call) {
  try {
    call();
  } catch (error) {
    return error.payload?.tag;
  }
}

const granted = lock({ ttlMs: 60_000n });
const { token, fence } = granted.val;
check(
  'a free name is granted, with a token of 32 hex digits and a fence',
  granted.tag === 'granted' && /^[0-9a-f]{32}$/.test(token) && fence > 0n,
);
check('a token releases its lock', locker.unlock(NAME, token) === 'released');
check('what was released is absent', locker.unlock(NAME, token) === 'absent' && locker.inspect(NAME) === undefined);

const mine = lock({ ttlMs: 60_000n, owner: 'node' }).val;
check('a later grant has a higher fence', mine.fence > fence);
const held = lock({});
check(
  'a held name tells its owner and the time left',
  held.tag === 'held' && held.val.owner === 'node' && held.val.ttlMs > 50_000n && held.val.ttlMs <= 60_000n,
);
check('it does not tell the token', !Object.values(held.val).includes(mine.token));
check('inspect tells the same', locker.inspect(NAME).owner === 'node' && locker.inspect(NAME).fence === mine.fence);
check(
  'a wrong token releases nothing',
  locker.unlock(NAME, token) === 'held-by-other' && locker.inspect(NAME).fence === mine.fence,
);
const extended = locker.extend(NAME, mine.token, 90_000n);
check(
  'an extension keeps the token and the fence',
  extended.tag === 'extended' && extended.val.token === mine.token && extended.val.fence === mine.fence,
);
const now = locker.inspect(NAME);
check('it gives the lock a new time to live, and nothing else', now.ttlMs > 80_000n && now.fence === mine.fence);
locker.unlock(NAME, mine.token);

const started = performance.now();
const short = lock({ ttlMs: 300n }).val;
const next = lock({ ttlMs: 60_000n, waitMs: 60_000n });
const waited = performance.now() - started;
check('a lock that expired goes to who waits for it', next.tag === 'granted' && next.val.fence > short.fence);
check('not before its time, nor long after it', waited >= 300 && waited < 10_000);
check('the token of a lock that expired releases nothing', locker.unlock(NAME, short.token) === 'held-by-other');

const again = lock({ token: next.val.token });
check('a token that holds the lock gets its lease again', again.val.fence === next.val.fence);
const completed = locker.complete(NAME, again.val.token, 60_000n);
const done = locker.inspect(NAME);
check('completed work keeps the lock, and others learn of it', completed === 'released' && done.doneMs >= 0n);
check('a lock that is revoked is free', locker.revoke(NAME, done.fence) === 'released' && !locker.inspect(NAME));

check('an empty name is invalid', errorOf(() => locker.lock('', {})) === 'invalid');
