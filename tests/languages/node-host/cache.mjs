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
    setIfAbsent(key, value, ttlMs = DEFAULT_TTL_MS) {
      const entry = find(key);
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

    deleteIfEqual(key, value) {
      const entry = find(key);
      if (!entry) return 'absent';
      if (entry.value !== value) return 'different';
      entries.delete(key);
      return 'deleted';
    },

    get: find,

    // This process has one thread: while it sleeps here, nobody can delete the key. It expires at its time.
    waitUntilAbsent(key, timeoutMs) {
      const entry = find(key);
      if (!entry) return timeoutMs;
      const deadline = clock() + timeoutMs * NS_PER_MS;
      sleep(smaller(deadline, entry.expires) - clock());
      return larger(0n, deadline - clock()) / NS_PER_MS;
    },
  };
}

function sleep(ns) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(ns) / Number(NS_PER_MS));
}
