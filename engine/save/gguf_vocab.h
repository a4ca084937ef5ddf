// gguf_vocab.h - a tokenizer as the keys of a GGUF file.
#ifndef ENGINE_SAVE_GGUF_VOCAB_H
#define ENGINE_SAVE_GGUF_VOCAB_H

#include "engine/save/gguf_writer.h"

// Writes the tokenizer.ggml.* keys: as many tokens as the model has rows, their types, merges or scores, and the
// name of the way text is split. Errors: ERR_UNSUPPORTED for a tokenizer that GGUF has no words for,
// ERR_NOMEM; nothing was written then.
enum status gguf_put_tokenizer(struct gguf_writer *w, const struct tokenizer *tok,
                               const struct model_config *config, struct error *err);

#endif
