"""Ids of tok_dump against those of the Python package tokenizers, on mixed text."""
import json
import os
import pathlib
import random
import subprocess
import time

import gguf
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

from mixed_text import mixed_text

SRC = pathlib.Path(os.environ.get("TR_SRCDIR", pathlib.Path(__file__).parents[1]))
DUMP = pathlib.Path(os.environ.get("TR_BUILDDIR", ".")) / "tests" / "tok_dump"
NORMAL, CONTROL = 1, 3

UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI = "|".join([
    r"[\p{Han}]+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}",
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
TO_TEXT = {}
extra = 0
for byte in range(256):
    if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte:
        TO_TEXT[byte] = chr(byte)
    else:
        TO_TEXT[byte] = chr(256 + extra)
        extra += 1


def alphabet(data):
    return "".join(TO_TEXT[b] for b in data)


def dump(model, text, *args):
    r = subprocess.run([DUMP, model, *args], input=text, capture_output=True, timeout=120)
    assert r.returncode == 0, r.stderr.decode()
    return [int(line) for line in r.stdout.split()], r.stderr.decode()


def kimi_pieces():
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(KIMI), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def kimi_hf(vocab, merges):
    hf = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    hf.pre_tokenizer = kimi_pieces()
    return hf


def write_gguf(path, vocab, merges, control=()):
    tokens = [None] * len(vocab)
    for text, i in vocab.items():
        tokens[i] = text
    types = [CONTROL if t in control else NORMAL for t in tokens]
    w = gguf.GGUFWriter(path, "deepseek2")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("kimi-k2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    if merges is not None:
        w.add_token_merges([" ".join(m) for m in merges])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.close()
    return path


def same_ids(hf, text, ours):
    """Compares; says where the first difference is."""
    want = hf.encode(text, add_special_tokens=False)
    if want.ids == ours:
        return
    at = next(i for i, (a, b) in enumerate(zip(want.ids + [-1], ours + [-1])) if a != b)
    begin = want.offsets[at][0] if at < len(want.ids) else len(text)
    pytest.fail(f"id {at}: {ours[at:at + 5]}, not {want.ids[at:at + 5]}, "
                f"at {text[max(0, begin - 20):begin]!r} >>> {text[begin:begin + 20]!r}")


@pytest.fixture(scope="module")
def demo():
    path = SRC / "models" / "demo-q4_0.gguf"
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ", 1)) for m in fields["tokenizer.ggml.merges"].contents()]
    types = fields["tokenizer.ggml.token_type"].contents()
    hf = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return path, hf, [t for t, k in zip(tokens, types) if k == CONTROL]


@pytest.fixture(scope="module")
def trained():
    """A vocabulary trained with the kimi pattern."""
    hf = Tokenizer(models.BPE(ignore_merges=True))
    hf.pre_tokenizer = kimi_pieces()
    hf.train_from_iterator([mixed_text(300_000, seed=2)], trainers.BpeTrainer(
        vocab_size=6000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(hf.to_str())["model"]
    return hf, model["vocab"], [tuple(m) for m in model["merges"]]


def test_gpt2_ids_of_mixed_text(demo):
    path, hf, _ = demo
    text = mixed_text(400_000)
    same_ids(hf, text, dump(path, text.encode())[0])


def test_gpt2_ids_with_special_tokens(demo):
    path, hf, control = demo
    hf = Tokenizer.from_str(hf.to_str())
    hf.add_special_tokens([AddedToken(t, normalized=False) for t in control])
    rng = random.Random(3)
    text = "".join(mixed_text(40, seed=i) + rng.choice(control) for i in range(500))
    ours = dump(path, text.encode(), "special")[0]
    same_ids(hf, text, ours)
    assert len(set(ours) & set(hf.encode("".join(control)).ids)) == len(control)


def test_kimi_ids_of_mixed_text(trained, tmp_path):
    hf, vocab, merges = trained
    path = write_gguf(tmp_path / "kimi.gguf", vocab, merges)
    for text in mixed_text(400_000), mixed_text(100_000, seed=2):
        same_ids(hf, text, dump(path, text.encode())[0])


def tiktoken_merge(ranks, piece):
    parts = [bytes([b]) for b in piece]
    while True:
        found = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]
        if piece in ranks:
            return [ranks[piece]]
        if not found:
            return [ranks[p] for p in parts]
        i = min(found)[1]
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


def test_kimi_ids_without_merges_are_tiktokens(trained, tmp_path):
    hf, vocab, _ = trained
    path = write_gguf(tmp_path / "kimi.gguf", vocab, None)
    to_byte = {t: b for b, t in TO_TEXT.items()}
    ranks = {bytes(to_byte[c] for c in text): i for text, i in vocab.items()}
    text = mixed_text(100_000, seed=4)
    want = []
    for piece, _ in hf.pre_tokenizer.pre_tokenize_str(text):
        want += tiktoken_merge(ranks, bytes(to_byte[c] for c in piece))
    assert dump(path, text.encode())[0] == want


def large_vocabulary(rng):
    """163,840 tokens and 163,328 merges, as many as Kimi K2.5 has: words halved until bytes."""
    vocab = {TO_TEXT[b]: b for b in range(256)}
    merges = []

    def add(word):
        if word in vocab:
            return
        cut = rng.randrange(1, len(word))
        add(word[:cut])
        add(word[cut:])
        if len(merges) < 163_328:
            merges.append((word[:cut], word[cut:]))
            vocab[word] = len(vocab)

    words = []
    syllables = ["ka", "ter", "in", "o", "sch", "ment", "Pro", "x", "ей", "ство", "模", "型", "ing"]
    while len(merges) < 163_328:
        words.append("".join(rng.choices(syllables, k=rng.randint(1, 6))))
        add(alphabet((" " * rng.randrange(2) + words[-1]).encode()))
    control = [f"<|reserved_{i}|>" for i in range(256)]
    for text in control:
        vocab[text] = len(vocab)
    return vocab, merges, control, words


def test_kimi_sized_vocabulary_is_fast(tmp_path):
    rng = random.Random(5)
    vocab, merges, control, words = large_vocabulary(rng)
    assert (len(vocab), len(merges)) == (163_840, 163_328)
    path = write_gguf(tmp_path / "large.gguf", vocab, merges, set(control))
    text = "".join(rng.choice(words) + rng.choice([" ", " ", ", ", "\n"]) for _ in range(60_000))
    text = (text + mixed_text(200_000)).encode()[:1 << 20].decode(errors="ignore")
    begin = time.monotonic()
    ours, times = dump(path, text.encode())
    elapsed = time.monotonic() - begin
    print(f"{len(text.encode())} bytes in {elapsed:.2f} s, program start to end: {times}")
    hf = kimi_hf({t: i for t, i in vocab.items() if t not in control}, merges)
    same_ids(hf, text, ours)
    assert elapsed < 20  # a second or two, sanitizers and loaded machines included
