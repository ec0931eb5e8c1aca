"""A host of Locker in Python: lends the component a store, and checks that what it gets is a lock.

Run it with the path of the component, in a Python that has the package wasmtime.
"""

import re
import secrets
import sys
import threading
import time

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Variant

from cache import Cache, record

NAME = "nightly-report"


def main():
    engine = Engine()
    cache = Cache()
    linker = Linker(engine)
    link(linker, "locker:locker/cache@0.1.0", methods(cache))
    link(linker, "wasi:random/random@0.2.0", {
        "get-random-bytes": secrets.token_bytes,
        "get-random-u64": lambda: secrets.randbits(64),
    })
    component = Component.from_file(engine, sys.argv[1])

    def new_locker():
        store = Store(engine)
        return Locker(store, linker.instantiate(store, component))

    check_queue(cache, new_locker)
    check_all(new_locker())


def methods(cache):
    names = ["set-if-absent", "extend-if-equal", "replace-if-equal", "delete-if-equal", "get"]
    return {name: getattr(cache, name.replace("-", "_")) for name in names}


def link(linker, interface, functions):
    with linker.root() as root, root.add_instance(interface) as instance:
        for name, function in functions.items():
            instance.add_func(name, lambda _store, *arguments, function=function: function(*arguments))


class Locker:
    """The functions that the component exports."""

    def __init__(self, store, instance):
        self.store = store
        self.instance = instance
        self.exports = instance.get_export_index(store, "locker:locker/locker@0.1.0")

    def lock(self, name, ttl_ms=None, wait_ms=None, owner=None, token=None):
        return self.call("lock", name, record(ttl_ms=ttl_ms, wait_ms=wait_ms, owner=owner, token=token))

    def unlock(self, name, token):
        return self.call("unlock", name, token)

    def extend(self, name, token, ttl_ms):
        return self.call("extend", name, token, ttl_ms)

    def complete(self, name, token, ttl_ms):
        return self.call("complete", name, token, ttl_ms)

    def revoke(self, name, fence):
        return self.call("revoke", name, fence)

    def inspect(self, name):
        return self.call("inspect", name)

    def call(self, name, *arguments):
        index = self.instance.get_export_index(self.store, name, self.exports)
        answer = self.instance.get_func(self.store, index)(self.store, *arguments)
        # wasmtime tells a good result from a bad one only where they would look alike.
        return answer.payload if isinstance(answer, Variant) and answer.tag in ["ok", "err"] else answer


def check_all(locker):
    granted = locker.lock(NAME, ttl_ms=60_000)
    first = granted.payload
    check(
        "a free name is granted, with a token of 32 hex digits and a fence",
        granted.tag == "granted" and re.fullmatch("[0-9a-f]{32}", first.token) and first.fence > 0,
    )
    check("a token releases its lock", locker.unlock(NAME, first.token) == "released")
    check(
        "what was released is absent",
        locker.unlock(NAME, first.token) == "absent" and locker.inspect(NAME) is None,
    )

    mine = locker.lock(NAME, ttl_ms=60_000, owner="python").payload
    check("a later grant has a higher fence", mine.fence > first.fence)
    held = locker.lock(NAME)
    holder = held.payload
    check(
        "a held name tells its owner and the time left",
        held.tag == "held" and holder.owner == "python" and 50_000 < getattr(holder, "ttl-ms") <= 60_000,
    )
    check("it does not tell the token", mine.token not in vars(holder).values())
    found = locker.inspect(NAME)
    check("inspect tells the same", found.owner == "python" and found.fence == mine.fence)
    check(
        "a wrong token releases nothing",
        locker.unlock(NAME, first.token) == "held-by-other" and locker.inspect(NAME).fence == mine.fence,
    )
    extended = locker.extend(NAME, mine.token, 90_000)
    check(
        "an extension keeps the token and the fence",
        extended.tag == "extended" and extended.payload.token == mine.token and extended.payload.fence == mine.fence,
    )
    now = locker.inspect(NAME)
    check(
        "it gives the lock a new time to live, and nothing else",
        getattr(now, "ttl-ms") > 80_000 and now.fence == mine.fence,
    )
    locker.unlock(NAME, mine.token)

    started = time.monotonic()
    short = locker.lock(NAME, ttl_ms=300).payload
    later = locker.lock(NAME, ttl_ms=60_000, wait_ms=60_000)
    waited = time.monotonic() - started
    check(
        "a lock that expired goes to who waits for it",
        later.tag == "granted" and later.payload.fence > short.fence,
    )
    check("not before its time, nor long after it", 0.3 <= waited < 10)
    check("the token of a lock that expired releases nothing", locker.unlock(NAME, short.token) == "held-by-other")

    again = locker.lock(NAME, token=later.payload.token)
    check("a token that holds the lock gets its lease again", again.payload.fence == later.payload.fence)
    completed = locker.complete(NAME, again.payload.token, 60_000)
    done = locker.inspect(NAME)
    check("completed work keeps the lock, and others learn of it", completed == "released" and getattr(done, "done-ms") >= 0)
    revoked = locker.revoke(NAME, done.fence)
    check("a lock that is revoked is free", revoked == "released" and locker.inspect(NAME) is None)

    check("an empty name is invalid", locker.lock("").tag == "invalid")


def check_queue(cache, new_locker):
    """Each caller has a thread and an instance of its own."""
    locker = new_locker()
    first = locker.lock(NAME, ttl_ms=60_000).payload
    served, checked = [], threading.Event()

    def wait(number):
        locker = new_locker()
        lease = locker.lock(NAME, ttl_ms=60_000, wait_ms=60_000).payload
        served.append(number)
        checked.wait()
        locker.unlock(NAME, lease.token)

    callers = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    for number, caller in enumerate(callers):
        caller.start()
        while cache.queued(NAME) <= number:
            time.sleep(0.001)
    released = locker.unlock(NAME, first.token)
    held = locker.lock(NAME).tag
    checked.set()
    for caller in callers:
        caller.join()
    check("callers that wait are served first come, first served", released == "released" and served == [*range(5)])
    check("a caller that does not wait does not overtake them", held == "held")


def check(sentence, holds):
    if not holds:
        sys.exit(f"this does not hold: {sentence}")
    print(sentence)


main()
