#!/usr/bin/env python3
"""Times prefill and decoding of llama.cpp on one model, through llama-cpp-python.

The counterpart of bench_decode: the same prompts by the same seeds, tokens sampled at temperature 1,
and one JSON object whose keys mean the same. tests/bench/run calls it with the Python of a virtual
environment that has the package. The file is mapped, as llama.cpp does by default; with --repack
weights of types that it has a layout for are copied into memory, which needs memory for both.

The clock starts after the package is imported. Bytes are what the kernel read from disk for this
process, page faults and read-ahead included (read_bytes of /proc/self/io).
"""
import argparse
import ctypes
import json
import os
import sys
import time

import llama_cpp as ll

MASK = 2**64 - 1


def arguments():
    p = argparse.ArgumentParser(prog="peer_llama", description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("model")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    p.add_argument("--prefill", type=int, default=512, metavar="N")
    p.add_argument("--warm", type=int, default=16, metavar="N")
    p.add_argument("--tokens", type=int, default=64, metavar="N")
    p.add_argument("--repeats", type=int, default=3, metavar="N")
    p.add_argument("--seed", type=int, default=1, metavar="N")
    p.add_argument("--repack", action="store_true")
    return p.parse_args()


def disk_bytes():
    with open("/proc/self/io", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("read_bytes:"))


def prompt(vocab, n, seed):
    """The tokens that bench_decode feeds for this seed."""
    n_vocab, ids = ll.llama_vocab_n_tokens(vocab), []
    x = (88172645463325252 + seed * 0x9e3779b97f4a7c15) & MASK
    while len(ids) < n:
        x ^= (x << 13) & MASK
        x ^= x >> 7
        x ^= (x << 17) & MASK
        if not ll.llama_vocab_is_control(vocab, x % n_vocab):
            ids.append(x % n_vocab)
    return (ctypes.c_int32 * n)(*ids)


def feed(ctx, ids):
    if ll.llama_decode(ctx, ll.llama_batch_get_one(ids, len(ids))):
        sys.exit(f"peer_llama: llama_decode of {len(ids)} tokens failed")


def open_model(args):
    params = ll.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = args.repack
    model = ll.llama_model_load_from_file(args.model.encode(), params)
    if not model:
        sys.exit(f"peer_llama: llama.cpp cannot load {args.model}")
    return model


def open_context(args, model):
    params = ll.llama_context_default_params()
    params.n_ctx = args.prefill + args.warm + args.tokens + 1
    params.n_batch = params.n_ubatch = args.prefill
    params.n_threads = params.n_threads_batch = args.threads
    ctx = ll.llama_init_from_model(model, params)
    if not ctx:
        sys.exit("peer_llama: llama.cpp cannot make a context")
    return ctx


def sampler(seed):
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_temp(1.0))
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_dist(seed))
    return chain


def decode(ctx, chain, token, n):
    for _ in range(n):
        feed(ctx, (ctypes.c_int32 * 1)(token))
        token = ll.llama_sampler_sample(chain, ctx, -1)
    return token


def repeat(args, ctx, vocab, seed):
    chain, ids = sampler(seed), prompt(vocab, args.prefill, seed)
    ll.llama_memory_clear(ll.llama_get_memory(ctx), True)
    start = time.monotonic()
    feed(ctx, ids)
    token = ll.llama_sampler_sample(chain, ctx, -1)
    prefilled = time.monotonic()
    token = decode(ctx, chain, token, args.warm)
    before, begin = disk_bytes(), time.monotonic()
    decode(ctx, chain, token, args.tokens)
    decode_s = time.monotonic() - begin
    ll.llama_sampler_free(chain)
    return {"prefill_s": prefilled - start,
            "prefill_tokens_per_s": args.prefill / (prefilled - start),
            "decode_s": decode_s,
            "decode_tokens_per_s": args.tokens / decode_s,
            "disk_bytes_per_token": (disk_bytes() - before) / args.tokens,
            "disk_bytes_per_s": (disk_bytes() - before) / decode_s}


@ll.llama_log_callback
def log(level, text, _):
    if level >= 4:  # errors; levels are 1 debug, 2 info, 3 warning
        sys.stderr.write(text.decode(errors="replace"))


def main():
    args = arguments()
    ll.llama_log_set(log, ctypes.c_void_p(0))
    start = time.monotonic()
    ll.llama_backend_init()
    model = open_model(args)
    ctx = open_context(args, model)
    load_s = time.monotonic() - start
    repeats = [repeat(args, ctx, ll.llama_model_get_vocab(model), args.seed + i)
               for i in range(args.repeats)]
    json.dump({"model": args.model, "version": ll.__version__, "threads": args.threads,
               "system": ll.llama_print_system_info().decode().strip(),
               "prefill_tokens": args.prefill, "decode_tokens": args.tokens,
               "load_s": load_s, "first_token_s": load_s + repeats[0]["prefill_s"],
               "repeats": repeats}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
