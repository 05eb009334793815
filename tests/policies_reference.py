"""The hit counts of every policy against plain versions written from the papers, and libcachesim.

The plain versions share nothing with the C code but the rules of a replay: the ids of a token and
layer are a set, residents of it are hits and cannot be victims, then the misses enter in ascending
order. Each version is a cache of its own: hit(id), and admit(id, pinned), which makes room.
"""
import math
import os
import pathlib
import random
import subprocess
from collections import OrderedDict

import pytest

SRC = pathlib.Path(os.environ.get("TR_SRCDIR", pathlib.Path(__file__).parent.parent))
BUILD = pathlib.Path(os.environ.get("TR_BUILDDIR", "."))
REPLAY = BUILD / "tests" / "policy_replay"
GOLDEN = SRC / "tests" / "traces" / "golden.txt"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
U64 = (1 << 64) - 1


# --- traces ----------------------------------------------------------------------------------

def splitmix64(z):
    z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & U64
    z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & U64
    return z ^ (z >> 31)


def zipf_trace():
    """300 tokens x 4 layers x 6 of 64 experts; the hot ones move on every 100 tokens."""
    weights = [1000000 // (i + 1) for i in range(64)]
    state, tokens = 42, []
    for token in range(300):
        sets = []
        for layer in range(4):
            ids = set()
            while len(ids) < 6:
                state = (state + 0x9e3779b97f4a7c15) & U64
                r, rank = splitmix64(state) % sum(weights), 0
                while r >= weights[rank]:
                    r -= weights[rank]
                    rank += 1
                ids.add(layer * 64 + (rank * 29 + layer * 13 + token // 100 * 10) % 64)
            sets.append(sorted(ids))
        tokens.append(sets)
    return 256, tokens


def demo_trace():
    tokens = []
    for line in (SRC / "tests" / "traces" / "demo.txt").read_text().splitlines():
        if not line.startswith("#"):
            tokens.append([sorted(layer * 64 + LETTERS.index(c) for c in word)
                           for layer, word in enumerate(line.split())])
    return 64 * len(tokens[0]), tokens


def replay(cache, tokens):
    hits = 0
    for sets in tokens:
        for ids in sets:
            pinned = set(ids)
            missing = [i for i in ids if i not in cache]
            for i in ids:
                if i not in missing:
                    cache.hit(i)
            for i in missing:
                cache.admit(i, pinned)
            hits += len(ids) - len(missing)
        cache.end_token()
    return hits


# --- caches ----------------------------------------------------------------------------------

class Cache:
    def __init__(self, n, n_id=0, tokens=()):
        self.n = n

    def end_token(self):
        pass


class Fifo(Cache):
    def __init__(self, n, *_):
        super().__init__(n)
        self.q = OrderedDict()

    def __contains__(self, i):
        return i in self.q

    def hit(self, i):
        pass

    def admit(self, i, pinned):
        if len(self.q) == self.n:
            del self.q[next(j for j in self.q if j not in pinned)]
        self.q[i] = None


class Lru(Fifo):
    def hit(self, i):
        self.q.move_to_end(i)


class Clock(Fifo):
    def hit(self, i):
        self.q[i] = True

    def admit(self, i, pinned):
        while len(self.q) == self.n:
            j, used = next(iter(self.q.items()))
            if used or j in pinned:
                self.q[j] = False
                self.q.move_to_end(j)
            else:
                del self.q[j]
        self.q[i] = False


class Sieve(Cache):
    """A list, oldest first, and an index into it."""
    def __init__(self, n, *_):
        super().__init__(n)
        self.order, self.used, self.hand = [], {}, 0

    def __contains__(self, i):
        return i in self.used

    def hit(self, i):
        self.used[i] = True

    def admit(self, i, pinned):
        while len(self.order) == self.n:
            if self.hand == self.n:
                self.hand = 0
            j = self.order[self.hand]
            if self.used[j] or j in pinned:
                self.used[j] = False
                self.hand += 1
            else:
                del self.order[self.hand], self.used[j]
                break
        if self.hand == len(self.order):
            self.hand = 0
        self.order.append(i)
        self.used[i] = False


class Slru(Cache):
    def __init__(self, n, n_id, tokens, protected=0.8):
        super().__init__(n)
        self.cap, self.low, self.high = int(protected * n), OrderedDict(), OrderedDict()

    def __contains__(self, i):
        return i in self.low or i in self.high

    def hit(self, i):
        self.low.pop(i, None)
        self.high[i] = None
        self.high.move_to_end(i)
        if len(self.high) > self.cap:
            self.low[self.high.popitem(last=False)[0]] = None

    def admit(self, i, pinned):
        if len(self.low) + len(self.high) == self.n:
            for part in (self.low, self.high):
                j = next((j for j in part if j not in pinned), None)
                if j is not None:
                    del part[j]
                    break
        self.low[i] = None


class TwoQ(Cache):
    """The full version of the paper: A1in, A1out, Am."""
    def __init__(self, n, n_id, tokens, kin=0.25, kout=0.5):
        super().__init__(n)
        self.kin, self.kout = int(kin * n), int(kout * n)
        self.a1in, self.a1out, self.am = OrderedDict(), OrderedDict(), OrderedDict()

    def __contains__(self, i):
        return i in self.a1in or i in self.am

    def hit(self, i):
        if i in self.am:
            self.am.move_to_end(i)

    def admit(self, i, pinned):
        known = self.a1out.pop(i, False) is None
        if len(self.a1in) + len(self.am) == self.n:
            parts = [self.a1in, self.am]
            if len(self.a1in) <= self.kin:
                parts.reverse()
            j = next(j for part in parts for j in part if j not in pinned)
            if j in self.a1in:
                del self.a1in[j]
                self.a1out[j] = None
                while len(self.a1out) > self.kout:
                    self.a1out.popitem(last=False)
            else:
                del self.am[j]
        (self.am if known else self.a1in)[i] = None


class Arc(Cache):
    """Figure 4 of the paper, case by case."""
    def __init__(self, n, *_):
        super().__init__(n)
        self.p = 0.0
        self.t1, self.t2, self.b1, self.b2 = (OrderedDict() for _ in range(4))

    def __contains__(self, i):
        return i in self.t1 or i in self.t2

    def hit(self, i):
        self.t1.pop(i, None)
        self.t2[i] = None
        self.t2.move_to_end(i)

    def replace(self, in_b2, pinned):
        if len(self.t1) + len(self.t2) < self.n:
            return
        pairs = [(self.t1, self.b1), (self.t2, self.b2)]
        if not (self.t1 and (len(self.t1) > self.p or (in_b2 and len(self.t1) == self.p))):
            pairs.reverse()
        for t, b in pairs:
            j = next((j for j in t if j not in pinned), None)
            if j is not None:
                del t[j]
                b[j] = None
                return

    def admit(self, i, pinned):
        if i in self.b1:
            self.p = min(self.n, self.p + max(1, len(self.b2) / len(self.b1)))
            self.replace(False, pinned)
            del self.b1[i]
            self.t2[i] = None
        elif i in self.b2:
            self.p = max(0, self.p - max(1, len(self.b1) / len(self.b2)))
            self.replace(True, pinned)
            del self.b2[i]
            self.t2[i] = None
        else:
            l1 = len(self.t1) + len(self.b1)
            if l1 == self.n:
                if len(self.t1) < self.n:
                    self.b1.popitem(last=False)
                    self.replace(False, pinned)
                else:
                    del self.t1[next(j for j in self.t1 if j not in pinned)]
            else:
                total = l1 + len(self.t2) + len(self.b2)
                if total >= self.n:
                    if total == 2 * self.n:
                        self.b2.popitem(last=False)
                    self.replace(False, pinned)
            self.t1[i] = None


class S3Fifo(Cache):
    def __init__(self, n, n_id, tokens, small=0.1, ghost=0.9):
        super().__init__(n)
        self.max_small = max(int(small * n), 1)
        self.max_main, self.max_ghost = n - self.max_small, int(ghost * n)
        self.small, self.main, self.ghost = OrderedDict(), OrderedDict(), OrderedDict()
        self.filled = False

    def __contains__(self, i):
        return i in self.small or i in self.main

    def hit(self, i):
        q = self.small if i in self.small else self.main
        q[i] = min(3, q[i] + 1)

    def evict_small(self, pinned):
        for j, uses in list(self.small.items()):
            if uses >= 2:
                del self.small[j]
                self.main[j] = 0
            elif j not in pinned:
                del self.small[j]
                self.ghost[j] = None
                while len(self.ghost) > self.max_ghost:
                    self.ghost.popitem(last=False)
                return True
        return False

    def evict_main(self, pinned):
        while True:
            j, uses = next(iter(self.main.items()))
            if uses or j in pinned:
                self.main[j] = max(uses - 1, 0)
                self.main.move_to_end(j)
            else:
                del self.main[j]
                return

    def admit(self, i, pinned):
        known = self.ghost.pop(i, False) is None
        if len(self.small) + len(self.main) == self.n:
            self.filled = True
            if len(self.main) > self.max_main or not self.small or not self.evict_small(pinned):
                self.evict_main(pinned)
        if known or (not self.filled and len(self.small) >= self.max_small):
            self.main[i] = 0
        else:
            self.small[i] = 0


class Ranked(Cache):
    """Gives up the lowest (rank, time of last use), found by looking at all."""
    def __init__(self, n, n_id, tokens):
        super().__init__(n)
        self.inside, self.last, self.now, self.token = set(), {}, 0, 0

    def __contains__(self, i):
        return i in self.inside

    def end_token(self):
        self.token += 1

    def touch(self, i):
        self.now += 1
        self.last[i] = self.now

    def hit(self, i):
        self.use(i)
        self.touch(i)

    def evicted(self, i, rank):
        pass

    def admit(self, i, pinned):
        self.use(i)
        if len(self.inside) == self.n:
            rank, _, j = min((self.rank(j), self.last[j], j)
                             for j in self.inside if j not in pinned)
            self.inside.remove(j)
            self.evicted(j, rank)
        self.inside.add(i)
        self.entered(i)
        self.touch(i)

    def entered(self, i):
        pass


class Lfu(Ranked):
    def __init__(self, n, n_id, tokens):
        super().__init__(n, n_id, tokens)
        self.count = [0] * n_id

    def use(self, i):
        self.count[i] += 1

    def rank(self, i):
        return self.count[i]


class Lfuda(Ranked):
    def __init__(self, n, n_id, tokens):
        super().__init__(n, n_id, tokens)
        self.age, self.key, self.count = 0, {}, {}

    def use(self, i):
        if i in self.inside:
            self.count[i] += 1
            self.key[i] = self.count[i] + self.age

    def entered(self, i):
        self.count[i] = 1
        self.key[i] = 1 + self.age

    def rank(self, i):
        return self.key[i]

    def evicted(self, i, rank):
        self.age = max(self.age, rank)


class Lrfu(Ranked):
    """Decays in the open: every token multiplies every value by 2^-lambda."""
    def __init__(self, n, n_id, tokens, lam=0.1, cost=lambda i: 1):
        super().__init__(n, n_id, tokens)
        self.factor = [2.0 ** (-lam * d) for d in range(len(tokens))]
        self.cost, self.when, self.known = cost, [[] for _ in range(n_id)], {}

    def use(self, i):
        self.when[i].append(self.token)
        self.known.pop(i, None)

    def end_token(self):
        super().end_token()
        self.known.clear()

    def rank(self, i):
        # Rounded, so that histories that differ by what a double cannot tell apart are ties.
        if i not in self.known:
            crf = math.fsum(self.factor[self.token - t] for t in self.when[i])
            self.known[i] = float(f"{crf * self.cost(i):.14g}")
        return self.known[i]


class Cost(Lrfu):
    def __init__(self, n, n_id, tokens, lam=0.1):
        super().__init__(n, n_id, tokens, lam, lambda i: 1 + i % 5)


class Belady(Ranked):
    def __init__(self, n, n_id, tokens):
        super().__init__(n, n_id, tokens)
        self.future = [[] for _ in range(n_id)]
        flat = [i for sets in tokens for ids in sets for i in ids]
        for at in range(len(flat) - 1, -1, -1):
            self.future[flat[at]].append(at)

    def use(self, i):
        self.future[i].pop()

    def rank(self, i):
        return -(self.future[i][-1] if self.future[i] else math.inf)


class WTinyLfu(Cache):
    def __init__(self, n, n_id, tokens, window=0.01, sample=10):
        super().__init__(n)
        self.max_window = max(int(window * n), 1)
        self.main = Slru(n - self.max_window, n_id, tokens)
        self.window, self.door, self.freq = OrderedDict(), set(), [0] * n_id
        self.sample, self.n_use = sample * n, 0

    def __contains__(self, i):
        return i in self.window or i in self.main

    def count(self, i):
        if i in self.door:
            self.freq[i] = min(self.freq[i] + 1, 15)
        self.door.add(i)
        self.n_use += 1
        if self.n_use == self.sample:
            self.n_use, self.door = 0, set()
            self.freq = [f // 2 for f in self.freq]

    def estimate(self, i):
        return self.freq[i] + (i in self.door)

    def hit(self, i):
        self.count(i)
        if i in self.window:
            self.window.move_to_end(i)
        else:
            self.main.hit(i)

    def make_room(self, pinned):
        candidate = next((j for j in self.window if j not in pinned), None)
        victim = next(j for part in (self.main.low, self.main.high) for j in part
                      if j not in pinned)
        if len(self.window) >= self.max_window and candidate is not None and \
                self.estimate(candidate) <= self.estimate(victim):
            del self.window[candidate]
        else:
            self.main.low.pop(victim, None)
            self.main.high.pop(victim, None)

    def admit(self, i, pinned):
        self.count(i)
        if len(self.window) + len(self.main.low) + len(self.main.high) == self.n:
            self.make_room(pinned)
        self.window[i] = None
        while len(self.window) > self.max_window:
            self.main.low[self.window.popitem(last=False)[0]] = None


class Pin(Lru):
    def __init__(self, n, n_id, tokens, share=0.5, ids=None):
        super().__init__(n)
        self.held = set(ids) if ids is not None else {i * 7 % n_id for i in range(int(share * n))}

    def admit(self, i, pinned):
        if len(self.q) == self.n:
            free = [j for j in self.q if j not in pinned]
            del self.q[next((j for j in free if j not in self.held), free[0])]
        self.q[i] = None


class Random(Cache):
    def __init__(self, n, n_id, tokens, seed=0):
        super().__init__(n)
        self.at, self.seed = [], seed

    def __contains__(self, i):
        return i in self.at

    def hit(self, i):
        pass

    def admit(self, i, pinned):
        if len(self.at) == self.n:
            start = splitmix64(self.seed) % self.n
            at = next(k % self.n for k in range(start, start + self.n)
                      if self.at[k % self.n] not in pinned)
            self.at[at] = self.at[-1]
            self.at.pop()
            self.seed = (self.seed + 0x9e3779b97f4a7c15) & U64
        self.at.append(i)


PLAIN = {
    "fifo": Fifo, "clock": Clock, "lru": Lru, "slru": Slru, "2q": TwoQ, "arc": Arc, "lfu": Lfu,
    "lfuda": Lfuda, "lrfu": Lrfu, "s3fifo": S3Fifo, "sieve": Sieve, "wtinylfu": WTinyLfu,
    "cost": Cost, "pin": Pin, "random": Random, "belady": Belady,
}
PARAMETERS = {
    "protected": "protected", "in": "kin", "out": "kout", "lambda": "lam", "small": "small",
    "ghost": "ghost", "window": "window", "sample": "sample", "share": "share", "seed": "seed",
}


def plain(spec, n, n_id, tokens):
    name, *options = spec.split(",")
    values = {}
    for key, value in (o.split("=") for o in options):
        if key == "ids":
            ends = (r.split("-") for r in value.split(":"))
            values["ids"] = [i for e in ends for i in range(int(e[0]), int(e[-1]) + 1)]
        else:
            values[PARAMETERS[key]] = float(value) if "." in value else int(value)
    return PLAIN[name](n, n_id, tokens, **values)


# --- tests -----------------------------------------------------------------------------------

TRACES = {"zipf": zipf_trace(), "demo": demo_trace()}


def golden():
    by_spec = OrderedDict()
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            trace, spec, slots, hits = line.split()
            by_spec.setdefault((trace, spec), []).append((int(slots), int(hits)))
    return by_spec


COUNTS = golden()


@pytest.mark.parametrize("case", [f"{t} {s}" for t, s in COUNTS
                                  if s.split(",")[0] in PLAIN])
def test_plain_version_has_the_golden_counts(case):
    trace, spec = case.split()
    n_id, tokens = TRACES[trace]
    want = COUNTS[trace, spec]
    assert [(n, replay(plain(spec, n, n_id, tokens), tokens)) for n, _ in want] == want


def test_every_policy_has_golden_counts():
    for trace in TRACES:
        assert {s.split(",")[0] for t, s in COUNTS if t == trace} >= set(PLAIN)


def single_ids():
    rng = random.Random(1)
    n, weights = 300, [1 / (i + 1) for i in range(300)]
    return [(r * 77 + t // 2000 * 40) % n
            for t, r in enumerate(rng.choices(range(n), weights, k=10000))]


def ours(specs, slots, ids):
    csv = "token,layer,expert\n" + "".join(f"{t},0,{i}\n" for t, i in enumerate(ids))
    out = subprocess.run([REPLAY, "csv", "0", ",".join(map(str, slots)), *specs], input=csv,
                         capture_output=True, text=True, check=True, timeout=60).stdout
    return {(s, int(n)): int(hits) for s, n, _, hits in map(str.split, out.splitlines())}


def theirs(make, n, ids):
    lib = pytest.importorskip("libcachesim")
    cache, hits = make(n), 0
    after, again = {}, [0] * len(ids)
    for t in range(len(ids) - 1, -1, -1):
        again[t] = after.get(ids[t], 1 << 62)
        after[ids[t]] = t
    for t, i in enumerate(ids):
        request = lib.Request()
        request.obj_id, request.obj_size, request.clock_time = i + 1, 1, t
        request.next_access_vtime = again[t]
        hits += cache.get(request)
    return hits


@pytest.mark.parametrize("spec, name", [
    ("fifo", "FIFO"), ("lru", "LRU"), ("clock", "Clock"), ("sieve", "Sieve"), ("arc", "ARC"),
    ("2q", "TwoQ"), ("s3fifo", "S3FIFO"), ("belady", "Belady")])
def test_libcachesim_has_the_same_counts(spec, name):
    lib = pytest.importorskip("libcachesim")
    slots, ids = [20, 60, 120, 200], single_ids()
    have = ours([spec], slots, ids)
    assert [have[spec, n] for n in slots] == [theirs(getattr(lib, name), n, ids) for n in slots]
