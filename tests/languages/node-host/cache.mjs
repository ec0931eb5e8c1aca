// The store that the component asks for, in this process's memory. `wit/cache.wit` says what each function means.

const DEFAULT_TTL_MS = 30_000n;
const NS_PER_MS = 1_000_000n;

const clock = process.hrtime.bigint;
const smaller = (a, b) => (a < b ? a : b);
const larger = (a, b) => (a > b ? a : b);

export function createCache() {
  const entries = new Map();
  let revision = 0n;

  // What lies under the key, and for how long; all that has expired is gone.
  function find(key) {
    const now = clock();
    for (const [key, { expires }] of entries) if (expires <= now) entries.delete(key);
    const entry = entries.get(key);
    return entry && { ...entry, ttlMs: (entry.expires - now) / NS_PER_MS };
  }

  return {
    // This process has one thread, so there is no queue: while a call sleeps here no other call comes, and only the expiry frees
    // the key.
    setIfAbsent(key, value, ttlMs = DEFAULT_TTL_MS, waitMs) {
      const end = clock() + waitMs * NS_PER_MS;
      let entry = find(key);
      while (entry && entry.value !== value && clock() < end) {
        sleep(smaller(end, entry.expires) - clock());
        entry = find(key);
      }
      if (entry) return { tag: entry.value === value ? 'stored' : 'occupied', val: entry };
      // From the wall clock, so that revisions rise also when this process is started again.
      revision = larger(revision + 1n, BigInt(Date.now()) * 1000n);
      entries.set(key, { value, revision, expires: clock() + ttlMs * NS_PER_MS });
      return { tag: 'stored', val: { revision, ttlMs } };
    },

    extendIfEqual(key, value, ttlMs) {
      const entry = find(key);
      if (!entry) return { tag: 'absent' };
      if (entry.value !== value) return { tag: 'different' };
      entries.get(key).expires = clock() + ttlMs * NS_PER_MS;
      return { tag: 'extended', val: { revision: entry.revision, ttlMs } };
    },

    replaceIfEqual(key, value, replacement, ttlMs) {
      const entry = find(key);
      if (!entry) return { tag: 'absent' };
      if (entry.value !== value && entry.value !== replacement) return { tag: 'different' };
      entries.set(key, { value: replacement, revision: entry.revision, expires: clock() + ttlMs * NS_PER_MS });
      return { tag: 'extended', val: { revision: entry.revision, ttlMs } };
    },

    deleteIfEqual(key, value) {
      const entry = find(key);
      if (!entry) return 'absent';
      if (entry.value !== value) return 'different';
      entries.delete(key);
      return 'deleted';
    },

    get: find,
  };
}

function sleep(ns) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(larger(0n, ns)) / Number(NS_PER_MS));
}
