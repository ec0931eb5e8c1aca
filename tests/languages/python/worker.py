"""Takes turns with the other workers."""

import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.locker import LockOutcome_Granted, Options, UnlockOutcome, lock, unlock


class Run(exports.Run):
    def run(self):
        try:
            for _ in range(5):
                take_turn()
        except Exception as error:
            print(error, file=sys.stderr)
            raise Err(None) from None


def take_turn():
    outcome = lock("shared", Options(ttl_ms=10_000, wait_ms=60_000, owner="python", token=None))
    if not isinstance(outcome, LockOutcome_Granted):
        raise Exception(f"the lock is held by {outcome.value.owner}")
    lease = outcome.value
    print(f"enter {lease.fence}", flush=True)
    time.sleep(0.01)  # long enough for another to come in between, if the lock let it
    print(f"leave {lease.fence}", flush=True)
    outcome = unlock("shared", lease.token)
    if outcome != UnlockOutcome.RELEASED:
        raise Exception(f"the lock was not released: {outcome}")
