// gguf_vocab.h - writes a tokenizer as the keys of a GGUF file.
#ifndef ENGINE_SAVE_GGUF_VOCAB_H
#define ENGINE_SAVE_GGUF_VOCAB_H

#include "engine/save/gguf_writer.h"

// Writes the tokenizer.ggml.* keys: as many tokens as the model has rows, their types, merges or scores, and the name
// of the splitting. Errors: ERR_UNSUPPORTED for a tokenizer that GGUF cannot express, ERR_NOMEM; nothing is written
// then.
enum status gguf_put_tokenizer(struct gguf_writer *w, const struct tokenizer *tok,
                               const struct model_config *config, struct error *err);

#endif
