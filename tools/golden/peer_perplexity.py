#!/usr/bin/env python3
"""Prints what llama.cpp's library makes of a text by the steps of its perplexity tool.

Needs numpy and the package xllamacpp, whose shared library holds and exports llama.cpp's C functions. The steps
are those of tools/perplexity/perplexity.cpp at commit 050fc7f with -c 512. The file's last newline is dropped, and
special tokens are not parsed. If the vocabulary says so, bos comes before the text and replaces each window's first
token. Positions 256 to 510 predict what is scored. The structs are opened no further than their first fields.

usage: peer_perplexity.py MODEL.gguf TEXT WINDOWS [IDS_OUT]
"""
import ctypes
import importlib.util
import math
import os
import sys

import numpy as np

TOKENS, FIRST = 512, 256
POINTER, INT = ctypes.c_void_p, ctypes.c_int32


class ModelParams(ctypes.Structure):
    _fields_ = [("all", ctypes.c_char * 4096)]  # more than any version has


class ContextParams(ctypes.Structure):
    _fields_ = [("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32),
                ("n_seq_max", ctypes.c_uint32), ("rest", ctypes.c_char * 4096)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", INT), ("token", ctypes.POINTER(INT)), ("embd", POINTER),
                ("pos", ctypes.POINTER(INT)), ("n_seq_id", ctypes.POINTER(INT)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(INT))), ("logits", ctypes.POINTER(ctypes.c_int8))]


FUNCTIONS = {
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (POINTER, [ctypes.c_char_p, ModelParams]),
    "llama_init_from_model": (POINTER, [POINTER, ContextParams]),
    "llama_model_get_vocab": (POINTER, [POINTER]),
    "llama_vocab_get_add_bos": (ctypes.c_bool, [POINTER]),
    "llama_vocab_bos": (INT, [POINTER]),
    "llama_vocab_n_tokens": (INT, [POINTER]),
    "llama_tokenize": (INT, [POINTER, ctypes.c_char_p, INT, ctypes.POINTER(INT), INT, ctypes.c_bool,
                             ctypes.c_bool]),
    "llama_batch_init": (Batch, [INT, INT, INT]),
    "llama_decode": (INT, [POINTER, Batch]),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [POINTER, INT]),
    "llama_get_memory": (POINTER, [POINTER]),
    "llama_memory_clear": (None, [POINTER, ctypes.c_bool]),
}


def library():
    folder = os.path.dirname(importlib.util.find_spec("xllamacpp").origin)
    lib = ctypes.CDLL(os.path.join(folder, next(n for n in os.listdir(folder) if n.endswith(".so"))))
    for name, (result, arguments) in FUNCTIONS.items():
        getattr(lib, name).restype = result
        getattr(lib, name).argtypes = arguments
    return lib


def tokenize(lib, vocab, text):
    ids = (INT * (len(text) + 8))()
    count = lib.llama_tokenize(vocab, text, len(text), ids, len(ids), True, False)
    assert count > 0
    return list(ids[:count])


def window_nll(lib, context, batch, tokens, bos, vocab_size):
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    batch.n_tokens = TOKENS
    for i, token in enumerate(tokens):
        batch.token[i] = bos if i == 0 and bos is not None else token
        batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = i, 1, 0
        batch.logits[i] = i >= FIRST
    assert lib.llama_decode(context, batch) == 0
    total = 0.0
    for i in range(FIRST, TOKENS - 1):
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), (vocab_size,)).astype(float)
        total += np.logaddexp.reduce(logits) - logits[tokens[i + 1]]
    return total


def main():
    lib = library()
    model = lib.llama_model_load_from_file(sys.argv[1].encode(), lib.llama_model_default_params())
    vocab = lib.llama_model_get_vocab(model)
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = TOKENS
    context = lib.llama_init_from_model(model, params)
    bos = lib.llama_vocab_bos(vocab) if lib.llama_vocab_get_add_bos(vocab) else None
    text = open(sys.argv[2], "rb").read().removesuffix(b"\n")
    ids = tokenize(lib, vocab, text)
    if len(sys.argv) > 4:
        np.array(ids, dtype="<i4").tofile(sys.argv[4])
    count = min(int(sys.argv[3]), len(ids) // TOKENS)
    batch = lib.llama_batch_init(TOKENS, 0, 1)
    total = sum(window_nll(lib, context, batch, ids[w * TOKENS:(w + 1) * TOKENS], bos,
                           lib.llama_vocab_n_tokens(vocab)) for w in range(count))
    print(f"{len(ids)} ids, bos {bos}, {count} windows, perplexity "
          f"{math.exp(total / (count * (TOKENS - 1 - FIRST))):.4f}")


if __name__ == "__main__":
    main()
