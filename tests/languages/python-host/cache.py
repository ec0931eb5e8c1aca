"""The store that the component asks for, in this process's memory. `wit/cache.wit` says what each function means.

Calls may come from several threads.
"""

import threading
import time

from wasmtime.component import Record, Variant

DEFAULT_TTL_MS = 30_000
NS_PER_MS = 1_000_000


class Cache:
    def __init__(self):
        self.changed = threading.Condition()
        self.entries = {}
        self.queues = {}  # for each key the values that wait, with their times to live, in the order in which they came
        self.revision = 0

    def set_if_absent(self, key, value, ttl_ms, wait_ms):
        end = time.monotonic_ns() + wait_ms * NS_PER_MS
        with self.changed:
            # Every call enters the queue, and the step that finds the key free gives it to the head: so no call overtakes.
            self.queues.setdefault(key, {}).setdefault(value, DEFAULT_TTL_MS if ttl_ms is None else ttl_ms)
            entry = self.find(key)
            while entry.value != value and (now := time.monotonic_ns()) < end:
                self.changed.wait(min((min(end, entry.expires) - now) / 1e9, threading.TIMEOUT_MAX))
                entry = self.find(key)
            self.leave(key, value)
            if entry.value == value:
                return ok(Variant("stored", record(revision=entry.revision, ttl_ms=entry.left())))
            return ok(Variant("occupied", entry.record()))

    def extend_if_equal(self, key, value, ttl_ms):
        return self.replace_if_equal(key, value, value, ttl_ms)

    def replace_if_equal(self, key, value, replacement, ttl_ms):
        with self.changed:
            entry = self.find(key)
            if not entry:
                return ok(Variant("absent"))
            if entry.value not in (value, replacement):
                return ok(Variant("different"))
            self.entries[key] = Entry(replacement, entry.revision, ttl_ms)
            self.changed.notify_all()
            return ok(Variant("extended", record(revision=entry.revision, ttl_ms=ttl_ms)))

    def delete_if_equal(self, key, value):
        with self.changed:
            entry = self.find(key)
            if not entry:
                return "absent"
            if entry.value != value:
                return "different"
            del self.entries[key]
            self.find(key)
            return "deleted"

    def get(self, key):
        with self.changed:
            entry = self.find(key)
            return entry and entry.record()

    def queued(self, key):
        with self.changed:
            return len(self.queues.get(key, ()))

    def find(self, key):
        """The entry under the key. Expired ones are gone, and a free key belongs to the head of its queue."""
        now = time.monotonic_ns()
        self.entries = {key: entry for key, entry in self.entries.items() if entry.expires > now}
        if key not in self.entries and key in self.queues:
            value, ttl_ms = next(iter(self.queues[key].items()))
            self.leave(key, value)
            # From the wall clock, so that revisions rise also when this process is started again.
            self.revision = max(self.revision + 1, time.time_ns() // 1000)
            self.entries[key] = Entry(value, self.revision, ttl_ms)
            self.changed.notify_all()
        return self.entries.get(key)

    def leave(self, key, value):
        queue = self.queues.get(key, {})
        queue.pop(value, None)
        if not queue:
            self.queues.pop(key, None)


class Entry:
    def __init__(self, value, revision, ttl_ms):
        self.value = value
        self.revision = revision
        self.expires = time.monotonic_ns() + ttl_ms * NS_PER_MS

    def left(self):
        return max(0, self.expires - time.monotonic_ns()) // NS_PER_MS

    def record(self):
        return record(value=self.value, revision=self.revision, ttl_ms=self.left())


def ok(value):
    """wasmtime wants results said in full where the good and the bad case are both variants."""
    return Variant("ok", value)


def record(**fields):
    """A record whose fields are called as in WIT, with hyphens."""
    made = Record()
    for name, value in fields.items():
        setattr(made, name.replace("_", "-"), value)
    return made
