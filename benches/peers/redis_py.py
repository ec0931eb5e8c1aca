"""The lock of redis-py, as `main.rs` measures others.

    pip install redis==8.1.0 && python redis_py.py redis://localhost
"""

import statistics
import sys
import threading
import time

import redis

URL, SECONDS, WORK = sys.argv[1], 5, 0.002


def pairs():
    lock = redis.from_url(URL).lock("peer-pair", timeout=60)
    times, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        lock.acquire()
        lock.release()
        times += 1
    return times / SECONDS


def hand_offs(waiters):
    released, took, end = [], [], time.perf_counter() + SECONDS

    def turns():
        lock = redis.from_url(URL).lock("peer-turn", timeout=60)
        while time.perf_counter() < end:
            lock.acquire()
            now = time.perf_counter()
            if released:
                took.append(now - released.pop())
            time.sleep(WORK)
            released.append(time.perf_counter())
            lock.release()
            while released and time.perf_counter() < end:
                time.sleep(0.001)

    threads = [threading.Thread(target=turns) for _ in range(waiters + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(took)


print(f"1 client: {pairs():.0f} pairs/s")
for waiters in (2, 16):
    print(f"hand-off, {waiters} waiters: {1000 * hand_offs(waiters):.1f} ms")
