// checkpoint.h - the MODEL word of a command line, made a checkpoint.
#ifndef BENCH_CLI_CHECKPOINT_H
#define BENCH_CLI_CHECKPOINT_H

#include "bench/cli/command.h"
#include "engine/engine.h"

// A Hugging Face folder or a .gguf file, as named or among the program's own files ("models/reference"
// works from any directory). Owned by the caller. Errors: as checkpoint_open.
enum status cli_checkpoint_find(const char *name, struct checkpoint **out, struct error *err);

// Where a checkpoint of this name is: a file that is no .json, or a folder. NULL: there is none, or it is a
// shape. Caller frees.
char *cli_checkpoint_path(const char *name);

// As above, and also a config.json or the name of a shape in models/shapes: random weights.
enum status cli_checkpoint_or_shape_find(const char *name, struct checkpoint **out,
                                         struct error *err);

// The value of --scheme, or one line that says what there is.
enum status cli_scheme_read(const char *name, const struct scheme **out, struct error *err);
// --scheme, --head and --kv together: the scheme as the target runs it, and the type of the KV cache.
// A flag not given, or "auto", is the scheme's own.
enum status cli_scheme_flags_read(const struct arguments *args, struct device_target target,
                                  struct scheme *out, enum dtype *kv, struct error *err);

// The value of a flag that names a type of elements: f32, bf16, ...
enum status cli_dtype_read(const char *flag, const char *name, enum dtype *out, struct error *err);

// Ids of `text` with the model's bos in front where it has one; *ids is a new array the caller frees.
// Errors: ERR_UNSUPPORTED without a tokenizer, ERR_USAGE for no ids at all, ERR_NOMEM.
enum status cli_prompt_ids(const struct checkpoint *ck, const struct tokenizer *tok,
                           const char *text, size_t bytes, int32_t **ids, size_t *count,
                           struct error *err);

#endif
