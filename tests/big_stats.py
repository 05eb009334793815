"""Usage: big_stats.py OUT - statistics of a made-up run of the largest model in mind: 60 layers of 384
experts, four tiers, a long timeline. Always the same."""
import json
import random
import sys

N_LAYER, N_EXPERT, N_USED, N_TOKEN = 60, 384, 8, 2000
TIERS = ["vram", "dram", "pmem:/mnt/pmem0", "nvme"]
KINDS = ["attention", "dense", "router", "lookup", "predict", "shared", "experts", "wait", "combine",
         "head", "copy", "other", "read"]
rand = random.Random(4)


def split_uses(uses, rank):
    """How many of the uses each tier served; hot experts lie higher."""
    shares = ([0.9, 0.1, 0] if rank < 12 else [0, 0.85, 0.15] if rank < 110 else
              [0, 0.2, 0.8] if rank < 300 else [0, 0.1, 0])
    served = [int(uses * s) for s in shares]
    return served + [uses - sum(served)]


def layer(number):
    weight = [1 / (i + 1) ** 0.55 for i in range(N_EXPERT)]
    rand.shuffle(weight)
    total = sum(weight)
    uses = [int(N_TOKEN * N_USED * w / total * rand.uniform(0.7, 1.3)) for w in weight]
    served = [None] * N_EXPERT
    for rank, e in enumerate(sorted(range(N_EXPERT), key=lambda e: -uses[e])):
        served[e] = split_uses(uses[e], rank)
    again = sum(uses) - N_EXPERT
    parts = [25, 13, 12, 10, 9, 8, 7, 5, 4, 3, 2, 1, 1, 0, 0, 0]
    return {"layer": number, "unit_bytes": 23 << 20, "uses": uses,
            "prefill_uses": [u // 5 for u in uses], "mass": [u * 0.3516 for u in uses],
            "hits": {t: [s[i] for s in served] for i, t in enumerate(TIERS)},
            "prefill_hits": {t: [0] * N_EXPERT for t in TIERS},
            "loads": [s[3] for s in served], "evictions": [max(0, s[3] - 1) for s in served],
            "followed": sum(uses) - N_USED, "reuse": [again * p // 100 for p in parts]}


def token(which, number, slow):
    spans, now = [], 0

    def lap(kind, at, ns, tier=0, n=0):
        nonlocal now
        spans.extend([KINDS.index(kind), at, tier, n, int(now), int(ns)])
        now += ns

    for at in range(N_LAYER + 1):
        lap("attention", at, rand.uniform(250e3, 400e3))
        if not at:
            lap("dense", at, 300e3)
            continue
        lap("router", at, 30e3)
        asked = now
        for kind, ns in (("lookup", 12e3), ("predict", 60e3), ("shared", 80e3)):
            lap(kind, at, ns)
        held = [rand.randint(0, 1), rand.randint(1, 4), rand.randint(0, 2)]
        for tier, n in enumerate(held):
            spans.extend([KINDS.index("experts"), at, tier, n, int(now), 1200000])
        now += 1200000
        n_read = N_USED - sum(held) if rand.random() < 0.4 * slow else 0
        for i in range(n_read):
            arrives = asked + (i + 1) * 3e6
            lap("wait", at, max(0, arrives - now))
            lap("experts", at, 250e3, 3, 1)
            spans.extend([KINDS.index("read"), at, 3, rand.randrange(N_EXPERT), int(asked),
                          int(arrives - asked)])
        lap("combine", at, 20e3)
    lap("head", N_LAYER, 4e6)
    return {"which": which, "token": number, "ns": int(now), "lost": 0, "spans": spans}


def run(n_request):
    n_unit = N_LAYER * N_EXPERT
    sizes = [n_unit * p // 100 for p in (2, 4, 7, 12, 20, 22, 30, 45, 60, 80, 100)]

    def misses(steep, first):
        return [int(n_request * max(0.024, first * (1 - (c / n_unit) ** steep))) for c in sizes]

    curves = {"lru": misses(0.33, 1), "lfu": misses(0.38, 0.97), "s3fifo": misses(0.4, 0.95),
              "foresight": misses(0.47, 0.9), "belady": misses(0.45, 0.72)}
    curves["lfu"][3] = None
    history = {"tokens_per_point": 4, "tokens": [4] * 500, "ms": [], "hits": {t: [] for t in TIERS}}
    for i in range(500):
        warm = 1 - 2 ** (-i / 40)
        shares = [0.1 * warm, 0.3 + 0.25 * warm, 0.25]
        shares.append(1 - sum(shares))
        history["ms"].append(4 * (60 + 300 * shares[3] + rand.uniform(0, 30)))
        for t, s in zip(TIERS, shares):
            history["hits"][t].append(int(4 * N_LAYER * N_USED * (s + rand.uniform(0, 0.02))))
    return {"timings": {"decode": {"seconds": 250.0, "tokens": N_TOKEN, "tokens_per_s": 8.0}},
            "engine": {"policy": "foresight", "cpu": "avx512", "io": "uring", "threads": 32},
            "prefetch": {"mode": "auto", "on": True, "issued": 12000, "useful": 9000, "late": 1200,
                         "wasted": 1500, "cancelled": 300, "failed": 0, "bytes": 10 ** 11,
                         "wasted_bytes": 10 ** 10, "tokens": N_TOKEN, "tokens_on": 1800},
            "predictor": {"name": "blend", "visits": N_TOKEN * N_LAYER, "recall": 0.71,
                          "recall_wide": 0.82, "precision": 0.78, "brier": 0.0103,
                          "ahead_ms": 3500.0, "token_ms": 250000.0},
            "shares": {"capacity_experts": sizes[5], "requests": n_request,
                       "requests_of_run": n_request, "hits": n_request * 55 // 100,
                       "lru_hits": n_request * 48 // 100, "belady_hits": n_request * 66 // 100,
                       "hit_rate": 0.55, "share_of_lru": 1.146, "share_of_belady": 0.833},
            "roofline": [{"name": t, "bytes": 10 ** 12, "busy_ms": 90000.0, "bytes_per_s": got,
                          "reader_bytes_per_s": can, "share": got / can} for t, got, can in
                         zip(TIERS, (300 << 30, 70 << 30, 25 << 30, 6 << 30),
                             (360 << 30, 85 << 30, 31 << 30, 7 << 30))],
            "history": history,
            "timeline": {"kinds": KINDS, "tokens": [token("median", 900, 1), token("slowest", 1, 2),
                                                    token("last", N_TOKEN, 0.6)]},
            "miss_curves": {"experts": n_unit, "requests": n_request, "requests_of_run": n_request,
                            "kept_experts": sizes[5], "hits": n_request * 55 // 100,
                            "capacities": sizes, "misses": curves}}


def main():
    layers = [layer(i + 1) for i in range(N_LAYER)]
    tiers = [{"name": t, "policy": "foresight" if i < 2 else "", "capacity_bytes": c << 30,
              "used_bytes": c << 30, "hits": sum(sum(l["hits"][t]) for l in layers), "misses": 0,
              "joins": 0, "bytes": 10 ** 12, "wait_ms": 100.0 * i, "wait_ns": 10 ** 8 * i}
             for i, (t, c) in enumerate(zip(TIERS, (8, 96, 512, 0)))]
    model = {"name": "Kimi-K2.5-made-up.gguf", "fingerprint": "0123456789abcdef" * 2, "n_layer": 61,
             "n_moe_layer": N_LAYER, "n_expert": N_EXPERT, "n_expert_used": N_USED,
             "has_mass": True}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump({"format": "tierra-stats", "version": 1, "model": model,
                   "tokens": {"prefill": 512, "decode": N_TOKEN}, "tiers": tiers, "layers": layers,
                   "run": run(N_TOKEN * N_USED * N_LAYER)}, out, separators=(",", ":"))


main()
