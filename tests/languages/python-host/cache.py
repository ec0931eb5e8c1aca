"""The store that the component asks for, in this process's memory. `wit/cache.wit` says what each function means."""

import time

from wasmtime.component import Record, Variant

DEFAULT_TTL_MS = 30_000
NS_PER_MS = 1_000_000


class Cache:
    def __init__(self):
        self.entries = {}
        self.revision = 0

    def set_if_absent(self, key, value, ttl_ms):
        entry, left = self.find(key)
        if entry and entry.value == value:
            return ok(Variant("stored", record(revision=entry.revision, ttl_ms=left)))
        if entry:
            return ok(Variant("occupied", record(value=entry.value, revision=entry.revision, ttl_ms=left)))
        ttl_ms = DEFAULT_TTL_MS if ttl_ms is None else ttl_ms
        # From the wall clock, so that revisions rise also when this process is started again.
        self.revision = max(self.revision + 1, time.time_ns() // 1000)
        self.entries[key] = Entry(value, self.revision, ttl_ms)
        return ok(Variant("stored", record(revision=self.revision, ttl_ms=ttl_ms)))

    def extend_if_equal(self, key, value, ttl_ms):
        entry, _ = self.find(key)
        if not entry:
            return ok(Variant("absent"))
        if entry.value != value:
            return ok(Variant("different"))
        self.entries[key] = Entry(value, entry.revision, ttl_ms)
        return ok(Variant("extended", record(revision=entry.revision, ttl_ms=ttl_ms)))

    def delete_if_equal(self, key, value):
        entry, _ = self.find(key)
        if not entry:
            return "absent"
        if entry.value != value:
            return "different"
        del self.entries[key]
        return "deleted"

    def get(self, key):
        entry, left = self.find(key)
        return entry and record(value=entry.value, revision=entry.revision, ttl_ms=left)

    def wait_until_absent(self, key, timeout_ms):
        """This host has one thread: while it sleeps here, nobody can delete the key. It expires at its time."""
        entry, _ = self.find(key)
        if not entry:
            return timeout_ms
        deadline = time.monotonic_ns() + timeout_ms * NS_PER_MS
        time.sleep(max(0, min(deadline, entry.expires) - time.monotonic_ns()) / 1e9)
        return max(0, deadline - time.monotonic_ns()) // NS_PER_MS

    def find(self, key):
        """What lies under the key, and for how many milliseconds; all that has expired is gone."""
        now = time.monotonic_ns()
        self.entries = {key: entry for key, entry in self.entries.items() if entry.expires > now}
        entry = self.entries.get(key)
        return entry, entry and (entry.expires - now) // NS_PER_MS


class Entry:
    def __init__(self, value, revision, ttl_ms):
        self.value = value
        self.revision = revision
        self.expires = time.monotonic_ns() + ttl_ms * NS_PER_MS


def ok(value):
    """wasmtime wants results said in full where the good and the bad case are both variants."""
    return Variant("ok", value)


def record(**fields):
    """A record whose fields are called as in WIT, with hyphens."""
    made = Record()
    for name, value in fields.items():
        setattr(made, name.replace("_", "-"), value)
    return made
